"""What a row in Milvus holds: the fields of a collection, and nodes turned into rows and back."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmrag_plugin.bm25 import dimension, document_vector
from mmrag_plugin.errors import UsageError
from mmrag_plugin.media import Kind
from mmrag_plugin.metadata import COLUMNS, NO_TIME_MS, Column, from_ms
from mmrag_plugin.milvus_indexes import dense_index

if TYPE_CHECKING:
    from llama_index.core.schema import BaseNode

ID_BYTES = 512
TEXT_BYTES = 65_535  # a Milvus server's bound for one VARCHAR
DYNAMIC_BYTES = 65_536  # and for all that is in no typed field

DENSE, SPARSE, PLACEHOLDER = "embedding", "sparse_embedding", "placeholder"
# The sparse vector of a row without words: Lite and servers before 2.4.12 refuse an empty one. No
# query finds it, because it lies in the one dimension that Milvus allows and no term has.
NO_TERMS = {2**32 - 2: 1.0}
INDEXED_COLUMNS = ("media_id", "kind", "stage", "source", "taken_at", "camera")
FOUND_FIELDS = tuple("media_id kind source start_ms end_ms shot_start_ms shot_end_ms".split())
NODE_FIELDS = ("_node_content", "_node_type", "text")

_WORD = re.compile(r"[a-z0-9]+")
# pixels and paths live on disk and in the ledger, text and vector in fields of their own
_NOT_IN_CONTENT = {"embedding", "text", "image", "image_path", "image_url", "text_embedding"}


@dataclass(frozen=True)
class FoundRow:
    """A row that a search found; ``score`` is higher for a better match on every backend.

    ``shot_start_s`` and ``shot_end_s`` are the edges of the shot that a film's frame is of; None
    for other rows, and for frames that were taken in before shots were known.
    """

    row_id: str
    media_id: str
    kind: Kind
    source: str
    start_s: float | None
    end_s: float | None
    score: float
    shot_start_s: float | None = None
    shot_end_s: float | None = None


def ascii_words(text: str) -> list[str]:
    """Split text into its lower-case ASCII words and numbers."""
    return _WORD.findall(text.lower())


def same_weights(terms: Sequence[str]) -> Mapping[int, float]:
    """Weigh the terms of a query as if each were as rare as any other."""
    return {dimension(term): 1.0 for term in terms}


def make_schema(dim: int | None, words: bool) -> Any:
    """Build pymilvus's schema: dense vectors with a ``dim``, sparse vectors with ``words``.

    A collection must have a vector, so with neither there is one that says nothing.
    """
    from pymilvus import DataType, MilvusClient

    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=True)
    schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=ID_BYTES)
    schema.add_field("doc_id", DataType.VARCHAR, max_length=ID_BYTES)
    schema.add_field("text", DataType.VARCHAR, max_length=TEXT_BYTES)
    for column in COLUMNS:
        if column.type == "str":
            schema.add_field(column.name, DataType.VARCHAR, max_length=column.max_bytes)
        else:
            schema.add_field(column.name, DataType.INT64)
    if dim is not None:
        schema.add_field(DENSE, DataType.FLOAT_VECTOR, dim=dim)
    if words:
        schema.add_field(SPARSE, DataType.SPARSE_FLOAT_VECTOR)
    if dim is None and not words:
        schema.add_field(PLACEHOLDER, DataType.FLOAT_VECTOR, dim=2)
    schema.verify()
    return schema


def index_definitions(
    dim: int | None, words: bool, columns: bool, kind: str
) -> dict[str, dict[str, Any]]:
    """Name the index of each field that has one; with ``columns`` also of those to filter by."""
    indexes: dict[str, dict[str, Any]] = {
        name: {"index_type": "INVERTED"} for name in (INDEXED_COLUMNS if columns else ())
    }
    if dim is not None:
        indexes[DENSE] = dense_index(kind)
    if words:
        indexes[SPARSE] = {"index_type": "SPARSE_INVERTED_INDEX", "metric_type": "IP"}
    if dim is None and not words:
        indexes[PLACEHOLDER] = {"index_type": "FLAT", "metric_type": "L2"}
    return indexes


def row_of(
    node: BaseNode,
    dim: int | None,
    terms: Sequence[str] | None,
    tokenize: Callable[[str], Sequence[str]] | None,
) -> dict[str, Any]:
    """Turn a node into a row; with ``tokenize``, terms that are None are made of its text.

    Text is cut at 65,535 bytes. Raises UsageError for a node that doesn't fit.
    """
    from llama_index.core.schema import MetadataMode, TextNode

    text = node.get_content(MetadataMode.NONE) if isinstance(node, TextNode) else ""
    row: dict[str, Any] = {
        "id": _fitting("node id", node.node_id, ID_BYTES),
        "doc_id": _fitting("document id", node.ref_doc_id or "", ID_BYTES),
        "text": _cut(text),
        **{column.name: _column_value(column, node) for column in COLUMNS},
        "_node_content": node.model_dump_json(exclude=_NOT_IN_CONTENT),
        "_node_type": node.class_name(),
    }
    if not row["id"]:
        raise UsageError("A node has an empty id.")
    if len(row["_node_content"].encode()) > DYNAMIC_BYTES - 256:
        raise UsageError(
            f"The metadata of node {node.node_id!r} is over Milvus's {DYNAMIC_BYTES:,} bytes.",
            "Keep pictures and long texts out of metadata.",
        )
    if dim is not None:
        if node.embedding is None or len(node.embedding) != dim:
            raise UsageError(
                f"Node {node.node_id!r} has no vector of {dim} numbers.", "Embed it first."
            )
        row[DENSE] = node.embedding
    if tokenize is not None:
        row[SPARSE] = document_vector(tokenize(text) if terms is None else terms) or NO_TERMS
    if dim is None and tokenize is None:
        row[PLACEHOLDER] = [0.0, 0.0]
    return row


def node_of(fields: dict[str, Any]) -> BaseNode:
    """Turn the NODE_FIELDS of a row back into its node."""
    from llama_index.core.vector_stores.utils import metadata_dict_to_node

    return metadata_dict_to_node(fields, text=fields.get("text") or "")


def found_row(hit: Any) -> FoundRow:
    """Turn one of pymilvus's hits, with the FOUND_FIELDS, into a FoundRow."""
    entity = hit["entity"]
    return FoundRow(
        row_id=hit["id"],
        media_id=entity["media_id"],
        kind=entity["kind"],
        source=entity["source"],
        start_s=from_ms(entity["start_ms"]),
        end_s=from_ms(entity["end_ms"]),
        score=float(hit["distance"]),
        shot_start_s=from_ms(entity.get("shot_start_ms", NO_TIME_MS)),
        shot_end_s=from_ms(entity.get("shot_end_ms", NO_TIME_MS)),
    )


def _column_value(column: Column, node: BaseNode) -> str | int:
    value = node.metadata.get(column.name)
    if value is None:
        return column.sentinel
    if column.type == "int":
        if not isinstance(value, int) or abs(value) >= 2**63:
            raise UsageError(f"{column.name} of node {node.node_id!r} must be an integer.")
        return value
    return _fitting(column.name, value, column.max_bytes)


def _fitting(name: str, value: Any, max_bytes: int) -> str:
    try:
        if isinstance(value, str) and len(value.encode()) <= max_bytes:
            return value
    except UnicodeEncodeError:
        pass
    raise UsageError(f"{name} = {value!r} must be Unicode text of at most {max_bytes} bytes.")


def _cut(text: str) -> str:
    return text.encode(errors="replace")[:TEXT_BYTES].decode(errors="ignore")
