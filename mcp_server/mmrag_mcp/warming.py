"""The library of a running server: opened when first needed, warmed once, in the background.

Imports and models take seconds, and an assistant that waits for them at start gives up. So nothing
heavy happens until the tools have been listed; a search that comes earlier waits for the same work.
"""

from __future__ import annotations

import logging
import shlex
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mmrag_plugin import logs, tracing
from mmrag_plugin.errors import MmragError, NotFound

if TYPE_CHECKING:
    from mmrag_plugin.library import MediaLibrary

PROGRAM = "mmrag-mcp"
State = Literal["idle", "loading", "ready", "failed"]

_log = logging.getLogger("mmrag.warm")
_importing = threading.Lock()


def import_llama_index() -> None:
    """Import LlamaIndex in one thread while others wait.

    Its modules import each other in circles: two threads that begin at once break it.
    """
    with _importing:
        import llama_index.core  # noqa: F401


def open_library(**flags: object) -> MediaLibrary:
    """Open the library that flags and environment name, without what is hidden from assistants.

    NotFound says how to make it.
    """
    from mmrag_plugin.library import MediaLibrary
    from mmrag_plugin.settings import load_settings

    settings = load_settings(**flags)
    try:
        library = MediaLibrary.open(settings).for_assistants()
        logs.set_up(
            settings.log, settings.log_format, settings.log_path, program=PROGRAM, others=True
        )
        tracing.tell_content(settings.trace_content)
        return library
    except NotFound:
        name = settings.library
        option = "" if name == "default" else f" --library {shlex.quote(name)}"
        raise NotFound(
            f"There is no library {name!r} yet.",
            f"Index a folder first: mmrag index FOLDER{option}",
        ) from None
    except MmragError as error:
        raise without_home(error, settings.home) from error


def without_home(error: MmragError, home: Path) -> MmragError:
    """The same error for other eyes: where libraries lie is nobody's business but the person's."""
    places = {str(home), str(home.resolve())}
    texts = [error.message, error.remedy]
    places = {place for place in places if place.startswith("/") and place != "/"}
    for place in sorted(places, key=len, reverse=True):
        texts = [text.replace(place, "MMRAG_HOME") for text in texts]
    return type(error)(*texts)


class WarmLibrary:
    """One library, shared by all calls; what failed is tried again by the next call."""

    def __init__(self, opening: Callable[[], MediaLibrary]) -> None:
        self._opening = opening
        self._lock = threading.Lock()
        self._open_lock = threading.Lock()
        self._library: MediaLibrary | None = None
        self._warming: Future[MediaLibrary] | None = None
        self.phase = ""

    @property
    def opened(self) -> MediaLibrary | None:
        """The library if it is open; nothing is opened for this."""
        return self._library

    @property
    def state(self) -> State:
        """How far the heavy parts are."""
        warming = self._warming
        if warming is None:
            return "idle"
        if not warming.done():
            return "loading"
        return "ready" if warming.exception() is None else "failed"

    def open(self) -> MediaLibrary:
        """Open the library without its heavy parts. Raises what ``opening`` raises."""
        with self._open_lock:
            if self._library is None:
                self._library = self._opening()
            return self._library

    def warm(self, after_s: float = 0.0) -> Future[MediaLibrary]:
        """Start loading the heavy parts, unless somebody did; the future ends when they are there.

        ``after_s`` lets an answer that is on its way leave first.
        """
        with self._lock:
            if self._warming is None or self.state == "failed":
                self._warming = Future()
                self._warming.set_running_or_notify_cancel()  # a caller's cancel stops nobody else
                threading.Thread(
                    target=self._work, args=(self._warming, after_s), name="mmrag-warm", daemon=True
                ).start()
            return self._warming

    def close(self) -> None:
        """Close the library if it is open."""
        if self._library is not None:
            self._library.close()

    def _work(self, warming: Future[MediaLibrary], after_s: float) -> None:
        try:
            self.phase = "opening the library"
            time.sleep(after_s)
            with tracing.span("warm"):
                library = self.open()
                self.phase = "loading the models and opening Milvus"
                import_llama_index()
                searcher = library.searcher()
                self.phase = "trying a first search"
                searcher.search("red", limit=1)  # what is loaded late is loaded now
        except MmragError as error:
            _log.warning("%s", error)
            warming.set_exception(error)
        except Exception as error:
            _log.exception("The library can't be warmed.")
            warming.set_exception(error)
        else:
            warming.set_result(library)
        finally:
            self.phase = ""
