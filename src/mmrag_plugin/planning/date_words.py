"""The words that dates are said with: English, and the plain forms of German, French and Spanish.

Everything is in small letters; patterns ignore case.
"""

from __future__ import annotations

import re

_MONTHS = (
    "january jan januar jänner janvier enero",
    "february feb februar février fevrier febrero",
    "march mar märz maerz mars marzo",
    "april apr avril abril",
    "may mai mayo",
    "june jun juni juin junio",
    "july jul juli juillet julio",
    "august aug août aout agosto",
    "september sep sept septembre septiembre setiembre",
    "october oct oktober okt octobre octubre",
    "november nov novembre noviembre",
    "december dec dezember dez décembre decembre diciembre",
)
MONTHS = {name: number for number, names in enumerate(_MONTHS, 1) for name in names.split()}
OTHER_MEANINGS = frozenset("may march mar mars jan dec sep".split())  # words, names, planets

_SEASONS = {
    "spring": "spring frühling frühjahr printemps primavera",
    "summer": "summer sommer été verano",
    "autumn": "autumn fall herbst automne otoño",
    "winter": "winter hiver invierno",
}
SEASONS = {name: season for season, names in _SEASONS.items() for name in names.split()}
# Northern, by whole months; the winter of a year ends in the next.
SEASON_BEGINS = {"spring": 3, "summer": 6, "autumn": 9, "winter": 12}

_HOLIDAYS = {
    "christmas eve": "christmas eve|heiligabend|heilig abend|nochebuena",
    "christmas day": "christmas day",
    "christmas": "christmas|xmas|weihnachten|noël|noel|navidad",
    "new year's eve": "new year'?s eve|new years eve|silvester|nochevieja|la saint-sylvestre",
    "new year": "new year'?s day|new years day|new year'?s|new year|neujahr",
    "easter": "easter|ostern|pâques|pascua",
    "halloween": "halloween",
    "valentine": "valentine'?s day|valentines day|valentinstag",
    "thanksgiving": "thanksgiving",
}
HOLIDAYS = tuple((name, re.compile(pattern, re.I)) for name, pattern in _HOLIDAYS.items())
HOLIDAY_DAYS = {
    "christmas eve": ("12-24", "12-24"),
    "christmas day": ("12-25", "12-25"),
    "christmas": ("12-24", "12-26"),
    "new year's eve": ("12-31", "12-31"),
    "new year": ("01-01", "01-01"),
    "halloween": ("10-31", "10-31"),
    "valentine": ("02-14", "02-14"),
}

WEEKDAYS = "monday tuesday wednesday thursday friday saturday sunday".split()

_NUMBERS = (
    "a an one ein eine einem einen einer un une una",
    "two zwei deux dos couple",
    "three drei trois tres few",
    "four vier quatre cuatro",
    "five fünf cinq cinco",
    "six sechs seis",
    "seven sieben sept siete",
    "eight acht huit ocho",
    "nine neun neuf nueve",
    "ten zehn dix diez",
    "eleven elf onze once",
    "twelve zwölf douze doce",
)
NUMBERS = {name: number for number, names in enumerate(_NUMBERS, 1) for name in names.split()}

_UNITS = {
    "day": "days? tage?n? jours? días? dias?",
    "week": "weeks? wochen? semaines? semanas?",
    "month": "months? monate?n? mois mes(?:es)?",
    "year": "years? jahre?n? ans? années? años?",
}
UNITS = {unit: re.compile("|".join(names.split()), re.I) for unit, names in _UNITS.items()}

DAYS_AGO = {
    "today": 0,
    "this morning": 0,
    "this afternoon": 0,
    "this evening": 0,
    "tonight": 0,
    "heute": 0,
    "aujourd'hui": 0,
    "hoy": 0,
    "yesterday": 1,
    "last night": 1,
    "gestern": 1,
    "d'hier": 1,
    "ayer": 1,
    "the day before yesterday": 2,
    "vorgestern": 2,
    "avant-hier": 2,
    "anteayer": 2,
}


def one_of(words: object) -> str:
    """A pattern for any of some words, the longest first."""
    return "|".join(sorted(map(re.escape, words), key=len, reverse=True))  # type: ignore[call-overload]


MONTH = one_of(MONTHS)
SEASON = one_of(SEASONS)
HOLIDAY = "|".join(sorted(("|".join(_HOLIDAYS.values())).split("|"), key=len, reverse=True))
WEEKDAY = one_of(WEEKDAYS)
NUMBER = rf"(?:\d{{1,3}}|{one_of(NUMBERS)})"
# "past an old barn": the French year in the singular is only read in "il y a un an"
UNIT = "|".join(" ".join(_UNITS.values()).replace("ans?", "ans").split())
YEAR = r"(?:19|20)\d\d"
LAST = "last|past|previous|letzte[nmrs]?|vergangene[nmrs]?|vorige[nmrs]?"
THIS = "this|diese[nmrs]?|cette|cet|ce|este|esta"
AFTERWARDS = "derni[eè]re?|passée?|pasad[oa]"  # "last", behind its word
