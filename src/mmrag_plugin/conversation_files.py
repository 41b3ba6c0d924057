"""Conversations as files: JSON of text, plans, media ids and numbers; no pixels, no folders."""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

from pydantic import TypeAdapter, ValidationError

from mmrag_plugin.conversation import Conversation
from mmrag_plugin.errors import MmragError, NotFound, StorageError, UsageError

KIND = "mmrag conversation"
VERSION = 1
SUFFIX = ".json"
_NAME = re.compile(r"[\w(+][\w().+,' -]{0,79}")
_CONVERSATION = TypeAdapter(Conversation)

PathsNow = Callable[[Sequence[str]], dict[str, str]]


@dataclass(frozen=True)
class KeptConversation:
    """A conversation on disk: ``turns`` is None for a file that can't be read."""

    name: str
    changed_s: float
    turns: int | None = None
    begins: str = ""


def write_conversation(conversation: Conversation, path: Path) -> None:
    """Write a conversation so that only its owner can read it, whole or not at all.

    Raises StorageError where that fails, UsageError for a file that is no conversation: it is not
    overwritten.
    """
    if path.exists():
        _read(path)
    bare = conversation.relocated(
        {hit.moment.media_id: PurePath(hit.path).name for hit in conversation.sources}
    )
    content = {"kind": KIND, "version": VERSION}
    content |= _CONVERSATION.dump_python(bare, mode="json")
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(content, file)  # ASCII: a message may be no valid text
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise StorageError(
            f"The conversation can't be kept in {path}: {error.strerror or error}.",
            "Free some space, or check the permissions.",
        ) from None


def read_conversation(path: Path, paths_now: PathsNow) -> Conversation:
    """Read a conversation; its media are where ``paths_now`` says, or gone.

    Raises NotFound without such a file, UsageError for one that is damaged.
    """
    try:
        conversation = _CONVERSATION.validate_python(_read(path))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise _damaged(path, f"{where}: {first['msg']}") from None
    known = range(1, len(conversation.sources) + 1)
    for turn in conversation.turns:
        if not all(number in known for number in (*turn.shown, *turn.cited)):
            raise _damaged(path, "a number in it has no source")
    media_ids = list(dict.fromkeys(hit.moment.media_id for hit in conversation.sources))
    return conversation.relocated(paths_now(media_ids))


def kept_conversations(folder: Path) -> list[KeptConversation]:
    """The conversations of a folder, the one that was changed last first."""
    found = []
    for path in folder.glob(f"[!.]*{SUFFIX}"):
        kept = KeptConversation(path.stem, path.stat().st_mtime)
        try:
            conversation = _CONVERSATION.validate_python(_read(path))
        except (MmragError, ValidationError):  # no file hides the others
            pass
        else:
            turns = conversation.turns
            begins = turns[0].message if turns else ""
            kept = replace(kept, turns=len(turns), begins=begins)
        found.append(kept)
    return sorted(found, key=lambda kept: (-kept.changed_s, kept.name))


def checked_name(name: str) -> str:
    """A name for a conversation. Raises UsageError for one that is no plain file name."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} can't be a conversation's name.",
            "Take 1 to 80 letters, digits, spaces, dots, dashes; no slash, no dot in front.",
        )
    return name


def free_name(folder: Path, wanted: str) -> str:
    """A name that no conversation has yet: the wanted one, or that with a number."""
    name, number = wanted, 1
    while (folder / f"{name}{SUFFIX}").exists():
        number += 1
        name = f"{wanted} ({number})"
    return name


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise NotFound(
            f"There is no conversation {path.stem!r}.", "See them with: mmrag chat --list"
        ) from None
    except OSError as error:
        raise StorageError(
            f"{path} can't be read: {error.strerror}.", "Check its permissions."
        ) from None
    except (ValueError, RecursionError):
        raise _damaged(path, "it is no JSON") from None
    if not isinstance(content, dict) or content.get("kind") != KIND:
        raise _damaged(path, "it is no conversation of mmrag")
    if content.get("version") != VERSION:
        raise _damaged(path, f"it is of version {content.get('version')!r}, not {VERSION}")
    return content


def _damaged(path: Path, why: str) -> UsageError:
    return UsageError(
        f"The conversation in {path} can't be read ({why}).",
        "It is left as it is: restore it from a backup, or begin a new one.",
    )
