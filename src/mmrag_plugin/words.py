"""Which rows of words stand in Milvus for one media: the projection of its signals.

One combined row holds all the words of a media together, because "Lisbon receipt" is a folder and a
text in the picture. What is said or shown at a time stands in rows of its own, which say where in a
film the words are: one for each piece, and one for each run of neighbours, since a sentence goes on
in the next cue. With a dense text channel each piece of prose has a row as well, since a vector of
one caption is sharper than a vector of everything.

A doubtful caption stands apart from all that, in a row of its own, and a search takes less of its
score: what it says is found where nothing better is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from mmrag_plugin.media import Moment, Signal, SignalSource
from mmrag_plugin.metadata import COMBINED, DOUBTFUL, words_row_id
from mmrag_plugin.pieces import pieces_of, runs_of, span_of
from mmrag_plugin.terms import terms_of

WORDS_VERSION = 2
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
    pieces = pieces_of(timed)
    rows += [_timed_row(media_id, f"w{n}", [piece]) for n, piece in enumerate(pieces)]
    rows += [_timed_row(media_id, f"j{n}", run) for n, run in runs_of(pieces).items()]
    if dense and len(prose) > 1:
        rows += [
            WordRow(words_row_id(media_id, f"s{number}"), signal.source, _joined([signal]), ())
            for number, signal in enumerate(prose)
        ]
    return rows


def _timed_row(media_id: str, part: str, said: Sequence[Signal]) -> WordRow:
    return WordRow(
        words_row_id(media_id, part),
        said[0].source,
        _joined(said),
        tuple(terms_of(_joined(said))),
        span_of(said[0])[0],
        max(span_of(signal)[1] for signal in said),
    )


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
        said = pieces_of(timed)[int(part[1:]) :][:1]
    elif part.startswith("j"):
        said = _runs(tuple(pieces_of(timed))).get(int(part[1:]), [])
    else:
        said = prose[int(part[1:]) :][:1]
    if len(said) < 2:
        return said[0] if said else None
    return replace(said[0], text=_joined(said), end_s=max(span_of(one)[1] for one in said))


@lru_cache(maxsize=16)  # of the films that a page of hits is of
def _runs(pieces: tuple[Signal, ...]) -> dict[int, list[Signal]]:
    return runs_of(pieces)


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
