"""What the date library makes of a text that is a date, in English, German, French and Spanish."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Any

from mmrag_plugin.planning.days import (
    Days,
    from_to,
    monday_of,
    one_day,
    whole_month,
    whole_year,
)

LANGUAGES = ["en", "de", "fr", "es"]


@lru_cache(maxsize=256)
def parsed(text: str, today: date) -> Days | None:
    """The days that a text means, as exact as it says; None when it is no date.

    The library (dateparser) takes its time to load, so nothing else calls for it.
    """
    from dateparser.date import DateDataParser

    settings: dict[str, Any] = {
        "RELATIVE_BASE": datetime(today.year, today.month, today.day, 12),
        "PREFER_DATES_FROM": "past",
        "DATE_ORDER": "DMY",
        "RETURN_AS_TIMEZONE_AWARE": False,
    }
    if len(text.split()) < 2 and not any(character.isdigit() for character in text):
        settings["PARSERS"] = ["relative-time"]  # not "may" and its like
    found = DateDataParser(languages=LANGUAGES, settings=settings).get_date_data(text)
    if found.date_obj is None:
        return None
    day = found.date_obj.date()
    if found.period == "year":
        return whole_year(day.year)
    if found.period == "month":
        return whole_month(day.year, day.month)
    if found.period == "week":
        return from_to(monday_of(day), monday_of(day) + timedelta(6))
    return one_day(day)
