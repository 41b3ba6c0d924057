"""The names that a library knows, looked up in its ledger when a question may hold one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from mmrag_plugin.planning.base import in_a_camera
from mmrag_plugin.terms import names_in, telling_terms

if TYPE_CHECKING:
    from mmrag_plugin.ledger import Ledger

_ITEMS = re.compile(r"[,;|/\n]")
_SENTENCE_BEGINS = re.compile(r"(?:^|[.!?:]\s+)\W*$")
_MOST_CHARS = 80


class LedgerNames:
    """Names out of a library's ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._known: dict[str, bool] = {}

    @cached_property
    def reads_text(self) -> bool:
        """Whether text was read in any picture."""
        return bool(self._ledger.media_ids_with_text())

    @cached_property
    def _cameras(self) -> tuple[str, ...]:
        return self._ledger.cameras_like("")

    @cached_property
    def _folders(self) -> list[str]:
        return self._ledger.folder_names()

    def is_name(self, words: str, *, folders: bool = True) -> bool:
        """Whether this is a proper name in what media are called, or a folder's name.

        A word that is written small somewhere ("a dog on the beach") is none.
        """
        if words not in self._known:
            self._known[words] = self._is_proper(words)
        return self._known[words] or (folders and self.folder(words) is not None)

    def _is_proper(self, words: str) -> bool:
        if not telling_terms(words) or len(words) > _MOST_CHARS:
            return False
        texts = [text for _, text in self._ledger.texts_naming(words)]
        small = any(_written(words, text)[:1].islower() for text in texts)
        return not small and any(_is_proper(words, text) for text in texts)

    def camera(self, words: str) -> str | None:
        """The words, if they are part of a camera's name."""
        return words if in_a_camera(words, self._cameras) else None

    def folder(self, words: str) -> str | None:
        """The folder of this name, as it is written."""
        wanted = words.strip("/").casefold()
        return next((name for name in self._folders if name.casefold() == wanted), None)

    def only_folder(self, words: str) -> str | None:
        """The folder of this name, if nothing outside it is marked with the name."""
        folder = self.folder(words)
        if folder is None:
            return None
        inside = self._ledger.media_ids_in_folders_called(folder)
        return folder if self._ledger.media_ids_named(words) <= inside else None

    def all(self) -> Sequence[str]:
        """Folders, cameras, and what media are marked with."""
        marks = (item.strip() for text in self._ledger.names() for item in _ITEMS.split(text))
        short = (mark for mark in marks if mark and len(mark.split()) <= 3)
        return list(dict.fromkeys([*self._folders, *self._cameras, *short]))


def _written(words: str, text: str) -> str:
    """Words as a text has them."""
    match = re.search(rf"(?<!\w){re.escape(words)}", text, re.IGNORECASE)
    return match[0] if match else ""


def _is_proper(words: str, text: str) -> bool:
    """Whether a text has words as a proper name: an item of a list, or capitals in a sentence."""
    items = [item.strip() for item in _ITEMS.split(text)]
    if len(items) > 1 or len(text.split()) <= 3:
        named = [item for item in items if names_in(words, item)]
        if any(
            len(item.split()) <= len(words.split()) + 1 and not item.islower() for item in named
        ):
            return True
    for match in re.finditer(re.escape(words), text, re.IGNORECASE):
        begins = _SENTENCE_BEGINS.search(text[: match.start()])
        if not begins and match[0][:1].isupper():
            return True
    return False
