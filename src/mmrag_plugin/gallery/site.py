"""The gallery's site on this machine: the page, and what it asks for."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import anyio.to_thread
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from mmrag_plugin.errors import MediaError, MmragError, NotFound, ServiceError, UsageError
from mmrag_plugin.filters import Filters
from mmrag_plugin.gallery import contents
from mmrag_plugin.gallery.document import document
from mmrag_plugin.gallery.gate import HEADERS, MAX_BODY_BYTES
from mmrag_plugin.gallery.talks import Talks
from mmrag_plugin.pictures import require_file

if TYPE_CHECKING:
    from mmrag_plugin.library import MediaLibrary

_T = TypeVar("_T")

THREADS = 6  # requests that work at once; the page asks for many pictures together
CLIPS_AT_ONCE = 2  # as many as are made at once; others wait
MAX_QUERY_CHARS = 2_000
MAX_CLIP_BYTES = 4_000_000
# Containers that browsers may play as they are, with the type to call them by.
_PLAYED = {".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/mp4", ".webm": "video/webm"}

_log = logging.getLogger("mmrag.gallery")


class TooMuch(UsageError):
    """A body beyond the limit."""


_STATUS: tuple[tuple[type[MmragError], int], ...] = (
    (TooMuch, 413),
    (NotFound, 404),
    (UsageError, 400),
    (MediaError, 422),
    (ServiceError, 503),
)


class Site:
    """The page's questions to one open library."""

    def __init__(self, library: MediaLibrary) -> None:
        self._library = library
        self._talks = Talks(library)
        self._searching = anyio.CapacityLimiter(THREADS)
        self._showing = anyio.CapacityLimiter(THREADS)  # pictures hold up no search
        self._clipping = anyio.CapacityLimiter(CLIPS_AT_ONCE)  # and clips hold up no pictures
        self._importing = threading.Lock()
        self.ended = False

    def warm(self) -> None:
        """Load models and Milvus, while the person looks at the newest media."""
        try:
            self._import()
            self._library.searcher()
        except MmragError as error:  # the first search says it, too
            _log.warning("%s", error)
        except Exception:
            if not self.ended:  # an import that the end of the program breaks is no news
                _log.exception("The library can't be warmed.")

    def _import(self) -> None:
        """Import LlamaIndex in one thread: its modules are in a circle, and two would break it."""
        with self._importing:
            import llama_index.core  # noqa: F401

    def app(self) -> Starlette:
        """The ASGI application; `gate.Gate` belongs before it."""
        get = partial(Route, methods=["GET"])
        return Starlette(
            routes=[
                get("/", self.page),
                get("/api/library", self.overview),
                get("/api/search", self.search),
                get("/api/facets", self.facets),
                get("/api/media/{media_id}", self.media),
                get("/api/media/{media_id}/similar", self.similar),
                get("/api/media/{media_id}/picture", self.picture),
                get("/api/media/{media_id}/film", self.film),
                get("/api/media/{media_id}/clip", self.clip),
                get("/api/answers", self.answers),
                Route("/api/talks/{talk_id}", self.talk, methods=["POST"]),
            ],
            exception_handlers={MmragError: _told, Exception: _unexpected},
        )

    async def page(self, _: Request) -> Response:
        """The page itself."""
        shown = document()
        headers = {"content-security-policy": shown.policy}
        return Response(shown.html, media_type="text/html", headers=headers)

    # ---- what is there ------------------------------------------------------------------------

    async def overview(self, _: Request) -> Response:
        """What the library holds."""
        return await self._json(lambda: contents.overview(self._library))

    async def search(self, request: Request) -> Response:
        """A page of hits, or of the newest media."""
        asked = request.query_params
        query = asked.get("q", "")
        if len(query) > MAX_QUERY_CHARS:
            raise UsageError(f"A search has at most {MAX_QUERY_CHARS} characters.", "Shorten it.")
        names = ("kind", "since", "until", "folder", "near")  # as the page's choosers are called
        given: dict[str, Any] = {name: asked[name] for name in names if asked.get(name)}
        if given.get("kind", "image") not in ("image", "video"):
            raise UsageError(f"There is no kind {given['kind'][:40]!r}.", "Say image or video.")
        if asked.get("person"):
            given["people"] = (asked["person"],)
        filters = Filters(**given) if given else None
        after = asked.get("after", "")
        return await self._json(
            lambda: contents.search(self._library, query, after=after, filters=filters),
            heavy=bool(query.strip()),
        )

    async def facets(self, _: Request) -> Response:
        """How many media there are by month, place, folder and kind."""
        return await self._json(lambda: contents.facets(self._library))

    async def media(self, request: Request) -> Response:
        """All that is known of one media."""
        media_id = request.path_params["media_id"]
        return await self._json(lambda: contents.media(self._library, media_id))

    async def similar(self, request: Request) -> Response:
        """What looks like a media."""
        media_id, at_s = request.path_params["media_id"], _time(request, "at")
        return await self._json(lambda: contents.similar(self._library, media_id, at_s), heavy=True)

    # ---- pictures and films -------------------------------------------------------------------

    async def picture(self, request: Request) -> Response:
        """A JPEG of a media, of a film at a time."""
        media_id, at_s = request.path_params["media_id"], _time(request, "at")
        side_px = _number(request.query_params.get("px", "320"), int)
        jpeg = await anyio.to_thread.run_sync(
            lambda: self._library.thumbnail(media_id, at_s, long_side_px=side_px),
            limiter=self._showing,
            abandon_on_cancel=True,
        )
        tag = f'"{hashlib.blake2b(jpeg, digest_size=12).hexdigest()}"'
        # kept by the browser, and asked for again: an edit shows at once
        headers = {"etag": tag, "cache-control": "private, no-cache"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(jpeg, media_type="image/jpeg", headers=headers)

    async def film(self, request: Request) -> Response:
        """A film as it is, in parts as the browser asks for them, where browsers may play it."""

        def opened() -> tuple[Path, str]:
            row = contents.row_of(self._library, request.path_params["media_id"])
            path = self._library.file_of(row.media_id)
            kind = _PLAYED.get(path.suffix.lower())
            if row.kind != "video" or kind is None:
                raise UsageError(f"{path.name} is no film that browsers play.", "Take its clip.")
            require_file(path)  # no pipe, no device
            return path, kind

        path, kind = await self._in_thread(opened)
        return FileResponse(
            path, media_type=kind, headers=HEADERS | {"cache-control": "private, no-cache"}
        )

    async def clip(self, request: Request) -> Response:
        """A moment of a film as a small MP4, for films that the browser does not play."""
        media_id = request.path_params["media_id"]
        start_s, end_s = _time(request, "start"), _time(request, "end")
        mp4 = await anyio.to_thread.run_sync(
            lambda: self._library.preview(media_id, start_s, end_s, max_bytes=MAX_CLIP_BYTES),
            limiter=self._clipping,
            abandon_on_cancel=True,
        )
        return Response(mp4, media_type="video/mp4")

    # ---- asking -------------------------------------------------------------------------------

    async def answers(self, _: Request) -> Response:
        """Whether questions can be answered now, and what to do where they can't."""

        def ready() -> dict[str, Any]:
            preflight = getattr(self._library.vlm(), "preflight", None)
            try:
                if preflight is not None:
                    preflight()
            except MmragError as error:
                return {"ready": False, "error": error.as_dict()}
            return {"ready": True}

        return await self._json(ready, heavy=True)

    async def talk(self, request: Request) -> Response:
        """Take a turn of a conversation; the answer comes as JSON lines."""
        asked = await _body(request)
        message, about = asked.get("message"), asked.get("about")
        if not isinstance(message, str):
            raise UsageError("There is no message.", "Send one as text.")
        pointed = None
        if isinstance(about, dict):
            times = [_seconds(about.get(name)) for name in ("start_s", "end_s")]
            media_id = str(about.get("media_id"))
            pointed = await self._in_thread(
                lambda: contents.chosen_hit(self._library, media_id, *times)
            )
        await self._in_thread(self._import)
        lines = self._talks.answer(request.path_params["talk_id"][:64], message, pointed)
        return StreamingResponse(lines, media_type="application/x-ndjson")

    async def _json(self, work: Callable[[], dict[str, Any]], *, heavy: bool = False) -> Response:
        """Answer with what some work gives; ``heavy`` work needs LlamaIndex, the others none."""

        def done() -> dict[str, Any]:
            if heavy:
                self._import()
            return work()

        return JSONResponse(await self._in_thread(done))

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        return await anyio.to_thread.run_sync(work, limiter=self._searching, abandon_on_cancel=True)


async def _body(request: Request) -> dict[str, Any]:
    """The JSON object that was sent. Raises UsageError for anything else, and for too much."""
    body = bytearray()
    try:
        async for part in request.stream():
            body += part
            if len(body) > MAX_BODY_BYTES:
                raise TooMuch("That is too much to send.", "Say it in fewer words.")
        asked = json.loads(body)
    except (ValueError, RecursionError, ClientDisconnect):
        raise UsageError("What was sent is no JSON.", "Reload the page.") from None
    if not isinstance(asked, dict):
        raise UsageError("What was sent is no JSON object.", "Reload the page.")
    return asked


def _time(request: Request, name: str) -> float | None:
    text = request.query_params.get(name)
    return _number(text, float) if text else None


def _seconds(value: object) -> float | None:
    return _number(str(value), float) if isinstance(value, (int, float)) else None


def _number(text: str, kind: type[Any]) -> Any:
    try:
        if len(text) > 20:
            raise ValueError(text)
        number = kind(text)
        if not math.isfinite(number):
            raise ValueError(text)
    except ValueError:
        raise UsageError(f"{text[:20]!r} is no number.", "Reload the page.") from None
    return number


async def _told(_: Request, error: Exception) -> Response:
    assert isinstance(error, MmragError)
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    return JSONResponse({"error": error.as_dict()}, status)


async def _unexpected(request: Request, error: Exception) -> Response:
    _log.error("%s broke.", request.url.path, exc_info=error)
    told = {
        "kind": "error",
        "message": "Something unexpected happened.",
        "remedy": "The terminal in which mmrag browse runs says more.",
    }
    return JSONResponse({"error": told}, 500)
