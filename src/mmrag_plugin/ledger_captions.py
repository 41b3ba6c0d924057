"""The ledger's lines about captions: what models said of pictures, and whether it is believed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, Literal

import sqlalchemy as sa

from mmrag_plugin.ledger_database import LedgerDatabase, batches
from mmrag_plugin.ledger_stages import StageLines
from mmrag_plugin.ledger_tables import (
    WRITING,
    captioned_by_signals,
    captions,
    is_doubtful,
    media,
    paths,
    shots,
    signals,
    stages,
)
from mmrag_plugin.media import Kind, Signal

WhichMedia = Literal["new", "missing", "all"]
BESIDE = "/personal-"  # stands in the stamp of a caption that was made beside other photos
Check = Literal["doubt", "denial"]  # by the visual model, by another VLM


@dataclass(frozen=True)
class Shot:
    """A picture of a media that was captioned: a photo, or ``first_frame``..``last_frame``.

    ``content`` is the whole answer, and which photos it was made beside; ``doubt`` and ``denial``
    say why it is not believed.
    """

    number: int
    picture_hash: str
    stamp: str
    first_frame: int = 0
    last_frame: int = 0
    start_s: float | None = None
    end_s: float | None = None
    content: Mapping[str, Any] = field(default_factory=dict)
    doubt: str = ""
    denial: str = ""


class CaptionLines(StageLines):
    """Captions by picture and by media; every method is one short transaction."""

    _database: LedgerDatabase

    # ---- what a model said of a picture ------------------------------------------------------

    def caption_of(self, picture_hash: str, stamp: str) -> dict[str, Any] | None:
        """What was said of a picture under a stamp, wherever it lies or lay."""
        query = sa.select(captions.c.content).where(
            captions.c.picture_hash == picture_hash, captions.c.stamp == stamp
        )
        with self._database.reading() as connection:
            found: dict[str, Any] | None = connection.scalar(query)
            return found

    def put_caption(self, picture_hash: str, stamp: str, content: Mapping[str, Any]) -> None:
        """Keep what was said of a picture."""
        row = {"picture_hash": picture_hash, "stamp": stamp, "content": dict(content)}
        with self._database.writing() as connection:
            self._database.upsert(connection, captions, row, ["picture_hash", "stamp"])

    def forget_captions(self, media_ids: Sequence[str]) -> None:
        """Drop what was said of the pictures of media, unless others show the same."""
        going = set(media_ids)
        with self._database.writing() as connection:
            theirs, others = set[str](), set[str]()
            for batch in batches(media_ids):
                query = sa.select(shots.c.picture_hash).where(shots.c.media_id.in_(batch))
                theirs.update(connection.scalars(query))
            for batch in batches(theirs):
                shown = sa.select(shots.c.picture_hash, shots.c.media_id)
                others |= {
                    picture_hash
                    for picture_hash, media_id in connection.execute(
                        shown.where(shots.c.picture_hash.in_(batch))
                    )
                    if media_id not in going
                }
            for batch in batches(sorted(theirs - others)):
                connection.execute(captions.delete().where(captions.c.picture_hash.in_(batch)))

    # ---- what was captioned of media ---------------------------------------------------------

    def owe_captions(self) -> None:
        """Note of media that nobody has read yet that they are to be captioned."""
        unread = sa.select(media.c.media_id).where(
            ~sa.exists().where(
                stages.c.media_id == media.c.media_id, stages.c.stage.in_(["read", "caption"])
            )
        )
        with self._database.reading() as connection:
            new = list(connection.scalars(unread))
        if new:
            self.begin("caption", new)

    def to_caption(self, which: WhichMedia, stamp: str, kind: Kind) -> list[str]:
        """Media of a kind that are to be captioned, oldest path first.

        ``new``: what was noted as owed, or changed since it was captioned; ``missing``: what has no
        caption under whatever stamp; ``all``: what has none under this one. What failed under this
        stamp is left out.
        """
        pending = self.pending("caption", stamp, kind=kind, after="embed")
        if which == "all":
            return pending
        query = sa.select(stages.c.media_id, stages.c.state).where(stages.c.stage == "caption")
        with self._database.reading() as connection:
            states = {media_id: state for media_id, state in connection.execute(query)}
        if which == "new":
            return [media_id for media_id in pending if states.get(media_id) == WRITING]
        return [media_id for media_id in pending if states.get(media_id) != "done"]

    def changed_after_caption(self, kind: Kind) -> list[str]:
        """Media that were captioned before their files changed, perhaps not in their pixels."""
        query = (
            sa.select(stages.c.media_id)
            .where(
                stages.c.stage == "caption",
                stages.c.state == WRITING,
                sa.exists().where(shots.c.media_id == stages.c.media_id),
                sa.exists().where(media.c.media_id == stages.c.media_id, media.c.kind == kind),
                sa.exists().where(paths.c.media_id == stages.c.media_id),
            )
            .order_by(stages.c.media_id)
        )
        with self._database.reading() as connection:
            return list(connection.scalars(query))

    def put_shots(self, media_id: str, stamp: str, found: Sequence[tuple[Shot, Signal]]) -> None:
        """Enter the captions of a media in place of those it had, and that the stage is done."""
        with self._database.transaction():
            self.drop_shots(media_id)
            with self._database.writing() as connection:
                for shot, _ in found:
                    row = {key: value for key, value in vars(shot).items() if key != "content"}
                    connection.execute(shots.insert().values(media_id=media_id, **row))
            self.put_signals("caption", stamp, {media_id: [signal for _, signal in found]})

    def captioned_beside(self, hidden: Set[str]) -> list[str]:
        """Other media that have a caption made beside one of these, or beside nobody knows what."""
        said = sa.and_(
            captions.c.picture_hash == shots.c.picture_hash, captions.c.stamp == shots.c.stamp
        )
        query = sa.select(shots.c.media_id, captions.c.content).join_from(shots, captions, said)
        with self._database.reading() as connection:
            rows = connection.execute(query.where(shots.c.stamp.contains(BESIDE)))
            return sorted(
                {
                    media_id
                    for media_id, content in rows
                    if media_id not in hidden
                    and not hidden.isdisjoint(content.get("beside", hidden))
                }
            )

    def take_captions_back(self, media_id: str) -> None:
        """Forget the captions of a media, and owe it new ones."""
        mine = sa.and_(stages.c.media_id == media_id, stages.c.stage == "caption")
        with self._database.transaction():
            self.drop_shots(media_id)
            self.put_signals("caption", "", {media_id: ()})
            with self._database.writing() as connection:
                connection.execute(stages.update().where(mine).values(state=WRITING))

    def drop_shots(self, media_id: str) -> None:
        """Forget what was captioned of a media; what was said of the pictures stays."""
        with self._database.writing() as connection:
            connection.execute(shots.delete().where(shots.c.media_id == media_id))

    def shots_of(self, media_ids: Sequence[str]) -> dict[str, list[Shot]]:
        """The captioned pictures of media, in order."""
        found: dict[str, list[Shot]] = {media_id: [] for media_id in media_ids}
        said = sa.and_(
            captions.c.picture_hash == shots.c.picture_hash, captions.c.stamp == shots.c.stamp
        )
        query = sa.select(
            shots.c.media_id,
            shots.c.number,
            shots.c.picture_hash,
            shots.c.stamp,
            shots.c.first_frame,
            shots.c.last_frame,
            shots.c.start_s,
            shots.c.end_s,
            captions.c.content,
            shots.c.doubt,
            shots.c.denial,
        ).join_from(shots, captions, said)
        with self._database.reading() as connection:
            for batch in batches(media_ids):
                wanted = query.where(shots.c.media_id.in_(batch))
                for media_id, *rest in connection.execute(
                    wanted.order_by(shots.c.media_id, shots.c.number)
                ):
                    found[media_id].append(Shot(*rest))
        return found

    # ---- what is believed --------------------------------------------------------------------

    def unchecked(self, check: Check, stamp: str) -> list[str]:
        """Captioned media of which some caption has not been through a check of this stamp."""
        query = (
            sa.select(shots.c.media_id)
            .join_from(shots, signals, captioned_by_signals())
            .where(shots.c[f"{check}_stamp"] != stamp)
            .distinct()
            .order_by(shots.c.media_id)
        )
        with self._database.reading() as connection:
            return list(connection.scalars(query))

    def put_check(self, check: Check, stamp: str, found: Mapping[str, Mapping[int, str]]) -> None:
        """Enter the outcome of a check by media and number: a reason for doubt, or nothing.

        Words in Milvus are outdated where a caption is doubtful now and was not, or the other way.
        """
        with self._database.writing() as connection:
            for media_id, reasons in found.items():
                mine = shots.c.media_id == media_id
                doubtful = sa.select(shots.c.number).where(mine, is_doubtful())
                before = set(connection.scalars(doubtful))
                for number, reason in reasons.items():
                    connection.execute(
                        shots.update()
                        .where(mine, shots.c.number == number)
                        .values({check: reason, f"{check}_stamp": stamp})
                    )
                if set(connection.scalars(doubtful)) != before:
                    connection.execute(
                        media.update()
                        .where(media.c.media_id == media_id, media.c.words_stamp != "")
                        .values(words_stamp=WRITING)
                    )

    def caption_counts(self) -> dict[str, int]:
        """How many captions there are, of how many media, and how many are doubtful."""
        query = sa.select(
            sa.func.count(),
            sa.func.count(sa.distinct(shots.c.media_id)),
            sa.func.coalesce(sa.func.sum(sa.case((is_doubtful(), 1), else_=0)), 0),
        ).join_from(shots, signals, captioned_by_signals())
        with self._database.reading() as connection:
            total, of_media, doubtful = connection.execute(query).one()
        return {"captions": total, "media": of_media, "doubtful": int(doubtful)}
