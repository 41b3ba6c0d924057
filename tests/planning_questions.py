"""Questions and what they ask for, written down before the rules were; misses stay in here.

The plan stands as one would write it into the search box. TODAY is a Wednesday.
"""

from __future__ import annotations

from datetime import date

from mmrag_plugin.planning.base import GivenNames

TODAY = date(2026, 7, 15)
NAMES = GivenNames(
    names=("Lisbon", "Rome", "Porto", "New York", "Anna", "Bob", "Rex", "Oma", "San Sebastián"),
    cameras=("Apple iPhone 12", "Google Pixel 7", "Canon EOS 5D", "GoPro HERO9"),
    folders=("Trips", "Wedding", "Screenshots", "Farm weekend"),
)

QUESTIONS: list[tuple[str, str]] = [
    # plain words stay as they are
    ("a red barn in the snow", "a red barn in the snow"),
    ("two dogs playing on the beach", "two dogs playing on the beach"),
    ("a woman without shoes", "a woman without shoes"),
    ("an orange on a table", "an orange on a table"),
    ("spring flowers", "spring flowers"),
    ("a man taking a photo of a bridge", "a man taking a photo of a bridge"),
    ("girl in a sunday dress", "girl in a sunday dress"),
    ("leaves in fall colors", "leaves in fall colors"),
    ("soldiers on a march through town", "soldiers on a march through town"),
    ("may I see the cake", "may I see the cake"),
    ("a christmas tree with lights", "a christmas tree with lights"),
    ("people in the summer sun", "people in the summer sun"),
    ("the last supper", "the last supper"),
    ("my birthday on the lake", "my birthday on the lake"),
    ("photos on my birthday", "on my birthday kind:image"),
    # days, months, years
    ("dogs yesterday", "dogs on:2026-07-14"),
    ("what did I photograph today", "on:2026-07-15"),
    ("photos from last week", "kind:image since:2026-07-06 until:2026-07-12"),
    ("photos of Rex from last month", "kind:image person:Rex on:2026-06"),
    ("sunsets last year", "sunsets on:2025"),
    ("videos from this year", "kind:video on:2026"),
    ("pictures from last weekend", "kind:image since:2026-07-11 until:2026-07-12"),
    ("snow in January", "snow on:2026-01"),
    ("photos from May", "kind:image on:2026-05"),
    ("beach photos from August", "beach kind:image on:2025-08"),
    ("flowers in May 2019", "flowers on:2019-05"),
    ("party on May 3rd", "party on:2026-05-03"),
    ("party on May 3rd, 2019", "party on:2019-05-03"),
    ("party on the 3rd of May 2019", "party on:2019-05-03"),
    ("3 May 2020", "on:2020-05-03"),
    ("photos taken on 03/05/2021", "kind:image on:2021-05-03"),
    ("photos taken on 12/25/2021", "kind:image on:2021-12-25"),
    ("the barn on 24.12.2021", "the barn on:2021-12-24"),
    ("boats 2019-05", "boats on:2019-05"),
    ("boats on 2019-05-20", "boats on:2019-05-20"),
    ("boats in 2019", "boats on:2019"),
    ("Lisbon boats 2019", "Lisbon boats on:2019"),
    ("kids playing in the 90s", "kids playing since:1990 until:1999"),
    ("cars two years ago", "cars on:2024"),
    ("cake three days ago", "cake on:2026-07-12"),
    ("screenshots from two weeks ago", "screenshot kind:image since:2026-06-29 until:2026-07-05"),
    ("dogs in the last 10 days", "dogs since:2026-07-05 until:2026-07-15"),
    ("what have I filmed recently", "kind:video since:2026-06-15 until:2026-07-15"),
    # seasons and holidays
    ("receipts from Lisbon last spring", "receipts near:Lisbon since:2026-03-01 until:2026-05-31"),
    ("beach last summer", "beach since:2025-06-01 until:2025-08-31"),
    ("skiing last winter", "skiing since:2025-12-01 until:2026-02-28"),
    ("skiing in winter 2019", "skiing since:2019-12-01 until:2020-02-29"),
    ("lambs in spring 2019", "lambs since:2019-03-01 until:2019-05-31"),
    ("in the summer of 2018 at the lake", "at the lake since:2018-06-01 until:2018-08-31"),
    ("mushrooms in autumn 2020", "mushrooms since:2020-09-01 until:2020-11-30"),
    ("the tree at Christmas 2019", "the tree since:2019-12-24 until:2019-12-26"),
    ("fireworks on New Year's Eve 2020", "fireworks on:2020-12-31"),
    ("Oma last Christmas", "Oma since:2025-12-24 until:2025-12-26"),
    ("eggs at Easter 2021", "eggs since:2021-04-02 until:2021-04-05"),
    ("photos after Easter 2021", "kind:image since:2021-04-06"),
    # ranges
    ("hikes between June and August 2020", "hikes since:2020-06 until:2020-08"),
    ("hikes from 2015 to 2018", "hikes since:2015 until:2018"),
    ("hikes 2015-2018", "hikes since:2015 until:2018"),
    ("from May 3rd to May 7th 2019", "since:2019-05-03 until:2019-05-07"),
    ("videos since 2020", "kind:video since:2020"),
    ("baby pictures before 2010", "baby kind:image until:2009"),
    ("photos until March 2018", "kind:image until:2018-03"),
    ("concerts after 2021", "concerts since:2022"),
    ("dogs since last Christmas", "dogs since:2025-12-24"),
    # places, people, cameras, folders
    ("photos from Lisbon", "kind:image near:Lisbon"),
    ("trams in lisbon", "trams near:lisbon"),
    ("trams in Madrid", "trams in Madrid"),
    ("bridges near New York in 2018", 'bridges near:"New York" on:2018'),
    ("Anna's photos from Rome", "kind:image person:Anna near:Rome"),
    ("pictures of Anna and Bob", "kind:image person:Anna person:Bob"),
    ("videos of rex", "kind:video person:rex"),
    ("Anna at the beach", "Anna at the beach"),
    ("photos of Anna at the beach", "at the beach kind:image person:Anna"),
    ("sunsets taken with my Pixel 7", 'sunsets camera:"Pixel 7"'),
    ("photos shot on the iPhone in Porto", "kind:image camera:iPhone near:Porto"),
    ("dancing in the Wedding folder", "dancing folder:Wedding"),
    ("cows in the album Farm weekend", 'cows folder:"Farm weekend"'),
    # kinds
    ("videos of dogs", "dogs kind:video"),
    ("show me all photos of my cat", "my cat kind:image"),
    ("dog videos", "dog kind:video"),
    ("find clips of a waterfall", "waterfall kind:video"),
    ("can you show me the pictures from the lake", "from the lake kind:image"),
    # negation
    ("photos of Rex, not indoors", "kind:image person:Rex -indoors"),
    ("beaches without people", "beaches -people"),
    ("photos of mountains with no snow", "mountains kind:image -snow"),
    (
        "show me churches except the ones from Rome",
        "churches -Rome",
    ),
    ("pictures of parks but no dogs or cats", "parks kind:image -dogs -cats"),
    # text
    ("the photo that says 'Gate B42'", 'kind:image text:"Gate B42"'),
    ("a sign that says no parking", 'a sign text:"no parking"'),
    ("screenshot of the error 0x80070057", 'screenshot kind:image text:"error 0x80070057"'),
    ('photos with the words "happy birthday"', 'kind:image "happy birthday"'),
    ("photos with text from 2019", "kind:image text:yes on:2019"),
    # counts, order, limits, one each
    ("how many photos of dogs did I take in 2019", "dogs kind:image on:2019 count:yes"),
    ("how many videos do I have", "kind:video count:yes"),
    ("one photo for each year of Anna", "kind:image person:Anna one:year"),
    ("a photo from every summer", "kind:image one:year yearly:06-01..08-31"),
    ("one picture of the garden per month in 2024", "the garden kind:image one:month on:2024"),
    ("the latest photo of Rex", "kind:image person:Rex sort:newest limit:1"),
    ("the last 5 videos of the cat", "cat kind:video sort:newest limit:5"),
    ("my oldest pictures", "kind:image sort:oldest"),
    ("the first photo of Anna", "kind:image person:Anna sort:oldest limit:1"),
    ("three pictures of boats", "boats kind:image limit:3"),
    ("dogs, newest first", "dogs sort:newest"),
    # German, French, Spanish
    ("Hunde im Mai 2019", "Hunde on:2019-05"),
    ("Fotos vom letzten Sommer", "kind:image since:2025-06-01 until:2025-08-31"),
    ("Strand vor zwei Jahren", "Strand on:2024"),
    ("photos de la plage en juillet 2018", "de la plage kind:image on:2018-07"),
    ("la fête le 3 mai 2020", "la fête on:2020-05-03"),
    ("perros en mayo de 2019", "perros on:2019-05"),
    ("la boda hace dos años", "la boda on:2024"),
    ("Schnee seit 2020", "Schnee since:2020"),
    # the box among plain words
    (
        'kind:video after:2024-05 near:Lisbon "exact words"',
        'kind:video since:2024-05 near:Lisbon "exact words"',
    ),
    ("Rex -indoors last year", "Rex -indoors on:2025"),
]
