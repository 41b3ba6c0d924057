"""Say in words why a moment was found, and how much that is worth."""

from __future__ import annotations

from collections.abc import Sequence

from mmrag_plugin.media import Signal
from mmrag_plugin.terms import matching_words, terms_of
from mmrag_plugin.timecode import format_time

SNIPPET_CHARS = 80
_LABELS = {
    "annotation": "described as",
    "caption": "caption by a model",
    "ocr": "text in the picture",
    "subtitle": "subtitle",
    "speech": "said",
    "path": "folder or file name",
    "exif": "date, place, camera or rating",
}


def best_matches(query: str, signals: Sequence[Signal]) -> list[tuple[Signal, list[str]]]:
    """The few signals that share most words with a query, each with these words as written.

    The first has most; another is named only for words that those before it lack.
    """
    asked = set(terms_of(query))
    in_order = sorted(signals, key=lambda signal: signal.doubtful)  # which win no tie
    left = [(signal, asked.intersection(terms_of(signal.text))) for signal in in_order]
    chosen: list[tuple[Signal, list[str]]] = []
    while asked and left:
        signal, shared = max(left, key=lambda item: len(item[1] & asked))
        if not shared & asked:
            break
        chosen.append((signal, matching_words(query, signal.text)))
        asked -= shared
    return chosen


def coverage(query: str, signals: Sequence[Signal]) -> float:
    """How many of the query's words occur in the signals, 0 to 1."""
    asked = set(terms_of(query))
    if not asked:
        return 0.0
    known = {term for signal in signals for term in terms_of(signal.text)}
    return len(asked & known) / len(asked)


def quote(signal: Signal, words: Sequence[str] = ()) -> str:
    """Quote a signal with its source and time: ``text in the picture: 'Gate B42'``."""
    when = f" at {format_time(signal.start_s)}" if signal.start_s is not None else ""
    return f"{label_of(signal)}{when}: '{snippet(signal.text, words)}'"


def label_of(signal: Signal) -> str:
    """What a signal is, in words, and whether it is to be believed."""
    return f"{'doubtful ' * signal.doubtful}{_LABELS[signal.source]}"


def snippet(text: str, words: Sequence[str] = ()) -> str:
    """The part of a text around the first of some words, on one line, with ellipses where cut."""
    line = " ".join(text.split())
    if len(line) <= SNIPPET_CHARS:
        return line
    first = min((at for word in words if (at := line.find(word)) >= 0), default=0)
    begin = max(0, min(first - SNIPPET_CHARS // 4, len(line) - SNIPPET_CHARS))
    cut = line[begin : begin + SNIPPET_CHARS].strip()
    return ("…" if begin else "") + cut + ("…" if begin + SNIPPET_CHARS < len(line) else "")
