"""pymilvus's reading of what Milvus answers, a column at a time.

pymilvus reads the answer to a search cell by cell, which takes most of the time that a search takes
on this side. Columns of plain numbers and texts without nulls are taken whole here, with the same
values; all others are read as pymilvus reads them.
"""

from __future__ import annotations

from typing import Any


def read_by_columns() -> None:
    """Have pymilvus read answers like this in this process, if it reads them as it did."""
    from pymilvus import DataType
    from pymilvus.client import field_data_extractors

    stock = getattr(field_data_extractors, "decode_range", None)
    if stock is None or hasattr(stock, "stock"):
        return
    slots = {
        DataType.BOOL: "bool_data",
        DataType.INT32: "int_data",
        DataType.INT64: "long_data",
        DataType.FLOAT: "float_data",
        DataType.DOUBLE: "double_data",
        DataType.VARCHAR: "string_data",
    }

    def decode_range(field_data: Any, start: int, end: int) -> list[Any]:
        slot = slots.get(field_data.type)
        if slot is None or len(field_data.valid_data):
            return list(stock(field_data, start, end))
        data = list(getattr(field_data.scalars, slot).data[start:end])
        return data + [None] * (end - start - len(data))

    decode_range.stock = stock  # type: ignore[attr-defined]
    field_data_extractors.decode_range = decode_range
