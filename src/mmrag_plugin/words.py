"""Which rows of words stand in Milvus for one media: the projection of its signals.

One combined row holds all the words of a media together, because "Lisbon receipt" is a folder and a
text in the picture. What is said or shown at a time stands in rows of its own, windows of a few
seconds, which say where in a film the words are. With a dense text channel each piece of prose has
a row as well, since a vector of one caption is sharper than a vector of everything.

A doubtful caption stands apart from all that, in a row of its own, and a search takes less of its
score: what it says is found where nothing better is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from mmrag_plugin.media import Moment, Signal, SignalSource
from mmrag_plugin.metadata import COMBINED, DOUBTFUL, words_row_id
from mmrag_plugin.terms import terms_of

WORDS_VERSION = 1
WINDOW_S = 4.0  # short cues are joined up to this; a longer one stands alone
PAUSE_S = 1.5  # a silence this long begins a new row
MAX_TEXT_BYTES = 60_000  # of Milvus's 65,535
_ORDER: tuple[SignalSource, ...] = (
    "annotation",
    "caption",
    "ocr",
    "subtitle",
    "speech",
    "path",
    "exif",
)
_ALONE = ("annotation", "caption")
_PROSE = ("annotation", "caption", "ocr", "subtitle", "speech")


@dataclass(frozen=True)
class WordRow:
    """One row to be: ``terms`` is empty where the row is for the dense channel alone."""

    row_id: str
    source: str
    text: str
    terms: tuple[str, ...]
    start_s: float | None = None
    end_s: float | None = None


def word_rows(media_id: str, signals: Sequence[Signal], *, dense: bool) -> list[WordRow]:
    """Build the rows of one media; none when nothing is known about it in words."""
    timed, untimed, prose = _sorted(signals)
    rows = [
        WordRow(
            words_row_id(media_id, f"d{number}"),
            DOUBTFUL,
            _joined([signal]),
            tuple(terms_of(_joined([signal]))),
            signal.start_s,
            signal.end_s,
        )
        for number, signal in enumerate(_doubtful(signals))
    ]
    if not (timed or untimed):
        return rows
    rows.append(
        WordRow(
            words_row_id(media_id),
            COMBINED,
            _joined(prose or untimed or timed),
            tuple(terms_of(_joined(untimed + timed))),
        )
    )
    rows += [
        WordRow(
            words_row_id(media_id, f"w{number}"),
            window[0].source,
            _joined(window),
            tuple(terms_of(_joined(window))),
            window[0].start_s,
            max(signal.end_s or signal.start_s or 0.0 for signal in window),
        )
        for number, window in enumerate(_windows(timed))
    ]
    if dense and len(prose) > 1:
        rows += [
            WordRow(words_row_id(media_id, f"s{number}"), signal.source, _joined([signal]), ())
            for number, signal in enumerate(prose)
        ]
    return rows


def within(signals: Sequence[Signal], moment: Moment) -> list[Signal]:
    """The signals of a media that speak about a moment of it, or about all of it."""
    start_s = moment.start_s or 0.0
    end_s = math.inf if moment.end_s is None else moment.end_s
    return [
        signal
        for signal in signals
        if signal.start_s is None
        or (signal.start_s <= end_s and (signal.end_s or signal.start_s) >= start_s)
    ]


def piece_of(row_id: str, signals: Sequence[Signal]) -> Signal | None:
    """The piece of text that a row of a media stands for, out of the media's signals.

    Of all words together it is the first that somebody wrote; None when nothing is left of it.
    """
    timed, untimed, prose = _sorted(signals)
    part = row_id.rpartition(":")[2]
    if part == COMBINED:
        said = [signal for signal in prose or untimed or timed if signal.source != "exif"][:1]
    elif part.startswith("d"):
        said = _doubtful(signals)[int(part[1:]) :][:1]
    elif part.startswith("w"):
        said = next(iter(_windows(timed)[int(part[1:]) :]), [])
    else:
        said = prose[int(part[1:]) :][:1]
    return replace(said[0], text=_joined(said), end_s=said[-1].end_s) if said else None


def _sorted(signals: Sequence[Signal]) -> tuple[list[Signal], list[Signal], list[Signal]]:
    """Signals with a time and those without, and of the latter those in sentences.

    Doubtful ones are in none of them.
    """
    believed = [signal for signal in signals if not signal.doubtful]
    ordered = sorted(believed, key=lambda signal: _ORDER.index(signal.source))
    timed = [signal for signal in ordered if signal.start_s is not None]
    untimed = [signal for signal in ordered if signal.start_s is None]
    return timed, untimed, [signal for signal in untimed if signal.source in _PROSE]


def _doubtful(signals: Sequence[Signal]) -> list[Signal]:
    return [signal for signal in signals if signal.doubtful]


def _joined(signals: Sequence[Signal]) -> str:
    seen = dict.fromkeys(signal.text.strip() for signal in signals)
    return "\n".join(seen).encode()[:MAX_TEXT_BYTES].decode(errors="ignore")


def _span(signal: Signal) -> tuple[float, float, str, Signal]:
    start_s = signal.start_s or 0.0
    return start_s, signal.end_s or start_s, signal.source, signal


def _windows(timed: Sequence[Signal]) -> list[list[Signal]]:
    """Short cues together; apart from them what is about a whole shot or written about a moment."""
    windows = [[signal] for signal in timed if signal.source in _ALONE]
    windows += _cue_windows([signal for signal in timed if signal.source not in _ALONE])
    return sorted(windows, key=lambda window: _span(window[0])[0])


def _cue_windows(timed: Sequence[Signal]) -> Iterator[list[Signal]]:
    window: list[Signal] = []
    last_end_s = 0.0
    for start_s, end_s, _, signal in sorted(map(_span, timed), key=lambda span: span[:3]):
        if window and (
            end_s - (window[0].start_s or 0.0) > WINDOW_S or start_s - last_end_s > PAUSE_S
        ):
            yield window
            window, last_end_s = [], 0.0
        window.append(signal)
        last_end_s = max(last_end_s, end_s)
    if window:
        yield window
