"""The people in a picture, by the names that somebody gave them, as one piece of text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from mmrag_plugin.media import Signal
from mmrag_plugin.xmp import distinct

_LABEL = "People: "
_MAX_PEOPLE = 200
_MAX_NAME_CHARS = 100
_SEPARATORS = re.compile(r"\s*[,;|]\s*")


def people_signals(names: Iterable[str]) -> list[Signal]:
    """Give one annotation, ``People: Anna, Rex``, or none without names.

    Names are joined by commas, so "Doe, John" becomes "Doe John".
    """
    plain = (_SEPARATORS.sub(" ", name).strip()[:_MAX_NAME_CHARS] for name in names)
    known = distinct(name for name in plain if any(char.isalnum() for char in name))
    return [Signal("annotation", _LABEL + ", ".join(known[:_MAX_PEOPLE]))] if known else []


def people_in(signals: Iterable[Signal]) -> list[str]:
    """The names in the signals of a media, each once."""
    said = (signal.text for signal in signals if signal.source == "annotation")
    texts = (text.removeprefix(_LABEL) for text in said if text.startswith(_LABEL))
    return list(distinct(name for text in texts for name in text.split(",")))


def merged_people(signals: Sequence[Signal]) -> list[Signal]:
    """Put the people that several files name into one piece, in the place of the first."""
    people = people_in(signals)
    kept: list[Signal] = []
    for signal in signals:
        if signal.source != "annotation" or not signal.text.startswith(_LABEL):
            kept.append(signal)
        elif people:
            kept += people_signals(people)
            people = []
    return kept
