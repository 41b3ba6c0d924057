"""What is said or written in a film at its times: piece by piece, and in runs of neighbours.

A piece is one cue, one sentence that was heard, or one text in the picture for as long as it
stands there. A sentence may go on in the next cue, and words be heard while others are read: a run
is a piece with those that follow at once, and what else is there at that time.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import replace

from mmrag_plugin.media import Signal
from mmrag_plugin.terms import terms_of, words_of

PAUSE_S = 1.5  # a silence this long ends a run
RUN_PIECES = 3  # of one source; a sentence seldom runs over more cues
RUN_S = 15.0  # the most that a run lasts, unless one piece does
BESIDE_PIECES = 3  # of other sources in a run
# Bounds for films with heaps of signs at a time, which would take minutes.
_LANES = 32  # that a piece may follow in
_NEARBY = 200  # pieces, before and after one
_ALONE = ("annotation", "caption")  # about a whole shot, or written about a moment
_OVERLAP = 0.25  # of the shorter; pieces that overlap by more don't follow each other


def span_of(signal: Signal) -> tuple[float, float]:
    """From when to when a piece is there; one without an end has no length."""
    start_s = signal.start_s or 0.0
    return start_s, start_s if signal.end_s is None else max(signal.end_s, start_s)


def pieces_of(timed: Sequence[Signal]) -> list[Signal]:
    """The pieces of a film, in order of time; a text that stays in the picture is one."""
    pieces: list[Signal] = []
    standing: dict[str, int] = {}  # text in the picture -> its piece
    for signal in sorted(timed, key=span_of):
        if signal.source == "ocr":
            start_s, end_s = span_of(signal)
            known = standing.get(signal.text.strip())
            if known is not None and start_s - span_of(pieces[known])[1] <= PAUSE_S:
                longer = max(end_s, span_of(pieces[known])[1])
                pieces[known] = replace(pieces[known], end_s=longer)
                continue
            standing[signal.text.strip()] = len(pieces)
        pieces.append(signal)
    return pieces


def runs_of(pieces: Sequence[Signal]) -> dict[int, list[Signal]]:
    """The runs of some pieces, in order of time, by the number of the piece that begins each.

    None of a piece that nothing follows or accompanies.
    """
    short = [number for number, piece in enumerate(pieces) if piece.source not in _ALONE]
    runs: dict[int, list[Signal]] = {}
    known: set[tuple[Signal, ...]] = set()
    for lane in _lanes(pieces, short):
        last = -1  # the piece that ended the run before
        for place, first in enumerate(lane):
            run = list(_following(pieces, lane[place : place + RUN_PIECES]))
            beside = _beside(pieces, short, first, [pieces[number] for number in run])
            ends_later, last = run[-1] > last, max(last, run[-1])
            if beside or (len(run) > 1 and ends_later):
                together = sorted([*(pieces[number] for number in run), *beside], key=span_of)
                if tuple(together) not in known:
                    runs[first] = together
                    known.add(tuple(together))
    return runs


def said_there(query: str, pieces: Sequence[Signal]) -> list[Signal]:
    """The pieces, of neighbours in order of time, that hold a query's words; none without any.

    Those that hold most, and their neighbours as far as these hold others of the words. What says
    just the query stands alone.
    """
    asked = set(terms_of(query))
    shared = [asked.intersection(terms_of(piece.text)) for piece in pieces]
    most = max(map(len, shared), default=0)
    if not most:
        return []
    exact = [piece for piece in pieces if says_just(query, [piece])]
    if exact:
        return exact[:1]
    best = [number for number, terms in enumerate(shared) if len(terms) == most]
    core = min(best, key=lambda number: len(terms_of(pieces[number].text)))
    run = _grown(core, shared)
    if says_just(query, [pieces[number] for number in run]):
        return [pieces[number] for number in run]
    return [pieces[number] for number in sorted({*run, *best})]


def lanes_of(pieces: Sequence[Signal]) -> list[list[Signal]]:
    """Pieces that follow each other: of one source, and of one language where there are more."""
    return [[pieces[n] for n in lane] for lane in _lanes(pieces, range(len(pieces)))]


def says_just(query: str, run: Sequence[Signal]) -> bool:
    """Whether a run says a query word for word, and nothing else."""
    return bool(run) and words_of(query) == [word for one in run for word in words_of(one.text)]


def _grown(core: int, shared: Sequence[set[str]]) -> list[int]:
    """A piece and its neighbours, as long as one of them holds a word that is still missing."""
    first = last = core
    held = set(shared[core])
    while True:
        before = shared[first - 1] - held if first else set[str]()
        after = shared[last + 1] - held if last + 1 < len(shared) else set[str]()
        if not before and not after:
            return list(range(first, last + 1))
        if len(before) > len(after):
            first, held = first - 1, held | before
        else:
            last, held = last + 1, held | after


def _lanes(pieces: Sequence[Signal], numbers: Sequence[int]) -> list[list[int]]:
    lanes: list[list[int]] = []
    for number in numbers:
        for lane in lanes[:_LANES]:
            before = pieces[lane[-1]]
            if before.source == pieces[number].source and not _at_once(before, pieces[number]):
                lane.append(number)
                break
        else:
            lanes.append([number])
    return lanes


def _at_once(one: Signal, other: Signal) -> bool:
    (start_s, end_s), (other_start_s, other_end_s) = span_of(one), span_of(other)
    shorter_s = min(end_s - start_s, other_end_s - other_start_s)
    return min(end_s, other_end_s) - max(start_s, other_start_s) > _OVERLAP * shorter_s


def _following(pieces: Sequence[Signal], lane: Sequence[int]) -> Iterator[int]:
    """The first of a lane and those that follow it without a pause."""
    begin_s, end_s = span_of(pieces[lane[0]])
    yield lane[0]
    for number in lane[1:]:
        start_s, until_s = span_of(pieces[number])
        if start_s - end_s > PAUSE_S or until_s - begin_s > RUN_S:
            return
        end_s = max(end_s, until_s)
        yield number


def _beside(
    pieces: Sequence[Signal], short: Sequence[int], first: int, run: Sequence[Signal]
) -> list[Signal]:
    """What is there at the time of a run from other sources, and passes as soon."""
    begin_s, end_s = span_of(run[0])[0], max(span_of(piece)[1] for piece in run)
    found = [
        pieces[number]
        for number in _around(pieces, short, first, begin_s, end_s)
        if pieces[number].source != run[0].source
    ]
    return found[:BESIDE_PIECES]


def _around(
    pieces: Sequence[Signal], short: Sequence[int], first: int, begin_s: float, end_s: float
) -> Iterator[int]:
    """The numbers of the short pieces that overlap a span of time which piece ``first`` begins."""
    place = before = bisect_left(short, first)
    while (
        before > max(place - _NEARBY, 0) and span_of(pieces[short[before - 1]])[0] > begin_s - RUN_S
    ):
        before -= 1
    for number in short[before : place + _NEARBY]:
        start_s, until_s = span_of(pieces[number])
        if start_s > end_s:
            return
        if number != first and until_s > begin_s and until_s - start_s <= RUN_S:
            yield number
