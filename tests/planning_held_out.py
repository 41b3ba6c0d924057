"""Questions that were written without looking at the rules, and what they ask for.

At the first run 32 of the 40 were understood, every field compared. The gaps that others would fall
into, too, were closed since; what is missed stays in here. TODAY is a Wednesday.
"""

from __future__ import annotations

from datetime import date

from mmrag_plugin.planning.base import GivenNames

TODAY = date(2026, 11, 25)
NAMES = GivenNames(
    names=("Anna", "Rex", "Uncle Bob", "Lisbon", "Rome", "Berlin", "Lake Garda", "New York"),
    cameras=("Google Pixel 7", "Canon EOS R6", "Apple iPhone 12"),
    folders=("Lisbon trip", "Oma's garden", "Screenshots", "Wedding 2019"),
)

QUESTIONS: list[tuple[str, str]] = [
    (
        "the receipts from Lisbon last spring",
        "receipts near:Lisbon since:2026-03-01 until:2026-05-31",
    ),
    ("Show me videos of Rex swimming", "swimming kind:video person:Rex"),
    (
        "photos of Anna in Rome, summer 2023",
        "kind:image person:Anna near:Rome since:2023-06-01 until:2023-08-31",
    ),
    ("what did we do on New Year's Eve 2024?", "on:2024-12-31"),
    ("how many pictures did I take in March 2022?", "kind:image on:2022-03 count:yes"),
    ("how many videos are there", "kind:video count:yes"),
    ("one photo for each year of Oma's garden", 'kind:image one:year folder:"Oma\'s garden"'),
    ("a picture of the Christmas tree from every year", "Christmas tree kind:image one:year"),
    ("the newest photo of the cat", "cat kind:image sort:newest limit:1"),
    ("my oldest video", "kind:video sort:oldest limit:1"),
    (
        "the last 5 pictures with Uncle Bob",
        'kind:image person:"Uncle Bob" sort:newest limit:5',
    ),
    ("beach, but not at sunset", "beach -sunset"),
    ("dogs without people", "dogs -people"),
    ("street scenes in Berlin, no cars", "street scenes near:Berlin -cars"),
    (
        "photos taken with the Pixel 7 yesterday",
        'kind:image camera:"Pixel 7" on:2026-11-24',
    ),
    ("shots from my iPhone 12 in 2021", 'camera:"iPhone 12" on:2021'),
    ('a sign that says "No entry"', 'a sign "No entry"'),
    ("screenshot with the words Gate B42", 'screenshot text:"Gate B42"'),
    ("between May and July 2020", "since:2020-05 until:2020-07"),
    ("from 2015 to 2018 at Lake Garda", 'near:"Lake Garda" since:2015 until:2018'),
    ("before 2010", "until:2009"),
    ("since last month", "since:2026-10"),
    ("pictures from two years ago", "kind:image on:2024"),
    ("last weekend", "since:2026-11-21 until:2026-11-22"),
    ("sunflowers in the nineties", "sunflowers since:1990 until:1999"),
    ("a man in a red jacket on a bike", "a man in a red jacket on a bike"),
    ("may flowers in a vase", "may flowers in a vase"),
    ("children march down the street", "children march down the street"),
    ("a boy falls into the water", "a boy falls into the water"),
    ("two dogs", "two dogs"),
    ("kind:video near:Rome after:2019 dancing", "dancing kind:video near:Rome since:2019"),
    ('person:Anna -indoors "happy birthday"', 'person:Anna -indoors "happy birthday"'),
    ("Wann war ich zuletzt in Berlin?", "near:Berlin sort:newest"),
    ("Fotos vom letzten Sommer", "kind:image since:2026-06-01 until:2026-08-31"),
    ("photos du 14 juillet 2022", "kind:image on:2022-07-14"),
    (
        "What was the first thing I photographed in New York?",
        'kind:image near:"New York" sort:oldest limit:1',
    ),
    ("winter 2022", "since:2022-12-01 until:2023-02-28"),
    ("the wedding in 2019", "wedding on:2019"),
    ("Easter 2021 with Anna", "person:Anna since:2021-04-04 until:2021-04-05"),
    ("3 photos of bridges from 12 May 2020", "bridges kind:image limit:3 on:2020-05-12"),
]
