"""The ledger as assistants see it: views that stand before its tables and leave out what is hidden.

A ledger is asked in many places, and one that forgot to ask what is hidden would show it. So the
database itself leaves it out: on each connection of such a ledger, temporary views have the names
of the tables, and a database looks into its temporary schema first (SQLite and PostgreSQL both do).
Whatever is asked of ``media`` then, now or by code yet to be written, is asked of what may be seen;
and as views can't be written to, an assistant's ledger can't change media either.

The rules are looked up whenever a view is, so a rule holds from the moment that it is entered, for
media that come into a folder later, too. A media is hidden by any of its paths. Where a tag or a
person is hidden, so is what was never read: nobody knows yet what it is marked with.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from mmrag_plugin.ledger_tables import metadata

# Tables about media, by ``media_id``; about places, by ``path``; and what is nobody else's affair.
_PLACES = frozenset({"roots", "left_out", "not_taken_in", "bad_sidecars"})
_PRIVATE = frozenset({"hiding", "hidden_contents", "left_out_files", "heard", "heard_out"})
# What is about the library or about words alone. A new table needs its place here, or a media_id.
OPEN = frozenset({"facts", "terms", "captions", "lease"})


def view_statements(schema: str) -> Iterator[str]:
    """The statements that put views before the tables, which lie in a schema (``main``)."""
    for name, table in metadata.tables.items():
        if name in OPEN:
            continue
        if name in _PRIVATE:
            condition = "1 = 0"
        elif name in _PLACES:
            condition = f"NOT {_lies_in_hidden(schema, 't.path')}"
        else:
            assert "media_id" in table.c, f"whom does {name} belong to?"
            condition = f"NOT {is_hidden(schema, 't.media_id')}"
            if name == "annotations":  # which outlive their media, of whom nobody knows any more
                there = f"SELECT media_id FROM {schema}.media"  # noqa: S608
                condition += f" AND t.media_id IN ({there})"
        # with something beside the table, as PostgreSQL would write through a view of one table
        seen = f'SELECT t.* FROM {schema}."{name}" AS t, (SELECT 1) AS one WHERE {condition}'  # noqa: S608
        yield f'CREATE TEMPORARY VIEW "{name}" AS {seen}'


def is_hidden(schema: str, media_id: str) -> str:
    """The condition, in SQL, that the media of a column's id is hidden from assistants."""
    rules = f"{schema}.hiding AS h"
    return f"""(EXISTS (SELECT 1 FROM {schema}.hiding) AND (
        EXISTS (SELECT 1 FROM {rules} WHERE h.kind = 'media' AND h.target = {media_id})
        OR EXISTS (SELECT 1 FROM {schema}.paths AS p WHERE p.media_id = {media_id}
            AND {_lies_in_hidden(schema, "p.path")})
        OR EXISTS (SELECT 1 FROM {schema}.marks AS m, {rules}
            WHERE m.media_id = {media_id} AND h.target = m.folded
            AND ((h.kind = 'person' AND m.kind = 'person')
                OR (h.kind = 'tag' AND m.kind <> 'person')))
        OR (EXISTS (SELECT 1 FROM {rules} WHERE h.kind IN ('tag', 'person'))
            AND NOT EXISTS (SELECT 1 FROM {schema}.stages AS s WHERE s.media_id = {media_id}
                AND s.stage = 'read' AND (s.state = 'done' OR s.made > 0)))))"""  # noqa: S608


def _lies_in_hidden(schema: str, path: str) -> str:
    """The condition that a path is, or lies in, a folder that is hidden."""
    folder = f"RTRIM(f.target, '{os.sep}') || '{os.sep}'"
    return f"""EXISTS (SELECT 1 FROM {schema}.hiding AS f WHERE f.kind = 'folder'
        AND ({path} = f.target OR SUBSTR({path}, 1, LENGTH({folder})) = {folder}))"""  # noqa: S608
