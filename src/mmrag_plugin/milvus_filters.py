"""Filters as Milvus expressions: every value quoted, every key known.

Ids and names come from media and from callers, and an expression is a small program: nothing gets
into one except through ``quote``, as an integer, or as a column name out of a fixed list.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from mmrag_plugin.errors import UsageError
from mmrag_plugin.metadata import COLUMNS, NO_DATE_S, RowFilter

if TYPE_CHECKING:
    from llama_index.core.vector_stores.types import MetadataFilter, MetadataFilters

IDS_PER_EXPRESSION = 10_000  # about 400 kB of text; longer sets are asked for in parts
NOTHING = 'id == ""'  # no row has an empty id
EVERYTHING = 'id != ""'

_INT64_MAX = 2**63 - 1
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})
_KINDS: dict[str, type] = {
    **{column.name: int if column.type == "int" else str for column in COLUMNS},
    "id": str,
    "doc_id": str,
}


def quote(text: str) -> str:
    """Write a string literal. Raises UsageError for text that is not Unicode (lone surrogates)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{text!r} is not valid Unicode.", "Look it up by its id.") from None
    return f'"{text.translate(_ESCAPES)}"'


def one_of(column: str, values: Iterable[str]) -> str:
    """Say that a string column holds one of the values; no values match nothing."""
    listed = ",".join(quote(value) for value in sorted(set(values)))
    return f"{column} in [{listed}]" if listed else NOTHING


def none_of(column: str, values: Iterable[str]) -> str:
    """Say that a string column holds none of the values; no values match everything."""
    listed = ",".join(quote(value) for value in sorted(set(values)))
    return f"{column} not in [{listed}]" if listed else EVERYTHING


def chunks_of(ids: Iterable[str]) -> list[list[str]]:
    """Cut ids, sorted and without repeats, into parts that fit one expression."""
    listed = sorted(set(ids))
    return [
        listed[start : start + IDS_PER_EXPRESSION]
        for start in range(0, len(listed), IDS_PER_EXPRESSION)
    ]


def row_expressions(where: RowFilter | None) -> list[str]:
    """Write a RowFilter as expressions whose results, which never overlap, are to be joined.

    An empty list matches nothing and needs no question; ``[""]`` matches everything.
    """
    if where is None:
        return [""]
    common: list[str] = []
    if where.kind is not None:
        common.append(one_of("kind", [where.kind]))
    if where.taken_from_s is not None or where.taken_to_s is not None:
        first = NO_DATE_S + 1 if where.taken_from_s is None else where.taken_from_s
        last = _INT64_MAX if where.taken_to_s is None else where.taken_to_s
        first, last = max(first, NO_DATE_S + 1), min(last, _INT64_MAX)
        if first > last:
            return []
        common += [f"taken_at >= {first}", f"taken_at <= {last}"]
    for column, wanted in (
        ("camera", where.cameras),
        ("source", where.sources),
        ("stage", where.stages),
    ):
        if wanted is not None:
            if not wanted:
                return []
            common.append(one_of(column, wanted))
    if where.not_media_ids:
        common.append(none_of("media_id", where.not_media_ids))
    if where.media_ids is None:
        return [" and ".join(common)]
    return [
        " and ".join([*common, one_of("media_id", part)]) for part in chunks_of(where.media_ids)
    ]


def metadata_expression(filters: MetadataFilters | None) -> str:
    """Write LlamaIndex's filters as one expression; an empty string matches everything.

    Keys are the columns of ``metadata.COLUMNS``, ``id`` and ``doc_id``. As everywhere in
    LlamaIndex, ``not`` means that none of its filters match. Raises UsageError for an unknown key,
    a value of another type than the column's, and an operator that makes no sense on a scalar.
    """
    from llama_index.core.vector_stores.types import FilterCondition, MetadataFilters

    if filters is None or not filters.filters:
        return ""
    parts = [
        metadata_expression(part) if isinstance(part, MetadataFilters) else _comparison(part)
        for part in filters.filters
    ]
    parts = [f"({part or EVERYTHING})" for part in parts]
    if filters.condition == FilterCondition.NOT:
        return f"not ({' or '.join(parts)})"
    return (" or " if filters.condition == FilterCondition.OR else " and ").join(parts)


def _comparison(part: MetadataFilter) -> str:
    from llama_index.core.vector_stores.types import FilterOperator

    if part.key not in _KINDS:
        raise UsageError(
            f"{part.key!r} can't be filtered.", f"Known keys are: {', '.join(sorted(_KINDS))}."
        )
    if part.operator in (FilterOperator.IN, FilterOperator.NIN):
        if not isinstance(part.value, (list, tuple)):
            raise UsageError(f"{part.operator.value} on {part.key} needs a list of values.")
        listed = ",".join(_literal(part.key, value) for value in part.value)
        negated = part.operator == FilterOperator.NIN
        if not listed:
            return EVERYTHING if negated else NOTHING
        return f"{part.key} {'not in' if negated else 'in'} [{listed}]"
    if part.operator.value not in ("==", "!=", ">", ">=", "<", "<="):
        raise UsageError(
            f"The operator {part.operator.value!r} is not supported on {part.key}.",
            "Use ==, !=, >, >=, <, <=, in or nin.",
        )
    return f"{part.key} {part.operator.value} {_literal(part.key, part.value)}"


def _literal(key: str, value: Any) -> str:
    kind = _KINDS[key]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise UsageError(f"{key} holds {kind.__name__} values, not {value!r}.")
    if isinstance(value, int):
        if abs(value) > _INT64_MAX:
            raise UsageError(f"{key} = {value} does not fit 64 bits.")
        return str(value)
    return quote(str(value))


def all_of(expressions: Sequence[str]) -> str:
    """Join expressions that must all hold; empty ones are left out."""
    kept = [expression for expression in expressions if expression]
    return kept[0] if len(kept) == 1 else " and ".join(f"({expression})" for expression in kept)
