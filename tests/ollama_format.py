"""An answer that fits a JSON schema, filled with what was seen: how ``format`` binds a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import PIL.Image

from mmrag_plugin.vlm.fake import main_colour, say_what_is_seen


def fitting(schema: dict[str, Any], pictures: Sequence[PIL.Image.Image]) -> Any:
    """Build a value that fits a schema as pydantic writes it; texts name the colours seen."""
    colours = [main_colour(picture) for picture in pictures]
    defs = schema.get("$defs", {})

    def value(part: dict[str, Any]) -> Any:
        for choice in ("anyOf", "oneOf", "allOf"):
            if choice in part:
                return value(part[choice][0])
        if "$ref" in part:
            return value(defs[part["$ref"].rsplit("/", 1)[-1]])
        if choices := part.get("enum") or ([part["const"]] if "const" in part else []):
            return next((one for one in choices if one in colours), choices[0])
        if part.get("type") == "object":
            return {name: value(inner) for name, inner in part.get("properties", {}).items()}
        return items(part) if part.get("type") == "array" else single(part)

    def items(part: dict[str, Any]) -> list[Any]:
        inner = part.get("items", {"type": "string"})
        texts = inner.get("type") == "string" and "enum" not in inner
        least, most = part.get("minItems", 0), part.get("maxItems", 1_000)
        some = list(colours) if texts else [value(inner)]
        return (some + [value(inner)] * least)[: max(least, min(most, len(some)))]

    def single(part: dict[str, Any]) -> Any:
        said = say_what_is_seen(pictures)[: part.get("maxLength", 10_000)]
        kinds = {
            "integer": int(_within(part, len(pictures))),
            "number": _within(part, len(pictures)),
            "boolean": bool(pictures),
            "null": None,
        }
        return kinds.get(str(part.get("type")), said)

    return value(schema)


def _within(part: dict[str, Any], number: float) -> float:
    low = part.get("minimum", part.get("exclusiveMinimum", -float("inf")))
    high = part.get("maximum", part.get("exclusiveMaximum", float("inf")))
    return float(min(max(number, low), high))
