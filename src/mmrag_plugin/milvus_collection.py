"""One collection in Milvus: opened or created, written, searched by vector or by word."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from mmrag_plugin.errors import ModelMismatch, ServiceError, UsageError
from mmrag_plugin.milvus_connection import BUILD_S, WRITE_S, MilvusConnection
from mmrag_plugin.milvus_filters import NOTHING, all_of, none_of, quote
from mmrag_plugin.milvus_indexes import dense_search, kind_of_index
from mmrag_plugin.milvus_rows import DENSE, SPARSE, index_definitions, make_schema

MAX_LIMIT = 16_384  # a Milvus server's bound for one search
ROWS_PER_WRITE = 256
BYTES_PER_WRITE = 16 * 1024 * 1024
MANY_LEFT_OUT = 1000  # from so many on, leaving hits out here is faster
CHANGES = 5  # times that an index is tried to be changed
MORE_HITS = 4  # times as many are asked for, before Milvus has to leave out
BOUNDED_S = 8.0  # a little more than by what a server's Bounded reads may lag behind
_wrote_at: dict[tuple[str, str], float] = {}  # by address and name: all connections are a session
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")


class Collection:
    """A collection with dense vectors of ``dim`` numbers, sparse vectors for ``words``, or both.

    Hits are pymilvus's, with a ``distance`` that is higher for a better match everywhere.

    Media that are ``left_out`` are in nothing that is read: Milvus itself leaves them out, by their
    ids, so that ranks and counts are those of a library without them. Ids rather than a flag in the
    rows: a flag would have to be rewritten, with its vectors, before it holds, and a rule that
    hides a folder is to hold at once and in every process. Of very many ids Milvus would compare
    each row with the whole list: then a search asks for more hits, and they are left out here.
    """

    def __init__(
        self, connection: MilvusConnection, name: str, *, dim: int | None, words: bool
    ) -> None:
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"{name!r} is not a collection name.",
                "Use letters, digits and underscores, and begin with no digit.",
            )
        self.connection = connection
        self.name = name
        self.dim = dim
        self.words = words
        self.left_out: Callable[[], frozenset[str]] = frozenset
        self.open()

    def call(self, method: str, **options: Any) -> Any:
        """Call a method of MilvusClient on this collection, as ``MilvusConnection.call``."""
        return self.connection.call(method, self.name, **options)

    def open(self, kind: str | None = None) -> None:
        """Create what is missing and load; two processes may do this at the same time.

        ``kind`` is the index that dense vectors get; else what suits their number. Raises
        ModelMismatch for a collection of another dimension.
        """
        if not self.call("has_collection"):
            schema = make_schema(self.dim, self.words)
            self._unless_it_exists("create_collection", schema=schema, consistency_level="Session")
        self._check()
        present = set(self.call("list_indexes"))
        known = self.connection.capabilities()
        if kind is None and DENSE not in present and not known.embedded:
            kind = self._suiting(int(self.call("get_collection_stats")["row_count"]))
        kind = kind or known.indexes[0]
        definitions = index_definitions(self.dim, self.words, known.column_index, kind)
        for field, definition in definitions.items():
            if field not in present:
                params = self.connection.client.prepare_index_params()
                params.add_index(field, index_name=field, **definition)
                # without sync=False pymilvus sleeps half a second for each; loading waits anyway
                self._unless_it_exists("create_index", index_params=params, sync=False)
        self.call("load_collection", timeout_s=BUILD_S)

    def _unless_it_exists(self, method: str, **options: Any) -> None:
        try:
            self.call(method, timeout_s=BUILD_S, **options)
        except ServiceError as error:
            if "already exist" not in error.message:
                raise

    def suit_index(self) -> None:
        """Have the index that suits the number of rows, or that is wanted; only on a server.

        Meanwhile the collection is not loaded: searches of other processes wait for a moment, and
        say then that it is not. Whoever opens it goes on where this was broken off.
        """
        if self.connection.embedded or self.dim is None:
            return
        [found] = self._read("", ["count(*)"])
        rows, kind = int(found["count(*)"]), self.call("describe_index", index_name=DENSE)
        suiting = self._suiting(rows)
        if kind["index_type"] in (suiting, self._suiting(2 * rows)):
            return  # a library that shrank a little, or is about to grow, keeps what it has
        for attempt in range(CHANGES):
            self.call("release_collection", timeout_s=WRITE_S)
            try:
                self.call("drop_index", index_name=DENSE, timeout_s=WRITE_S)
                break
            except ServiceError:  # somebody who searches has had it loaded again
                if attempt == CHANGES - 1:
                    self.open()
                    raise
        self.open(suiting)

    def _suiting(self, rows: int) -> str:
        server, known = self.connection.server, self.connection.capabilities().indexes
        return kind_of_index(rows, known, "auto" if server is None else server.index)

    def _check(self) -> None:
        found, self.words = shape_of(self.connection, self.name)
        if found != self.dim:
            raise ModelMismatch(
                f"The collection {self.name} holds vectors of {found} numbers, "
                f"the model makes {self.dim}.",
                "Index again with this model, or go back to the earlier one.",
            )

    def upsert(self, rows: Iterable[dict[str, Any]]) -> None:
        """Write rows in batches that any server takes."""
        batch: list[dict[str, Any]] = []
        batch_bytes = 0
        for row in rows:
            vector_bytes = 4 * (self.dim or 0) + 8 * len(row.get(SPARSE, ()))
            row_bytes = vector_bytes + len(row["text"]) + len(row["_node_content"])
            full = len(batch) == ROWS_PER_WRITE or batch_bytes + row_bytes > BYTES_PER_WRITE
            if batch and full:
                self._write(batch)
                batch, batch_bytes = [], 0
            batch.append(row)
            batch_bytes += row_bytes
        if batch:
            self._write(batch)

    def _write(self, rows: list[dict[str, Any]]) -> None:
        self.call("upsert", data=rows, timeout_s=WRITE_S)
        _wrote_at[self.connection.address, self.name] = time.monotonic()

    def delete(self, expressions: Iterable[str]) -> None:
        """Delete the rows that any of the expressions matches.

        Servers, unlike for what is written, don't tell when it is seen; so it is waited for.
        """
        deleted = False
        for expression in expressions:
            self.call("delete", filter=expression, timeout_s=WRITE_S)
            deleted = True
        if deleted and not self.connection.embedded:
            self._read(NOTHING, ["id"], limit=1)

    def flush(self) -> None:
        """Put every acknowledged row on disk: until then a power loss could take it.

        A server does that by itself (its log is written before it acknowledges), and limits
        flushes to one in ten seconds, so there is nothing to do.
        """
        if self.connection.embedded:
            self.call("flush", timeout_s=2 * WRITE_S)

    def drop(self) -> None:
        """Delete the collection."""
        self.call("drop_collection", timeout_s=WRITE_S)

    def dense_hits(
        self, vector: list[float], limit: int, expression: str, fields: Sequence[str]
    ) -> list[Any]:
        """Find the rows nearest to a vector by cosine."""
        return self._hits(vector, DENSE, limit, expression, fields)

    def word_hits(
        self, query: Mapping[int, float], limit: int, expression: str, fields: Sequence[str]
    ) -> list[Any]:
        """Find the rows whose sparse vectors have an inner product over 0 with the query's."""
        self.require_words()
        if not query:
            return []
        hits = self._hits(dict(query), SPARSE, limit, expression, fields)
        return [hit for hit in hits if hit["distance"] > 0]

    def hybrid_hits(
        self,
        vector: list[float],
        query: Mapping[int, float],
        limit: int,
        expression: str,
        fields: Sequence[str],
    ) -> list[Any]:
        """Let Milvus fuse the dense and the word list by reciprocal rank (k = 60)."""
        from pymilvus import AnnSearchRequest, RRFRanker

        self.require_words()
        if not query:
            return self.dense_hits(vector, limit, expression, fields)
        expression = self._restricted(expression)
        requests = [
            AnnSearchRequest([vector], DENSE, _search_params(DENSE, limit), limit, expression),
            AnnSearchRequest(
                [dict(query)], SPARSE, _search_params(SPARSE, limit), limit, expression
            ),
        ]
        found = self.call(
            "hybrid_search",
            reqs=requests,
            ranker=RRFRanker(60),
            limit=limit,
            output_fields=list(fields),
            **self._consistency(),
        )
        return list(found[0])

    def require_words(self) -> None:
        """Raise UsageError where there are no sparse vectors."""
        if not self.words:
            raise UsageError(f"The collection {self.name} can't be searched by words.")

    def _consistency(self) -> dict[str, str]:
        """How much a search on a server must know of: what this process wrote, or a bit less.

        ``Session`` alone asks for nothing in a process that has written nothing: while a server
        loads a collection it would answer out of half of it. ``Bounded`` is all but the last five
        seconds.
        """
        if self.connection.embedded:
            return {}
        wrote_s = time.monotonic() - _wrote_at.get((self.connection.address, self.name), -BOUNDED_S)
        return {"consistency_level": "Session" if wrote_s < BOUNDED_S else "Bounded"}

    def _hits(
        self,
        query: Any,
        field: str,
        limit: int,
        expression: str,
        fields: Sequence[str],
    ) -> list[Any]:
        def search(limit: int, expression: str) -> list[Any]:
            found = self.call(
                "search",
                data=[query],
                anns_field=field,
                search_params=_search_params(field, limit),
                limit=limit,
                filter=expression,
                output_fields=[*fields, *{"media_id"}.difference(fields)],
                **self._consistency(),
            )
            return list(found[0])

        left_out = self.left_out()
        if len(left_out) >= MANY_LEFT_OUT:
            asked = min(MORE_HITS * limit, MAX_LIMIT)
            found = search(asked, expression)
            shown = [hit for hit in found if hit["entity"]["media_id"] not in left_out]
            if len(shown) >= limit or len(found) < asked:
                return shown[:limit]
        return search(limit, _without(expression, left_out))

    def rows(self, expression: str, fields: Sequence[str], **options: Any) -> list[dict[str, Any]]:
        """Read rows, with what another process wrote just now."""
        return self._read(self._restricted(expression), fields, **options)

    def _read(self, expression: str, fields: Sequence[str], **options: Any) -> list[dict[str, Any]]:
        found = self.call(
            "query",
            filter=expression,
            output_fields=list(fields),
            timeout_s=WRITE_S,
            consistency_level="Strong",
            **options,
        )
        return list(found)

    def pages(
        self, expression: str, fields: Sequence[str], size: int, *, after: str = ""
    ) -> Iterator[list[dict[str, Any]]]:
        """Read rows, with their ids, in the order of these, from the one behind ``after`` on."""
        # What makes pages come in the order of ids. A server's are, if it looks into all its
        # segments; asked as an iterator it would forget about the consistency of reads.
        lite = self.connection.capabilities().version.startswith("milvus_lite")
        in_order = {"iterator" if lite else "reduce_stop_for_best": "True"}
        while True:
            page = self.rows(
                all_of([expression, f"id > {quote(after)}"]), fields, limit=size, **in_order
            )
            if page:
                yield page
            if len(page) < size:
                return
            after = page[-1]["id"]

    def _restricted(self, expression: str) -> str:
        return _without(expression, self.left_out())


def shape_of(connection: MilvusConnection, name: str) -> tuple[int | None, bool]:
    """How many numbers a collection's dense vectors have, if any, and whether it has words."""
    described = connection.call("describe_collection", name)["fields"]
    fields = {field["name"]: field for field in described}
    return int(fields[DENSE]["params"]["dim"]) if DENSE in fields else None, SPARSE in fields


def _without(expression: str, media_ids: frozenset[str]) -> str:
    return all_of([expression, none_of("media_id", media_ids)]) if media_ids else expression


def _search_params(field: str, limit: int) -> dict[str, Any]:
    if field == SPARSE:
        return {"metric_type": "IP", "params": {}}
    return dense_search(limit)
