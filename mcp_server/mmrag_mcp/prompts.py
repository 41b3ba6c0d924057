"""Prompts: how a person begins, for assistants that offer a choice of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.prompts import Prompt
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS
from pydantic import Field

from mmrag_mcp.arguments import nearest
from mmrag_plugin.untrusted import escape_media_text

MAX_CHARS = 500

_When = Annotated[str, Field(description="When it was: 2019, May 2019, last summer.")]
_Place = Annotated[str, Field(description="Where it was.")]
_Folder = Annotated[str, Field(description="Only in this folder of the library.")]
_One = Annotated[str, Field(description="A media_id, or what it shows.")]


def find(
    what: Annotated[str, Field(description="What to look for, in plain words.")],
    when: _When = "",
    place: _Place = "",
    folder: _Folder = "",
) -> str:
    """Find photos and moments of videos."""
    asked = " ".join(
        part for part in (what, f"in {place}" if place else "", f"({when})" if when else "") if part
    )
    inside = f", with folder={folder!r}" if folder else ""
    return (
        f"Find in my photos and videos: {asked}\n"
        f"Use search_media{inside}. If what matches is weak, try other words once or twice "
        "and ask library_info how to phrase it. Show me the best few: what it is, the file, the "
        "date, and of a video the time. Say so if there is nothing."
    )


def compare(
    first: _One, second: _One, what: Annotated[str, Field(description="In what.")] = ""
) -> str:
    """Compare two photos or videos."""
    about = f" in this: {what}" if what else ": what is the same, what differs, which is better"
    return (
        f"Compare two of my photos or videos{about}.\nThe first: {first}\nThe second: {second}\n"
        "What is not a media_id, find with search_media. Look at both with get_media "
        "(include_picture), or if you can't see pictures with describe_media. Name the files."
    )


def make_album(
    about: Annotated[str, Field(description="What the album is about.")],
    count: Annotated[str, Field(description="How many pictures; 12 without.")] = "12",
    when: _When = "",
    folder: _Folder = "",
) -> str:
    """Choose pictures for an album, in order, with a title and captions."""
    where = "".join((f", {when}" if when else "", f", in the folder {folder}" if folder else ""))
    return (
        f"Make an album of about {count} of my photos and moments of videos: {about}{where}\n"
        "Collect more than needed with search_media and browse_media, leave out what looks alike "
        "(find_similar shows it), and put them into an order that tells something. Give the album "
        "a title and each picture a short caption from what get_media says, with its file. If "
        "make_media is among your tools, offer a contact sheet or slideshow of it."
    )


def tell_day(
    day: Annotated[str, Field(description="The day, like 2019-05-20.")],
    folder: _Folder = "",
) -> str:
    """Tell the story of a day from its photos and videos."""
    inside = f" in the folder {folder}" if folder else ""
    return (
        f"Tell the story of this day from my photos and videos{inside}: {day}\n"
        "List them with browse_media (by=day, value=the day); read what is known of each with "
        "get_media, and look at some (include_picture, or describe_media with a question). Tell it "
        "in the order of the clock, say which file shows what, and don't make anything up."
    )


_PROMPTS: tuple[tuple[Callable[..., str], str], ...] = (
    (find, "Find photos and videos"),
    (compare, "Compare two of them"),
    (make_album, "Make an album"),
    (tell_day, "Tell the story of a day"),
)


def add_prompts(server: MCPServer[Any]) -> dict[str, Prompt]:
    """Have a server list the prompts; returns them by name."""
    made = {}
    for function, title in _PROMPTS:
        prompt = Prompt.from_function(function, title=title)
        server.add_prompt(prompt)
        made[prompt.name] = prompt
    return made


def checked(
    prompts: dict[str, Prompt], name: str, arguments: dict[str, Any] | None
) -> dict[str, str]:
    """The arguments of a prompt, each in one bounded line.

    Raises MCPError with a sentence for a prompt that is none and for what is missing or unknown:
    the SDK would say "internal error".
    """
    prompt = prompts.get(name)
    if prompt is None:
        raise _refused(f"There is no prompt {name[:60]!r}{nearest(name, prompts)}")
    known = {argument.name: argument for argument in prompt.arguments or ()}
    given = {
        key: escape_media_text(" ".join(str(value).split()), MAX_CHARS)
        for key, value in (arguments or {}).items()
    }
    for key in given:
        if key not in known:
            raise _refused(f"{name} has no argument {key[:60]!r}{nearest(key, known)}")
    for argument in known.values():
        if argument.required and not given.get(argument.name):
            said = (argument.description or "").rstrip(".")
            raise _refused(f"{name} needs the argument {argument.name!r}: {said}.")
    return {key: value for key, value in given.items() if value}


def _refused(said: str) -> MCPError:
    return MCPError(INVALID_PARAMS, said)
