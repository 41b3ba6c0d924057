"""The ledger's lines when folders have got another place: every path and rule that names them."""

from __future__ import annotations

import os

import sqlalchemy as sa

from mmrag_plugin.ledger_database import LedgerDatabase
from mmrag_plugin.ledger_media import at_or_under
from mmrag_plugin.ledger_tables import bad_sidecars, hiding, left_out, paths, roots


class RelocatingLines:
    """Folders that were moved as a whole."""

    _database: LedgerDatabase

    def relocate(self, old: str, new: str) -> int:
        """Rewrite the beginning of all paths and roots from ``old`` to ``new``; says how many.

        What is known at the new place already stays as it is there.
        """
        old, new = old.rstrip(os.sep), new.rstrip(os.sep)

        def placed(path: str) -> str:
            inside = path == old or path.startswith(old + os.sep)
            return (new + path[len(old) :] or os.sep) if inside else path

        with self._database.writing() as connection:
            here = at_or_under(paths.c.path, old)
            moved = [
                dict(row) for row in connection.execute(sa.select(paths).where(here)).mappings()
            ]
            connection.execute(paths.delete().where(here))
            known = {placed(root) for root in connection.scalars(sa.select(roots.c.path))}
            for row in moved:
                row["path"], row["root"] = placed(row["path"]), placed(row["root"])
                if row["path"] != row["root"] and not row["path"].startswith(
                    row["root"].rstrip(os.sep) + os.sep
                ):
                    row["root"] = new  # a part of a root went elsewhere: now a root of its own
                    known.add(new)
            insert = self._database.insert()
            if moved:
                connection.execute(insert(paths).on_conflict_do_nothing(), moved)
            bad = [dict(row) for row in connection.execute(sa.select(bad_sidecars)).mappings()]
            connection.execute(bad_sidecars.delete())
            if bad:
                bad = [row | {"path": placed(row["path"])} for row in bad]
                connection.execute(insert(bad_sidecars).on_conflict_do_nothing(), bad)
            for path in list(connection.scalars(sa.select(left_out.c.path))):
                connection.execute(left_out.delete().where(left_out.c.path == path))
                self._database.insert_missing(connection, left_out, {"path": placed(path)})
            hidden = hiding.c.kind == "folder"
            for rule in list(connection.execute(sa.select(hiding).where(hidden))):
                here = sa.and_(hidden, hiding.c.target == rule.target)
                moved_to = placed(rule.target)
                connection.execute(hiding.delete().where(here))
                row = {"kind": "folder", "target": moved_to, "level": rule.level}
                self._database.insert_missing(connection, hiding, {**row, "name": moved_to})
            connection.execute(roots.delete())
            if known:
                connection.execute(insert(roots), [{"path": root} for root in sorted(known)])
            return len(moved)
