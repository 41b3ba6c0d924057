"""The ledger's lines about what is hidden: the rules, and the media that they hide now."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mmrag_plugin.ledger_database import LedgerDatabase, batches
from mmrag_plugin.ledger_hidden_contents import hide_like, keep_hidden
from mmrag_plugin.ledger_media import under
from mmrag_plugin.ledger_tables import (
    hidden_contents,
    hiding,
    left_out_files,
    marks,
    media,
    paths,
    read_anew,
    stages,
)

HiddenKind = Literal["folder", "media", "tag", "person"]
HiddenLevel = Literal["hidden", "left_out"]


@dataclass(frozen=True)
class HidingRule:
    """What the person hides; ``name`` is how they called it."""

    kind: HiddenKind
    target: str
    name: str
    level: HiddenLevel = "hidden"


class HidingLines:
    """Rules of hiding; every method is one short transaction."""

    _database: LedgerDatabase
    _beneath: LedgerDatabase  # the same without the views of a ledger for assistants

    def hide(self, rule: HidingRule) -> None:
        """Enter a rule, which holds from now on."""
        with self._database.writing() as connection:
            self._database.upsert(connection, hiding, vars(rule), ["kind", "target"])
            if rule.kind == "media":
                self._keep_hidden(connection, rule.target)

    def hide_copy(self, media_id: str, other: str, path: str) -> None:
        """Hide a media that was a copy of another and was edited, if a rule hides that one."""
        with self._database.writing() as connection:
            hide_like(self._database, connection, media_id, other, path)
            self._keep_hidden(connection, media_id)

    def _keep_hidden(self, connection: Connection, media_id: str) -> None:
        content = sa.select(media.c.content_hash).where(media.c.media_id == media_id)
        for content_hash in list(connection.scalars(content)):
            keep_hidden(self._database, connection, media_id, content_hash)

    def show(self, kind: HiddenKind, target: str) -> bool:
        """Take a rule back; says whether there was one."""
        mine = sa.and_(hiding.c.kind == kind, hiding.c.target == target)
        files = sa.and_(left_out_files.c.kind == kind, left_out_files.c.target == target)
        with self._database.writing() as connection:
            connection.execute(left_out_files.delete().where(files))
            if kind == "media":
                contents = hidden_contents.c.media_id == target
                connection.execute(hidden_contents.delete().where(contents))
            return bool(connection.execute(hiding.delete().where(mine)).rowcount)

    def hiding_rules(self) -> list[HidingRule]:
        """The rules, in order of kind and name; in a ledger for assistants there are none."""
        query = sa.select(hiding).order_by(hiding.c.kind, hiding.c.name)
        with self._database.reading() as connection:
            return [HidingRule(*row) for row in connection.execute(query)]

    def media_ids_by_rule(self, rule: HidingRule) -> frozenset[str]:
        """The media that a rule is about now."""
        with self._database.reading() as connection:
            return frozenset(connection.scalars(_media_of(connection, rule)))

    def leave_out_by_rules(self) -> list[str]:
        """Forget the paths that rules leave out; gives media that no path leads to any more.

        Files that are left out for what they are, and not for where they lie, are noted, so that
        scans pass them by.
        """
        gone: set[str] = set()
        with self._database.writing() as connection:
            for rule in self._rules_leaving_out(connection):
                media_ids = list(connection.scalars(_media_of(connection, rule)))
                here = under(rule.target) if rule.kind == "folder" else sa.true()
                for batch in batches(media_ids):
                    mine = sa.and_(paths.c.media_id.in_(batch), here)
                    if rule.kind != "folder":
                        for path in list(connection.scalars(sa.select(paths.c.path).where(mine))):
                            row = {"path": path, "kind": rule.kind, "target": rule.target}
                            self._database.insert_missing(connection, left_out_files, row)
                    connection.execute(paths.delete().where(mine))
                    connection.execute(read_anew().where(stages.c.media_id.in_(batch)))
                gone.update(media_ids)
            left = set[str]()
            for batch in batches(sorted(gone)):
                query = sa.select(paths.c.media_id).where(paths.c.media_id.in_(batch))
                left.update(connection.scalars(query))
        return sorted(gone - left)

    def places_left_out(self) -> frozenset[str]:
        """Folders and files that scans pass by, because of a rule."""
        with self._database.reading() as connection:
            rules = self._rules_leaving_out(connection)
            folders = [rule.target for rule in rules if rule.kind == "folder"]
            return frozenset(connection.scalars(sa.select(left_out_files.c.path))).union(folders)

    def _rules_leaving_out(self, connection: Connection) -> list[HidingRule]:
        query = sa.select(hiding).where(hiding.c.level == "left_out")
        return [HidingRule(*row) for row in connection.execute(query)]

    def hidden_media_ids(self) -> frozenset[str]:
        """The media that are hidden from assistants now, in a ledger for assistants too.

        Their ids are all that such a ledger tells of them: searches in Milvus leave them out.
        """
        return self._hidden(None)

    def hidden_among(self, media_ids: Sequence[str]) -> frozenset[str]:
        """Those of some media that are hidden from assistants."""
        return self._hidden(media_ids)

    def _hidden(self, media_ids: Sequence[str] | None) -> frozenset[str]:
        """What any rule hides, of these media or of all."""
        found = set[str]()
        with self._beneath.reading() as connection:
            rules = [HidingRule(*row) for row in connection.execute(sa.select(hiding))]
            queries = [_media_of(connection, rule) for rule in rules]
            if any(rule.kind in ("tag", "person") for rule in rules):
                queries.append(_never_read())
            for query in queries:
                if media_ids is None:
                    found.update(connection.scalars(query))
                else:
                    these = query.where(self._beneath.among(query.selected_columns.media_id))
                    found.update(connection.scalars(these, self._beneath.these(media_ids)))
        return frozenset(found)


def _never_read() -> sa.Select[Any]:
    """Media of which nobody knows yet what they are marked with."""
    known = sa.or_(stages.c.state == "done", stages.c.made > 0)  # or done once, and to do again
    read = sa.exists().where(stages.c.media_id == media.c.media_id, stages.c.stage == "read", known)
    return sa.select(media.c.media_id).where(~read)


def _media_of(connection: Connection, rule: HidingRule) -> sa.Select[Any]:
    if rule.kind == "media":
        return sa.select(media.c.media_id).where(media.c.media_id == rule.target)
    if rule.kind == "folder":
        inside = under(rule.target)
        if connection.dialect.name == "sqlite":  # whose order of text is that of its bytes
            beginning = rule.target.rstrip(os.sep) + os.sep
            beyond = beginning[:-1] + chr(ord(os.sep) + 1)
            here = sa.and_(paths.c.path >= beginning, paths.c.path < beyond)
            inside = sa.or_(paths.c.path == rule.target, here)
        return sa.select(paths.c.media_id).where(inside)
    person = marks.c.kind == "person"
    kind = person if rule.kind == "person" else sa.not_(person)
    return sa.select(marks.c.media_id).where(kind, marks.c.folded == rule.target)
