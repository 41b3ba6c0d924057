"""A library's rows moved from one Milvus to another: copied, compared, and then switched to.

Rows go over in the order of their ids, and the ledger notes how far that came, so a move that was
broken off goes on where it was. Then both sides are compared row by row, with their vectors, and
what differs is copied again. Only when nothing differs does the library's config.toml name the new
place; until then every other process goes on as before, and afterwards the ledger says that the
old one is out of date.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from mmrag_plugin.errors import IndexStopped, ServiceError, UsageError
from mmrag_plugin.library import MediaLibrary
from mmrag_plugin.library_milvus import (
    OF_A_SERVER,
    Moving,
    Places,
    connection_of,
    known_places,
    note_places,
    place_of,
    spoken,
)
from mmrag_plugin.settings import CONFIG_FILE, Settings
from mmrag_plugin.settings_file import write_settings

if TYPE_CHECKING:
    from mmrag_plugin.milvus_connection import MilvusConnection
    from mmrag_plugin.milvus_copy import CollectionCopy

PURPOSE = "moving to another Milvus"
_ROUNDS = 3  # of comparing and mending; nobody else writes meanwhile, so one should do


@dataclass
class Moved:
    """What was done to one collection."""

    collection: str
    copied: int = 0  # rows, by this run; an earlier one may have copied the others
    mended: int = 0  # that were not the same, and were copied again
    removed: int = 0  # that only the copy had
    same: int = 0  # that are the same on both sides, as it was found at last


@dataclass
class Report:
    """What a move did; the JSON of ``mmrag migrate``."""

    origin: str
    target: str
    collections: list[Moved] = field(default_factory=list)
    switched: bool = False
    old: str = "kept"
    words_to_make: bool = False
    warnings: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The shape that ``--json`` prints."""
        found = asdict(self)
        return {"from": found.pop("origin"), "to": found.pop("target")} | found


class Watcher(Protocol):
    """Who is told how far a move is."""

    def begin(self, step: str, total: int) -> None:
        """Say that a step begins, of so many rows."""

    def advance(self, step: str, count: int) -> None:
        """Say that so many rows more are done."""

    def note(self, text: str) -> None:
        """Say that a server is waited for; empty once it is back."""


class _Nobody:
    def begin(self, step: str, total: int) -> None: ...

    def advance(self, step: str, count: int) -> None: ...

    def note(self, text: str) -> None: ...


class Migration:
    """One move of a library's rows to the Milvus of ``target``; its settings are the others'.

    ``without_words`` agrees to a server that can't be searched by words.
    """

    def __init__(
        self,
        library: MediaLibrary,
        target: Settings,
        *,
        without_words: bool = False,
        keep_token: bool = False,
        watcher: Watcher | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        self._library, self._ledger = library, library.ledger
        self._target_settings = target
        self._without_words, self._keep_token = without_words, keep_token
        self._watcher: Watcher = watcher or _Nobody()
        self._stop = stop or threading.Event()
        self._here, self._there = place_of(library.settings), place_of(target)
        self._report = Report(spoken(self._here), spoken(self._there))

    @property
    def was_left(self) -> bool:
        """Whether the target is a place that the library has left."""
        return self._there in known_places(self._ledger).left

    def move(self, *, remove_old: bool = False) -> Report:
        """Copy, compare, switch. Raises UsageError before anything is written where it can't be.

        MilvusUnavailable, IndexStopped (by ``stop``) and whatever kills the process leave a move
        that the next call goes on with.
        """
        with self._ledger.writer(PURPOSE):
            places = self._settled()
            if self._here == self._there:
                raise UsageError(
                    f"The vectors of library {self._library.settings.library!r} are in "
                    f"{spoken(self._there)} already.",
                    "mmrag status says where they are.",
                )
            if self._here in places.left:
                raise UsageError(
                    f"The settings name {spoken(self._here)}, which the library has left.",
                    "Name where its vectors are now by MMRAG_MILVUS_URI or in "
                    f"{CONFIG_FILE}; or add --no-copy if they are lost.",
                )
            with closing(self._reached(self._library.settings)) as origin:
                with closing(self._reached(self._target_settings)) as target:
                    self._carry(origin, target, places)
                self._switch(places)
                if remove_old:
                    self._remove(origin, self._here)
        return self._report

    def switch_alone(self) -> Report:
        """Name the new place without a copy: what stands there, or nothing, is what there is."""
        with self._ledger.writer(PURPOSE):
            self._switch(self._settled())
        return self._report

    def remove_old(self) -> Report:
        """Drop the library's collections at the target, which it has left."""
        with self._ledger.writer("removing what it left behind"):
            if self._there not in self._settled().left:
                raise UsageError(
                    f"The library has left nothing in {spoken(self._there)}.",
                    "Name a place that it was moved away from.",
                )
            with closing(connection_of(self._target_settings)) as there:
                self._remove(there, self._there)
        return self._report

    def _reached(self, settings: Settings) -> MilvusConnection:
        """A connection that waits for a server that goes away; it must be there at first."""
        with closing(connection_of(settings)) as first:
            first.capabilities()
        return connection_of(settings).patiently(self._watcher.note)

    # ---- steps ---------------------------------------------------------------------------------

    def _settled(self) -> Places:
        """What the ledger knows, with the end of a move that was killed after its switch."""
        places = known_places(self._ledger)
        if places.moving is not None and places.moving.target == self._here:
            self._arrived(places, places.moving.origin, self._here)
        return places

    def _carry(self, origin: MilvusConnection, target: MilvusConnection, places: Places) -> None:
        from mmrag_plugin.milvus_copy import CollectionCopy, holds_rows

        ours = self._library.models.is_ours  # those that a change of models builds beside, too
        names = sorted(name for name in origin.call("list_collections") if ours(name))
        moving = places.moving
        if moving is None or (moving.origin, moving.target) != (self._here, self._there):
            if self._there not in places.left:
                for name in names:
                    if holds_rows(target, name):
                        raise _not_ours(self._there, name)
            if moving is not None:  # of which nothing comes: what it copied is of no use
                places.left = sorted({*places.left, moving.target} - {self._there})
            moving = Moving(self._here, self._there)
        self._require_words(origin, target, names)
        places.moving = moving
        note_places(self._ledger, places)
        copies = [
            CollectionCopy(origin, target, name, of_words=_is_of_words(name)) for name in names
        ]
        for copy in copies:
            self._report.collections.append(Moved(copy.name))
            self._copy(copy, self._report.collections[-1], places, moving)
        for copy, moved in zip(copies, self._report.collections, strict=True):
            self._compare(copy, moved)
            copy.flush()
        self._report.words_to_make = any(copy.owes_words for copy in copies)

    def _require_words(
        self, origin: MilvusConnection, target: MilvusConnection, names: list[str]
    ) -> None:
        from mmrag_plugin.milvus_collection import shape_of

        if target.capabilities().words:
            return
        lost = [name for name in names if shape_of(origin, name)[1]]
        if lost and not self._without_words:
            raise UsageError(
                f"{spoken(self._there)} ({target.capabilities().version}) can't be searched by "
                "words (BM25), so that the library would lose that.",
                "Take a server of 2.4 or newer, or add --without-words.",
            )
        if lost:
            self._report.warnings.append(
                f"The rows of {', '.join(lost)} were taken without what words are searched by, "
                "which this server has not."
            )

    def _copy(self, copy: CollectionCopy, moved: Moved, places: Places, moving: Moving) -> None:
        step = f"copying {_what(copy.name)}"
        after = moving.copied.get(copy.name, "")
        self._watcher.begin(step, copy.count(after))
        for last, count in copy.copy(after):
            moving.copied[copy.name] = last
            note_places(self._ledger, places)
            moved.copied += count
            self._watcher.advance(step, count)
            self._may_go_on()

    def _compare(self, copy: CollectionCopy, moved: Moved) -> None:
        step = f"comparing {_what(copy.name)}"
        for _ in range(_ROUNDS):
            self._watcher.begin(step, copy.count())
            moved.same, differ = 0, False
            for found in copy.differences():
                moved.same += found.seen - len(found.wanting)
                if found.wanting or found.surplus:
                    differ = True
                    copy.mend(found)
                    moved.mended += len(found.wanting)
                    moved.removed += len(found.surplus)
                self._watcher.advance(step, found.seen)
                self._may_go_on()
            if not differ:
                return
        raise ServiceError(
            f"{spoken(self._there)} does not give back the rows of {copy.name} as they were "
            "written.",
            "The library stays where it is. See the server's log.",
        )

    def _may_go_on(self) -> None:
        if self._stop.is_set():
            raise IndexStopped(
                "The move was stopped.", "Nothing is lost: run the same command again to go on."
            )

    def _switch(self, places: Places) -> None:
        settings, target = self._library.settings, self._target_settings
        if self._report.words_to_make:  # before: whatever happens now, they will be made
            self._ledger.begin_words(list(self._ledger.media_rows()))
        changes: dict[str, str | None] = {"milvus_uri": target.milvus_uri or None}
        if target.milvus_uri:  # what is about another server is not for this one to know
            changes |= {name: getattr(target, name) or None for name in OF_A_SERVER}
            if not self._keep_token:
                changes["milvus_token"] = None
        gone = write_settings(settings.directory / CONFIG_FILE, changes)
        self._arrived(places, self._here, self._there)
        self._report.switched = True
        self._report.warnings += self._advice(gone)

    def _advice(self, gone: set[str]) -> Iterator[str]:
        """What a person has to know for the next command to find the new place."""
        target = self._target_settings
        for name in sorted(gone.intersection(OF_A_SERVER)):
            yield f"{name} was taken out of {CONFIG_FILE}: it was for another server."
        names = ("milvus_uri", *(OF_A_SERVER if target.milvus_uri else ()))
        for name in names:
            variable, wanted = f"MMRAG_{name.upper()}", getattr(target, name)
            known = os.environ.get(variable, "")
            if known and known != wanted:
                yield (
                    f"{variable} in the environment says something else, and wins over "
                    f"{CONFIG_FILE}: take it out or change it."
                )
        token_is_known = self._keep_token or os.environ.get("MMRAG_MILVUS_TOKEN")
        if target.milvus_uri and target.milvus_token and not token_is_known:
            yield "The token is not kept: set MMRAG_MILVUS_TOKEN for the commands to come."

    def _arrived(self, places: Places, origin: str, target: str) -> None:
        places.left = sorted({*places.left, origin} - {target})
        places.moving = None
        note_places(self._ledger, places)

    def _remove(self, connection: MilvusConnection, place: str) -> None:
        for name in connection.call("list_collections"):
            if self._library.models.is_ours(name):
                connection.call("drop_collection", name)
        self._report.old = "removed"


def _is_of_words(collection: str) -> bool:
    return collection.startswith("signals_")


def _what(collection: str) -> str:
    return "texts" if _is_of_words(collection) else "frames"


def _not_ours(place: str, name: str) -> UsageError:
    return UsageError(
        f"{spoken(place)} holds rows in {name} that were not brought there from here: another copy "
        "of this library may be at work there.",
        "Name another server or database; or drop that collection if nobody needs it.",
    )
