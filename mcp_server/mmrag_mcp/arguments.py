"""What the tools take: flat, bounded, described arguments, and refusals that help."""

from __future__ import annotations

import difflib
import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Annotated, Any

from mcp.server.mcpserver.tools import Tool
from mcp_types import CallToolResult, ToolAnnotations
from pydantic import BeforeValidator, Field, ValidationError

from mmrag_plugin.media import Confidence, Kind
from mmrag_plugin.planning.date_words import MONTHS

MAX_LIMIT = 50
_SHOWN_FAULTS = 5
_SHOWN_CHARS = 60  # of a refused value


_KINDS = {
    "image": "image images photo photos picture pictures pic pics img screenshot screenshots",
    "video": "video videos film films movie movies clip clips",
}
_KIND_OF = {word: kind for kind, words in _KINDS.items() for word in words.split()}
_NOTHING = ("", "any", "all", "both", "none", "null")  # as models write it
_CLOCK = re.compile(r"(\d{4}-\d{1,2}-\d{1,2})[T ].*")
_DIGITS = re.compile(r"(\d{4})[-/.:](\d{1,2})(?:[-/.:](\d{1,2}))?")
_NAMED = re.compile(
    r"(?:(\d{1,2})(?:st|nd|rd|th|\.)? )?([^\W\d_]+)(?: (\d{1,2})(?:st|nd|rd|th)?)? (\d{4})"
)
_LENGTHS = re.compile(
    r"(?:(\d{1,3}) ?h(?:ours?|rs?)?)? ?(?:(\d{1,4}) ?m(?:in(?:ute)?s?)?)? ?"
    r"(?:(\d{1,6}(?:\.\d{1,6})?) ?s(?:ec(?:ond)?s?)?)?"
)
_URI = re.compile(r"mmrag://media/([^/]+).*")


def _as_text(value: object) -> object:
    """Take 5.5 and 2019 for "5.5" and "2019": models write times and years as numbers, too."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def _or_none(value: object) -> object:
    """Take "" for nothing, as it is meant."""
    return None if value == "" else value


def as_kind(value: object) -> object:
    """Take photos and films for what they are."""
    if not isinstance(value, str):
        return value
    word = value.strip().lower()
    return None if word in _NOTHING else _KIND_OF.get(word, value)


def as_date(value: object) -> object:
    """Write a date as 2019-05-20 that came as 2019/05/20, 2019-05-20T10:00 or 20 May 2019."""
    value = _as_text(value)
    if not isinstance(value, str):
        return value
    text = " ".join(value.replace(",", " ").split())
    if match := _CLOCK.fullmatch(text):
        return match[1]
    if match := _DIGITS.fullmatch(text):
        return "-".join(part.zfill(2) for part in match.groups() if part)
    if match := _NAMED.fullmatch(text):
        month, day = MONTHS.get(match[2].lower()), match[1] or match[3]
        if month and not (match[1] and match[3]):
            return f"{match[4]}-{month:02}" + (f"-{int(day):02}" if day else "")
    return value


def as_time(value: object) -> object:
    """Write a time in seconds that came as 90 s, 90 seconds or 1m30s."""
    value = _as_text(value)
    match = _LENGTHS.fullmatch(value.strip().lower()) if isinstance(value, str) else None
    if match is None or not any(match.groups()):
        return value
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return f"{3600 * hours + 60 * minutes + seconds:g}"


def _media_id(value: object) -> object:
    """Take the id out of a link to a media."""
    match = _URI.fullmatch(value.strip()) if isinstance(value, str) else None
    return match[1] if match else value


_Date = Annotated[str, BeforeValidator(as_date), Field(max_length=40)]
_DATES = "2019, 2019-05 or 2019-05-20"

Query = Annotated[
    str,
    Field(
        min_length=1,
        max_length=2_000,
        description="In plain words: what is to be seen, words in the picture, names, places, "
        "dates. The other arguments win over what it says.",
    ),
]
Question = Annotated[
    str, Field(min_length=1, max_length=2_000, description="The question, in the person's words.")
]
Limit = Annotated[int, Field(ge=1, le=MAX_LIMIT, description="How many moments to return.")]
Sources = Annotated[int, Field(ge=1, le=20, description="How many moments to answer from.")]
OnlyKind = Annotated[
    Kind | None, BeforeValidator(as_kind), Field(description="Only images, or only videos.")
]
Since = Annotated[_Date | None, Field(description=f"Taken then or later: {_DATES}.")]
Until = Annotated[_Date | None, Field(description=f"Taken then or earlier: {_DATES}.")]
Folder = Annotated[
    Annotated[str, Field(max_length=500, pattern=r"^[^\x00-\x1f]*$")] | None,
    Field(description="Only in this folder of the library, like 'Photos' or '2019/Lisbon'."),
]
Camera = Annotated[
    Annotated[str, Field(max_length=100)] | None,
    Field(description="Only by cameras with this in their name."),
]
HasText = Annotated[
    bool | None,
    BeforeValidator(_or_none),
    Field(description="Only with (true) or without (false) text in the picture."),
]
MinConfidence = Annotated[
    Confidence, Field(description="Leave out moments that match less surely than this.")
]
MediaId = Annotated[
    str,
    BeforeValidator(_media_id),
    Field(min_length=1, max_length=64, description="A media_id that another tool returned."),
]
Time = Annotated[str, BeforeValidator(as_time), Field(max_length=20)] | None
Cursor = Annotated[
    Annotated[str, Field(max_length=200)] | None,
    BeforeValidator(_or_none),
    Field(description="The next_cursor of the page before, to get the next one."),
]


def strict_tool(
    function: Callable[..., Awaitable[CallToolResult]],
    name: str,
    title: str,
    hints: ToolAnnotations,
    meta: dict[str, Any] | None = None,
) -> Tool:
    """Make a tool of a function; unlike the SDK's own, it refuses unknown arguments."""
    tool = Tool.from_function(function, name, title, annotations=hints, meta=meta)
    model = tool.fn_metadata.arg_model
    model.model_config["extra"] = "forbid"
    model.model_rebuild(force=True)
    tool.description = " ".join(tool.description.split())
    tool.parameters = _flat(model.model_json_schema(by_alias=True))
    if tool.fn_metadata.output_schema:
        tool.fn_metadata.output_schema = _lean(tool.fn_metadata.output_schema)
    return tool


def refusal(tool: Tool, error: ValidationError) -> str:
    """Say what is wrong with a call's arguments, and what would be right."""
    names = list(tool.fn_metadata.arg_model.model_fields)
    lines = []
    faults = error.errors(include_url=False)
    for fault in faults[:_SHOWN_FAULTS]:
        name = ".".join(str(part) for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            lines.append(f"There is no argument {name[:_SHOWN_CHARS]!r}{nearest(name, names)}")
        elif fault["type"] == "missing":
            lines.append(f"The argument {name!r} is missing.")
        else:
            value = repr(fault["input"])
            shown = value if len(value) <= _SHOWN_CHARS else f"{value[:_SHOWN_CHARS]}…"
            lines.append(f"{name} = {shown}: {fault['msg']}.")
    if len(faults) > _SHOWN_FAULTS:
        lines.append(f"So it goes on: {len(faults)} arguments can't be taken.")
    return "\n".join(lines)


def nearest(name: str, known: Iterable[str]) -> str:
    """End a sentence about an unknown name with the name that was meant, or with all of them."""
    choices = list(known)
    close = difflib.get_close_matches(name.lower(), choices, 1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known are {', '.join(choices)}." if choices else "; there are none."


def _flat(schema: dict[str, Any]) -> dict[str, Any]:
    """Leave out of a schema what only costs tokens and confuses small models.

    Titles repeat the names, and "or null" says no more than "not required". Null is taken all the
    same when it comes.
    """
    left_out = ("title", "anyOf", "pattern")  # what breaks a pattern is told when it does
    properties: dict[str, dict[str, Any]] = {}
    for name, described in schema["properties"].items():
        kept = {key: value for key, value in described.items() if key not in left_out}
        for variant in described.get("anyOf", ()):
            if variant.get("type") != "null":
                kept |= {key: value for key, value in variant.items() if key != "pattern"}
        if kept.get("default", "") is None:
            del kept["default"]
        properties[name] = kept
    return {**{k: v for k, v in schema.items() if k != "title"}, "properties": properties}


def _lean(schema: Any) -> Any:
    """Leave out of a result's schema what repeats the names, and null where nothing is sent."""
    if isinstance(schema, list):
        return [_lean(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {
        key: {name: _lean(inner) for name, inner in value.items()}
        if key in ("properties", "$defs")
        else _lean(value)
        for key, value in schema.items()
        if key not in ("title", "default")
    }
    if "default" in schema and schema["default"] is None:
        (only,) = [variant for variant in kept.pop("anyOf") if variant.get("type") != "null"]
        kept |= only
    return kept
