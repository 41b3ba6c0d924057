"""New media out of a library's: what goes in, and what comes out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from mmrag_plugin.errors import NotFound, UsageError
from mmrag_plugin.filters import Filters
from mmrag_plugin.library_previews import LibraryPreviews, span_within
from mmrag_plugin.media import Confidence, Hit, Kind, Signal, kind_of
from mmrag_plugin.timecode import format_span, format_time
from mmrag_plugin.walking import expand, is_there

if TYPE_CHECKING:
    from mmrag_plugin.ledger import MediaRow
    from mmrag_plugin.makers.base import Made, Maker, Piece, Problem
    from mmrag_plugin.readers.base import MediaReader
    from mmrag_plugin.results import SearchResult
    from mmrag_plugin.settings import Settings

What = Literal["clip", "supercut", "gif", "sheet", "slideshow"]
WHATS: tuple[What, ...] = get_args(What)
LIMITS: dict[What, int] = {"clip": 1, "supercut": 10, "gif": 1, "sheet": 24, "slideshow": 20}
MOST = 200  # pieces of one thing
_OF_ONE = ("clip", "gif")
_OF_FILMS = ("clip", "supercut", "gif")
_EACH_S = 10.0  # of a piece of a supercut, where nothing else was said
_FILM_TILES = 12
_CAPTION_CHARS = 140


class Target(NamedTuple):
    """A media by its id or path, and the part of it that is meant."""

    name: str
    start_s: float | None = None
    end_s: float | None = None


@dataclass(frozen=True)
class Ingredients:
    """What something will be made of; ``hits`` are there where it was searched for.

    ``failed`` are media that it was to be made of, too, and that are not there.
    """

    what: What
    pieces: tuple[Piece, ...]
    words: str  # what it is called after
    hits: tuple[Hit, ...] = ()
    warnings: tuple[str, ...] = ()
    failed: tuple[Problem, ...] = ()


class LibraryMaking(LibraryPreviews):
    """The part of a library that makes new media."""

    settings: Settings

    @property
    def readers(self) -> dict[Kind, MediaReader]:
        """The readers by kind of media; the library has them."""
        raise NotImplementedError

    def search_question(self, question: str, **options: Any) -> SearchResult:
        """Plan a question and find what it asks for; the library knows how."""
        raise NotImplementedError

    def make(
        self,
        what: What,
        query: str = "",
        *,
        targets: Sequence[Target] = (),
        limit: int | None = None,
        filters: Filters | None = None,
        min_confidence: Confidence = "weak",
        output: Path | None = None,
        folder: Path | None = None,
        force: bool = False,
        tell: Callable[[float], None] | None = None,
        stopped: Callable[[], bool] | None = None,
        **options: Any,
    ) -> Made:
        """Make a clip, supercut, GIF, contact sheet or slideshow of what is found or named.

        It is written to ``output``, or under a name of its own into ``folder`` (the current one),
        and never over another file without ``force``. Options: ``title``, ``captions``, ``each_s``
        (seconds of a piece), ``fade_s``, ``long_side_px``, ``encode`` (never copy), and
        ``with_location`` (keep date and place in a clip). ``tell`` hears how much is done, from 0
        to 1; ``stopped`` is asked often and stops it. Raises NotFound where nothing is found.
        """
        found = self.ingredients(
            what,
            query,
            targets=targets,
            limit=limit,
            filters=filters,
            min_confidence=min_confidence,
        )
        return self.make_of(
            found,
            output=output,
            folder=folder,
            force=force,
            tell=tell,
            stopped=stopped,
            **options,
        )

    async def amake(self, what: What, query: str = "", **options: Any) -> Made:
        """Make something without holding up the event loop; one that is cancelled is stopped."""
        cancelled = False
        asked: Callable[[], bool] = options.pop("stopped", None) or (lambda: False)
        work = partial(self.make, what, query, stopped=lambda: cancelled or asked(), **options)
        try:
            return await asyncio.to_thread(work)
        except asyncio.CancelledError:
            cancelled = True
            raise

    def ingredients(
        self,
        what: What,
        query: str = "",
        *,
        targets: Sequence[Target] = (),
        limit: int | None = None,
        filters: Filters | None = None,
        min_confidence: Confidence = "weak",
    ) -> Ingredients:
        """Find what something will be made of, without making it.

        Raises UsageError where neither words nor targets are given, or both; NotFound.
        """
        from mmrag_plugin.making import joined, names_of

        if bool(query.strip()) == bool(targets):
            raise UsageError("Nothing to make anything of.", "Give either words or media.")
        if targets:
            named = [(target.name, partial(self._named, what, target, limit)) for target in targets]
            pieces, failed = _there(named)
            return Ingredients(what, tuple(pieces[:MOST]), names_of(pieces), failed=failed)
        if what in _OF_FILMS:
            filters = replace(filters or Filters(), kind="video")
        result = self.search_question(
            query,
            limit=min(limit or LIMITS[what], MOST),
            filters=filters,
            min_confidence=min_confidence,
        )
        if not result.hits:
            raise NotFound(
                f"Nothing was found for {query!r} that a {what} could be made of.",
                "Ask in other words; --min-confidence none takes what matches less surely, too."
                if min_confidence != "none"
                else "Ask in other words.",
            )
        rows = self.ledger.media_rows([hit.moment.media_id for hit in result.hits])
        wanted = [
            (rows[hit.moment.media_id], hit) for hit in result.hits if hit.moment.media_id in rows
        ]
        pieces, failed = _there(
            [(row.path, partial(self._found, what, row, hit)) for row, hit in wanted]
        )
        if what in _OF_FILMS:
            pieces = joined(pieces)
        most = 1 if what in _OF_ONE else min(limit or MOST, MOST)  # whatever number the words name
        hits, warnings = tuple(result.hits), tuple(result.warnings)
        return Ingredients(what, tuple(pieces[:most]), query, hits, warnings, failed)

    def make_of(
        self,
        found: Ingredients,
        *,
        output: Path | None = None,
        folder: Path | None = None,
        force: bool = False,
        title: str | None = None,
        with_location: bool = False,
        each_s: float | None = None,
        tell: Callable[[float], None] | None = None,
        stopped: Callable[[], bool] | None = None,
        **options: Any,
    ) -> Made:
        """Make something of what was found; options as of ``make``."""
        from mmrag_plugin.makers.base import Wish
        from mmrag_plugin.makers.workshop import run
        from mmrag_plugin.making import Place, file_name, make

        what = found.what
        if each_s is None and what == "supercut":
            each_s = _EACH_S
        if title is None:
            title = found.words if found.hits or what == "sheet" else ""
        pieces = found.pieces
        if not with_location:
            pieces = tuple(replace(piece, taken_at=None, location=None) for piece in pieces)
        place = Place(
            (folder or Path.cwd()).absolute(),
            None if output is None else expand(output).absolute(),
            force,
        )
        wish = Wish(
            tuple(replace(piece, path=piece.path.absolute()) for piece in pieces),
            place.folder,
            title=title,
            with_location=with_location,
            each_s=each_s,
            **options,
        )
        made = make(
            _maker(what),
            wish,
            place,
            file_name(found.words, what),
            partial(run, tell=tell, stopped=stopped),
        )
        warnings = (*found.warnings, *made.warnings)
        failed = (*found.failed, *made.failed)
        return replace(made, failed=failed, warnings=tuple(dict.fromkeys(warnings)))

    def _named(
        self, what: What | Literal["picture"], target: Target, count: int | None
    ) -> list[Piece]:
        """The pieces of a media, or of a file, that the person names."""
        from mmrag_plugin.makers.base import Piece
        from mmrag_plugin.making import spread

        row = self.find(target.name)
        if row is None:
            path = expand(target.name)
            kind = kind_of(path)
            if not is_there(path) or kind is None:
                raise NotFound(
                    f"Nothing in library {self.settings.library!r} is known as {target.name}.",
                    "Name a media id or a file.",
                )
            piece, length_s = Piece(path, kind, "", target.start_s, target.end_s), None
        else:
            start_s, end_s = target.start_s, target.end_s
            if row.kind == "video" and (start_s, end_s) != (None, None):
                start_s, end_s = span_within(row, start_s, end_s)
            elif row.kind == "image" and what in _OF_FILMS:
                start_s = start_s or 0.0  # of a photo that moves, the moving part
            piece = self._piece(row, start_s, end_s, self._caption(what, row, start_s, end_s))
            length_s = row.duration_s
        if what != "sheet" or piece.kind != "video":
            return [piece]
        if length_s is None:
            length_s = self.readers["video"].facts(piece.path).duration_s or 0.0
        tiles = spread(piece, min(count or _FILM_TILES, MOST), length_s)
        return [replace(tile, caption=format_time(tile.start_s or 0.0)) for tile in tiles]

    def _found(self, what: What, row: MediaRow, hit: Hit) -> list[Piece]:
        """The piece of a media that was found."""
        start_s, end_s = hit.moment.start_s, hit.moment.end_s
        caption = self._caption(what, row, start_s, end_s)
        if what == "sheet" and start_s is not None and hit.at_s is not None:
            start_s, end_s = hit.at_s, None
        return [self._piece(row, start_s, end_s, caption)]

    def _piece(
        self, row: MediaRow, start_s: float | None, end_s: float | None, caption: str
    ) -> Piece:
        from mmrag_plugin.makers.base import Piece

        path = self._path_there(row)
        known = row.latitude is not None and row.longitude is not None
        location = (row.latitude, row.longitude) if known else None
        return Piece(
            path,
            row.kind,
            row.media_id,
            start_s,
            end_s,
            caption,
            row.taken_at,
            location,  # type: ignore[arg-type]
        )

    def _caption(self, what: str, row: MediaRow, start_s: float | None, end_s: float | None) -> str:
        """What is written under a piece: on a sheet its name and time, else what is said of it."""
        if what == "sheet":
            when = format_span(start_s, end_s) or (row.taken_at or "")[:10]
            return f"{Path(row.path).stem} {when}".strip()
        if what != "slideshow":
            return ""
        known = self.ledger.signals_of([row.media_id]).get(row.media_id, [])
        said = _said([signal for _, signal in known], start_s, end_s)
        return " · ".join(filter(None, [said, (row.taken_at or "")[:10]]))


def _there(
    wanted: Sequence[tuple[str, Callable[[], list[Piece]]]],
) -> tuple[list[Piece], tuple[Problem, ...]]:
    """The pieces that are there, and what is wrong with the others by what they are called.

    Raises NotFound where none is there.
    """
    from mmrag_plugin.makers.base import Problem

    pieces: list[Piece] = []
    failed: dict[str, NotFound] = {}
    for name, find in wanted:
        try:
            pieces += find()
        except NotFound as error:
            failed[name] = error
    if failed and not pieces:
        raise next(iter(failed.values()))
    return pieces, tuple(
        Problem(name, error.message, error.remedy) for name, error in failed.items()
    )


def _said(signals: Sequence[Signal], start_s: float | None, end_s: float | None) -> str:
    """What somebody wrote about a piece, else what a model saw in it and nothing contradicted."""
    for source in ("annotation", "caption"):
        for signal in signals:
            elsewhere = (
                signal.start_s is not None
                and start_s is not None
                and not (start_s <= signal.start_s < (end_s or start_s + 1.0))
            )
            if signal.source == source and not signal.doubtful and not elsewhere:
                text = " ".join(signal.text.split())
                return text if len(text) <= _CAPTION_CHARS else f"{text[:_CAPTION_CHARS]}…"
    return ""


def _maker(what: What) -> Maker:
    if what not in WHATS:
        raise UsageError(f"{what} is not known.", f"Choose among {', '.join(WHATS)}.")
    from mmrag_plugin.makers.clip import ClipMaker
    from mmrag_plugin.makers.gif import GifMaker
    from mmrag_plugin.makers.sheet import SheetMaker
    from mmrag_plugin.makers.slideshow import SlideshowMaker
    from mmrag_plugin.makers.supercut import SupercutMaker

    makers: dict[What, type[Maker]] = {
        "clip": ClipMaker,
        "supercut": SupercutMaker,
        "gif": GifMaker,
        "sheet": SheetMaker,
        "slideshow": SlideshowMaker,
    }
    return makers[what]()
