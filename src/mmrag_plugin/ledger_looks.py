"""The ledger's lines about how photos look, and which are much alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mmrag_plugin.ledger_database import LedgerDatabase, batches
from mmrag_plugin.ledger_tables import facts, groups, looks, media, paths, stages

_GROUPED = "grouped"  # the fact that the groups are of the photos as they are


def outdate_groups(connection: Connection) -> None:
    """Say that the groups are no longer of the photos as they are."""
    connection.execute(facts.delete().where(facts.c.key == _GROUPED))


@dataclass(frozen=True)
class GroupMember:
    """A photo of a group, with what helps to choose which one to keep."""

    media_id: str
    group_id: str
    kind: str
    path: str
    width_px: int
    height_px: int
    size_bytes: int
    taken_at: str | None


class LookLines:
    """How photos look; every method is one short transaction."""

    _database: LedgerDatabase

    def put_looks(self, stamp: str, found: Mapping[str, str]) -> None:
        """Keep how photos look."""
        with self._database.writing() as connection:
            outdate_groups(connection)
            rows = [{"media_id": m, "look": look, "stamp": stamp} for m, look in found.items()]
            self._database.upsert_all(connection, looks, rows, ["media_id"])

    def without_look(self, stamp: str) -> list[str]:
        """Photos that were embedded, and whose look is not known yet."""
        query = (
            sa.select(stages.c.media_id)
            .join(media, media.c.media_id == stages.c.media_id)
            .outerjoin(looks, looks.c.media_id == stages.c.media_id)
            .where(
                stages.c.stage == "embed",
                stages.c.state == "done",
                media.c.kind == "image",
                sa.or_(looks.c.look.is_(None), looks.c.stamp != stamp),
            )
            .order_by(stages.c.media_id)
        )
        with self._database.reading() as connection:
            return list(connection.scalars(query))

    def looks(self) -> list[tuple[str, str, str | None, str]]:
        """Media id, look, date and camera of every photo that has a look."""
        query = (
            sa.select(looks.c.media_id, looks.c.look, media.c.taken_at, media.c.camera)
            .join(media, media.c.media_id == looks.c.media_id)
            .where(looks.c.look != "")
            .order_by(looks.c.media_id)
        )
        with self._database.reading() as connection:
            return [(row[0], row[1], row[2], row[3]) for row in connection.execute(query)]

    def put_groups(self, found: Mapping[str, tuple[str, str]]) -> None:
        """Say which photos are much alike, in the place of what was said before."""
        rows = [
            {"media_id": media_id, "group_id": group_id, "kind": kind}
            for media_id, (group_id, kind) in found.items()
        ]
        with self._database.writing() as connection:
            connection.execute(groups.delete())
            for batch in batches(rows):
                connection.execute(groups.insert(), list(batch))
            self._database.upsert(connection, facts, {"key": _GROUPED, "value": True}, ["key"])

    def is_grouped(self) -> bool:
        """Whether nothing has changed since photos were grouped."""
        with self._database.reading() as connection:
            return bool(connection.scalar(sa.select(facts.c.value).where(facts.c.key == _GROUPED)))

    def groups_of(self, media_ids: Sequence[str]) -> dict[str, str]:
        """The group by media, of those that have one."""
        query = sa.select(groups.c.media_id, groups.c.group_id)
        query = query.where(self._database.among(groups.c.media_id))
        with self._database.reading() as connection:
            found = connection.execute(query, self._database.these(media_ids))
            return {media_id: group_id for media_id, group_id in found}

    def group_members(self) -> list[GroupMember]:
        """Every photo that is in a group, once for each of its paths, group by group."""
        query = (
            sa.select(
                groups.c.media_id,
                groups.c.group_id,
                groups.c.kind,
                paths.c.path,
                media.c.width_px,
                media.c.height_px,
                paths.c.size_bytes,
                media.c.taken_at,
            )
            .join(media, media.c.media_id == groups.c.media_id)
            .join(paths, paths.c.media_id == groups.c.media_id)
            .order_by(groups.c.group_id, groups.c.media_id, paths.c.path)
        )
        with self._database.reading() as connection:
            return [GroupMember(*row) for row in connection.execute(query)]

    def copied(self) -> list[GroupMember]:
        """Every media with several paths, once for each of them; the group is the media itself."""
        several = sa.select(paths.c.media_id).group_by(paths.c.media_id).having(sa.func.count() > 1)
        query = (
            sa.select(
                media.c.media_id,
                media.c.media_id,
                sa.literal("copies"),
                paths.c.path,
                media.c.width_px,
                media.c.height_px,
                paths.c.size_bytes,
                media.c.taken_at,
            )
            .join(paths, paths.c.media_id == media.c.media_id)
            .where(media.c.media_id.in_(several))
            .order_by(media.c.media_id, paths.c.path)
        )
        with self._database.reading() as connection:
            return [GroupMember(*row) for row in connection.execute(query)]
