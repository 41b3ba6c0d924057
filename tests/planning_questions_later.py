"""More questions, written after the rules and before they were run on them.

At the first run 26 of the 32 were understood; the gaps that others would fall into, too, were
closed since, so this table says less now than it did then.
"""

LATER: list[tuple[str, str]] = [
    ("Do you have any pictures of a lighthouse?", "a lighthouse kind:image"),
    (
        "the beach house in Porto two summers ago",
        "the beach house near:Porto since:2024-06-01 until:2024-08-31",
    ),
    ("every video of Rex from 2023", "kind:video person:Rex on:2023"),
    ("selfies from last weekend", "selfie kind:image since:2026-07-11 until:2026-07-12"),
    ("birthday cake before Christmas 2022", "birthday cake until:2022-12-23"),
    (
        "photos taken between 2019-05-01 and 2019-05-07",
        "kind:image since:2019-05-01 until:2019-05-07",
    ),
    ("Bob on a bike in June", "Bob on a bike on:2026-06"),
    ("pictures I took in Rome on April 10th 2024", "kind:image near:Rome on:2024-04-10"),
    (
        "clips shot with the GoPro last summer",
        "kind:video camera:GoPro since:2025-06-01 until:2025-08-31",
    ),
    ("how many pictures of Anna are there from 2020", "kind:image person:Anna on:2020 count:yes"),
    ("the five newest videos", "kind:video sort:newest limit:5"),
    ("one photo of Bob per year", "kind:image person:Bob one:year"),
    ("sunset photos without people", "sunset kind:image -people"),
    ("photos of New York that aren't at night", 'kind:image person:"New York" -night'),
    ("whiteboard saying 'Q3 roadmap'", 'whiteboard text:"Q3 roadmap"'),
    ("a boy jumping into a lake", "a boy jumping into a lake"),
    ("a man reading a book by the window", "a man reading a book by the window"),
    ("marching band in a parade", "marching band in a parade"),
    ("two women at a summer festival", "two women at a summer festival"),
    ("snowboarder in mid air", "snowboarder in mid air"),
    ("Oma's garden in the spring of 2022", "Oma's garden since:2022-03-01 until:2022-05-31"),
    ("screenshots from this week", "screenshot kind:image since:2026-07-13 until:2026-07-19"),
    ("pictures from the early 2000s", "kind:image since:2000 until:2009"),
    ("meine Fotos von gestern", "kind:image on:2026-07-14"),
    ("Bilder aus Rome im Sommer 2021", "kind:image near:Rome since:2021-06-01 until:2021-08-31"),
    ("vidéos de l'été dernier", "kind:video since:2025-06-01 until:2025-08-31"),
    ("playa en agosto de 2020", "playa on:2020-08"),
    ("the oldest video of Anna and Bob", "kind:video person:Anna person:Bob sort:oldest limit:1"),
    ("receipts since January", "receipts since:2026-01"),
    ("Trips folder, only videos, 2024", "folder:Trips kind:video on:2024"),
    ("give me 3 photos of Rex sleeping", "sleeping kind:image person:Rex limit:3"),
    ("wedding pictures from Lisbon, no screenshots", "wedding kind:image near:Lisbon -screenshots"),
]
