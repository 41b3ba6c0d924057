"""The words of a media's facts: the date as people say it, the place by its names, the camera."""

from __future__ import annotations

from datetime import datetime

from mmrag_plugin.media import MediaFacts, Signal
from mmrag_plugin.signals.place_words import place_words

# English whatever the locale: calendar.month_name would change the terms with the machine.
_MONTHS = (
    "January February March April May June July August September October November December"
).split()
_WEEKDAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()


def facts_signals(facts: MediaFacts) -> list[Signal]:
    """Give ``exif`` signals: ``Friday 6 October 2023``, the place, the camera, where known."""
    texts = (
        date_words(facts.taken_at),
        place_words(facts.latitude, facts.longitude),
        " ".join(facts.camera.split()),
    )
    return [Signal("exif", text) for text in texts if text]


def date_words(taken_at: str | None) -> str:
    """Say an ISO 8601 time the way people search for it; nothing when there is none to say."""
    try:
        taken = datetime.fromisoformat((taken_at or "").replace("Z", "+00:00"))
    except ValueError:
        return ""
    return f"{_WEEKDAYS[taken.weekday()]} {taken.day} {_MONTHS[taken.month - 1]} {taken.year}"
