"""make_media: clips, supercuts, GIFs, sheets and slideshows, as files in one folder."""

from __future__ import annotations

import mimetypes
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import anyio
from mcp_types import CallToolResult, ResourceLink
from pydantic import BeforeValidator, Field

from mmrag_mcp.arguments import MediaId, Time
from mmrag_mcp.calls import Ctx
from mmrag_mcp.results import Result, file_name
from mmrag_mcp.tools.base import MediaTool, answer, moment_of, row_of
from mmrag_plugin.errors import NotFound, StorageError, UsageError
from mmrag_plugin.settings import MADE_FOLDER
from mmrag_plugin.timecode import format_time
from mmrag_plugin.untrusted import escape_media_text, fenced

if TYPE_CHECKING:
    from mmrag_plugin.library import MediaLibrary
    from mmrag_plugin.library_making import Ingredients, Target, What
    from mmrag_plugin.makers.base import Made

MOST_BYTES = 20 * 2**30  # of files in the folder: an assistant may go on for ever
_AT_ONCE = 2  # each takes all processors that it gets
_SHOWN = 10  # pieces and problems

_What = Literal["clip", "supercut", "gif", "sheet", "slideshow", "picture"]
_Query = Annotated[
    Annotated[str, Field(max_length=2_000)] | None,
    BeforeValidator(lambda value: value or None),
    Field(description="What to look for, as of search_media. Or give media_ids."),
]
_MediaIds = Annotated[
    Annotated[list[MediaId], Field(max_length=100)] | None,
    BeforeValidator(lambda value: [value] if isinstance(value, str) and value else value or None),
    Field(description="Instead of query: the media, in order."),
]


class MadePiece(Result):
    """A part that went into it; times are there for videos only."""

    media_id: str
    start_s: float | None = None
    end_s: float | None = None


class LeftOut(Result):
    """A media that could not be read, and why."""

    path: str = Field(description="Untrusted text.")
    reason: str = Field(description="Quotes untrusted text.")


class MakeMediaResult(Result):
    """A new file."""

    what: str
    path: str = Field(description="Where the new file lies.")
    size_bytes: int
    width_px: int
    height_px: int
    duration_s: float | None = None
    pieces: list[MadePiece]
    left_out: list[LeftOut] = Field(default_factory=list)
    warnings: list[str] = Field(default_factory=list)
    notice: str = ""


class MakeMedia(MediaTool):
    """The tool that writes new files."""

    name = "make_media"
    title = "Make a clip, album or film of media"
    writes = True
    repeats_safely = False  # each call writes one more file

    _one_of_a_few: anyio.Semaphore | None = None

    async def run(
        self,
        ctx: Ctx,
        what: Annotated[
            _What,
            Field(
                description="clip: a part of one video. supercut: moments of videos, joined. gif: "
                "a short clip without sound. sheet: small pictures side by side. slideshow: a film "
                "of photos. picture: a new one by a model on this machine, of what query says, "
                "like media_ids."
            ),
        ],
        query: _Query = None,
        media_ids: _MediaIds = None,
        start: Annotated[
            Time, Field(description="Of a single video: where to begin, like 0:05 or 5.2.")
        ] = None,
        end: Annotated[
            Time, Field(description="Of a single video: where to stop, like 0:09 or 9.4.")
        ] = None,
        limit: Annotated[
            int | None, Field(ge=1, le=100, description="Of how many moments or pictures at most.")
        ] = None,
        seconds_each: Annotated[
            float | None,
            Field(ge=0.5, le=60, description="How long each is shown in a supercut or slideshow."),
        ] = None,
    ) -> Annotated[CallToolResult, MakeMediaResult]:
        """Make a new file of the person's media: a clip, supercut, GIF, sheet or slideshow.

        Search first, and name the media_ids that fit: a query takes whatever it finds. The file is
        written into one folder on this machine and replaces nothing; tell the person its path.
        Takes seconds to minutes.
        """
        call = self.call(ctx, "looking for the media")
        stop = threading.Event()

        async def work() -> Made:
            library = await call.library()
            ids = media_ids or []
            folder = await call.in_thread(lambda: _folder(library, self.rights.output_folder))

            def tell(done: float) -> None:
                call.doing = f"making the {what}, {done:.0%} done"

            call.doing = "waiting for others that make something"
            async with self._turn():
                if what == "picture":
                    return await call.in_thread(
                        lambda: library.imagine(
                            query or "",
                            like=_targets(library, what, ids, start, end),
                            folder=folder,
                            tell=tell,
                            stopped=stop.is_set,
                        )
                    )
                found = await call.in_thread(
                    lambda: _found(library, what, query, ids, start, end, limit)
                )
                return await call.in_thread(
                    lambda: library.make_of(
                        found, folder=folder, each_s=seconds_each, tell=tell, stopped=stop.is_set
                    )
                )

        try:
            made = await call.run(work())
        finally:
            stop.set()  # of a call that was cancelled, the thread goes on until it hears of it
        return answer(_result(made), make_text, links=[_link(made)])

    def _turn(self) -> anyio.Semaphore:
        if self._one_of_a_few is None:
            self._one_of_a_few = anyio.Semaphore(_AT_ONCE)
        return self._one_of_a_few


def make_text(result: MakeMediaResult) -> str:
    """What was made, in a few lines."""
    said = [f"{result.width_px} x {result.height_px} px", f"{result.size_bytes / 1e6:.1f} MB"]
    if result.duration_s is not None:
        said.insert(0, f"{result.duration_s:.1f} s")
    lines = [f"Made a {result.what}: {fenced(result.path)}", ", ".join(said)]
    shown = [
        piece.media_id + ("" if piece.start_s is None else f" {_span(piece)}")
        for piece in result.pieces
    ]
    lines.append(f"Of {len(result.pieces)}: {', '.join(dict.fromkeys(shown[:_SHOWN]))}")
    if result.left_out:
        lines.append(f"{len(result.left_out)} could not be read:")
        lines += [fenced(bad.reason) for bad in result.left_out[:_SHOWN]]
    lines += [f"Note: {fenced(warning)}" for warning in result.warnings]
    return "\n".join(lines)


def _span(piece: MadePiece) -> str:
    begins = format_time(piece.start_s or 0.0)
    return begins if piece.end_s is None else f"{begins}-{format_time(piece.end_s)}"


def _found(
    library: MediaLibrary,
    what: What,
    query: str | None,
    media_ids: list[str],
    start: str | None,
    end: str | None,
    limit: int | None,
) -> Ingredients:
    if bool(query) == bool(media_ids):
        raise UsageError("Give either query or media_ids.", "media_ids come from search_media.")
    if not query:
        targets = _targets(library, what, media_ids, start, end)
        return library.ingredients(what, targets=targets, limit=limit)
    if start or end:
        raise UsageError("start and end belong to one media_id.", "Name it in media_ids.")
    try:
        return library.ingredients(what, query, limit=limit)
    except NotFound as error:
        raise NotFound(
            error.message, "Look with search_media what there is, and give its media_ids."
        ) from None


def _targets(
    library: MediaLibrary, what: str, media_ids: list[str], start: str | None, end: str | None
) -> list[Target]:
    """The media that are named: by ids only, never by paths."""
    from mmrag_plugin.library_making import Target

    rows = [row_of(library, media_id) for media_id in media_ids]
    if len(rows) > 1 and (start or end or what in ("clip", "gif")):
        raise UsageError(
            f"A {what} with these arguments is of one media.", "Give a single id in media_ids."
        )
    moments = [moment_of(row, start, end) for row in rows]
    return [Target(moment.media_id, moment.start_s, moment.end_s) for moment in moments]


def _folder(library: MediaLibrary, named: Path | None) -> Path:
    """Where the file goes: into the library's folder where the person named no other.

    It is made where it is not there. Raises StorageError where it is full.
    """
    folder = named or library.directory / MADE_FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        used = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    except OSError as error:
        raise StorageError(
            f"The folder for made files can't be used: {error.strerror}.",
            "Start mmrag-mcp with another --output-folder.",
        ) from None
    if used > MOST_BYTES:
        raise StorageError(
            f"The folder for made files holds {used / 2**30:.0f} GiB.",
            "The person should remove what is not needed any more.",
        )
    return folder


def _result(made: Made) -> MakeMediaResult:
    return MakeMediaResult(
        what=made.what,
        path=escape_media_text(str(made.path), 4_096),
        size_bytes=made.size_bytes,
        width_px=made.width_px,
        height_px=made.height_px,
        duration_s=None if made.duration_s is None else round(made.duration_s, 3),
        pieces=[
            MadePiece(media_id=piece.media_id, start_s=piece.start_s, end_s=piece.end_s)
            for piece in made.pieces
        ],
        left_out=[
            LeftOut(
                path=escape_media_text(problem.path, 300),
                reason=escape_media_text(f"{problem.reason} {problem.remedy}".strip(), 500),
            )
            for problem in made.failed
        ],
        warnings=[escape_media_text(warning, 500) for warning in made.warnings],
    )


def _link(made: Made) -> ResourceLink:
    return ResourceLink(
        uri=made.path.as_uri(),
        name=file_name(str(made.path)),
        mime_type=mimetypes.guess_type(made.path.name)[0],
        size=made.size_bytes,
    )
