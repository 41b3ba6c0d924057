"""docs/quality.md: the words of the page, around the figures that were measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmrag_plugin.confidence import CALIBRATION, CALIBRATION_WITH_SENTENCE_MODEL
from mmrag_plugin.embeddings.catalogue import VISUAL_MODELS
from mmrag_plugin.evaluation.sets import FORMATS
from mmrag_plugin.evaluation.tuning import FALSE_STRONG
from mmrag_plugin.fusion import WEIGHTS, WEIGHTS_WITH_SENTENCE_MODEL, WEIGHTS_WITHOUT_TEXT

_MEASURES = ("R@1", "R@5", "R@10", "RR")
_TEXTS = {
    "sentence": "a sentence model (all-MiniLM-L6-v2)",
    "visual": "the visual model's own text tower",
}

_INTRODUCTION = """# How good the search is

This page is made by one command, `python -m benchmarks quality --write`, out of what
`python -m benchmarks quality --measure` measured. It says what is measured here, what the makers of
the models in the catalogue publish, and what could not be measured and why. How good the search is
on *your* photos only your photos can say: the second part is about that.
"""

_YOURS = """## On your own library

    mmrag eval SET                 a file of queries with the media that answer them
    mmrag eval --own               queries made of what is annotated in the library
    mmrag eval SET --save a.json --plot a.png
    mmrag eval compare a.json b.json

Each query is asked by each channel alone and by all of them fused; with captions by a model in the
library, also without them, and with `--rerank` also after the VLM has put the first hits in order.
Words are searched as they are, as with `--literal`.

| figure | what it says |
|---|---|
| R@1, R@5, R@10 | share of queries with a right media among the first so many hits |
| RR | one over the rank of the first right media; its mean is the MRR |
| nDCG@10 | how far up the right media stand, better answers (`grade`) counting for more |
| share@10 | how much of all that is right is among the first ten |
| median rank | the rank of the first right media, in the middle of all queries |
| R@1 IoU 0.5 | share of queries whose first moment overlaps a right one by half or more |

A media is found where one of its moments is. What none of the channels has among its first 200 rows
counts as not found. Intervals are 95 % bootstrap intervals over media, not over queries: five
captions of one photo are no five independent questions. `compare` tests each difference by paired
randomisation, again by media. The measures themselves are computed by
[ir-measures](https://ir-measur.es) (trec_eval underneath); a test compares them to the last digit
with an exact computation over the stored vectors that shares no code with them.

`--within` asks each query about its own film alone (which moment is it?), as the sets about moments
do; without it the film has to be found first. A query with an empty list of answers counts for
confidence alone: it should find nothing that is called strong.

### Sets of queries

The format is told by what stands in the file; `--format` names it.

| format | file |
|---|---|
{formats}

Media are named by id, path, file name, or file name without suffix. What isn't in the library is
left out and counted, texts that repeat become one query that all their media answer, and a query
that everything answers is named in a note. Own sets are JSON lines:

    {{"query": "a dog in the snow", "relevant": ["dog.jpg"]}}
    {{"query": "the goal", "relevant": [{{"media": "match.mp4", "start_s": 61, "end_s": 66}}]}}
    {{"query": "a zebra", "relevant": []}}

### How honest `--own` is

Annotations are indexed as words, so a search for one finds itself. `--own` therefore covers up, in
the media that answer a query, every text that says what is asked word for word, whoever wrote it;
rows of words are made anew without it, in memory, and the library stays as it is. What says the
same in other words is left: two captions of one photo may find each other, as they do for you. By
sight nothing has to be covered up, but what `mmrag learn` learned from these very words is left out
(it says itself what that is worth, on photos that it held out), and there is no `--rerank`: a VLM
would be shown the words. Photos that nobody annotated count as wrong even where they fit, so the
figures are low rather than high; and people annotate what they care for, so they are no figures
about all your photos.

## Weights and confidence, learned

    mmrag tune SET        or --own; --dry-run says what would be learned, --undo takes it back

Each query is asked twice: as it is, and with its answers left out of the library, so that the best
of the rest is known to be wrong. Fusion weights are those of a grid with the best mean reciprocal
rank. Confidence is a logistic regression for each set of channels that found a hit, of four signs:
how far the look of it stands out from how the library's rows score for that query, the same for its
words, how alike words and query are compared with how alike the library's texts are on the whole,
and how many of the query's words it has (rare ones counting for more; all of them being a sign of
its own). A hit is strong from the probability on that {false_strong} % of the queries without an
answer reach. Half of the media teach and the other half judge (by a seed, split by media): what is
not better on the other half, beyond chance, is not kept. `mmrag status` shows what is kept; with
other models it holds no more.

What ships was learned in the same way by `python -m benchmarks defaults`, with `minidual`, on one
half of flickr8k_dev's photos (those whose name has an even CRC-32). No claim on this page is about
queries for these photos. No number was learned elsewhere, but some choices of what to learn were
made with the other data in sight: the method of fusion on coco_train, and which signs confidence
goes by, and from what probability at least (35 %), on coco_train, personal210 and both halves of
flickr8k_dev. Figures about confidence are therefore not quite blind.

| | visual | text | bm25 | strong from |
|---|---|---|---|---|
{weights}
"""

_MISSING = """## What could not be measured, and why

- **The models of the catalogue.** What is measured here is measured with `minidual`, a model of
  22 MB trained on Flickr8k's training photos, which is far from what the catalogue's models do: it
  shows what mmrag adds to a model, not how good a model is. Their weights (0.6 to 4.5 GB) are no
  part of the tests; with one on disk, `mmrag eval` measures it.
- **Confidence with other models.** Signs are made comparable between models, but the coefficients
  were learned with `minidual` and MiniLM alone. `mmrag tune` learns them for yours.
- **Moments in films.** Readers for MSR-VTT, DiDeMo and QVHighlights are tested on files of their
  shape; the films themselves can't be passed on, so no figure of ours stands beside published ones.
- **Captions by a model and reranking by a VLM.** They depend on the VLM alone; nothing here stands
  in for one. `mmrag eval` measures both with yours, with and without.
- **Real libraries.** People's photos and questions are not public. Captions of data sets are longer
  and more exact than what people type, and a photo that fits a caption but isn't its own counts as
  wrong: of the queries "without an answer" some do have one.
"""


def page(kept: Mapping[str, Any]) -> str:
    """The whole page."""
    formats = "\n".join(
        f"| `{form.name}` | {_in_words(type(form).__doc__ or '')} |" for form in FORMATS
    )
    parts = [
        _INTRODUCTION,
        "\n".join(_measured(kept)),
        _YOURS.format(formats=formats, false_strong=round(100 * FALSE_STRONG), weights=_weights()),
        "\n".join(_published()),
        _MISSING,
    ]
    return "\n".join(part.strip("\n") + "\n" for part in parts)


def _in_words(docstring: str) -> str:
    return " ".join(docstring.split()).rstrip(".").replace("``", "`")


def _weights() -> str:
    rows = (
        (_TEXTS["visual"], WEIGHTS, CALIBRATION.strong),
        (_TEXTS["sentence"], WEIGHTS_WITH_SENTENCE_MODEL, CALIBRATION_WITH_SENTENCE_MODEL.strong),
        ("no text channel", WEIGHTS_WITHOUT_TEXT, CALIBRATION.strong),
    )
    return "\n".join(
        f"| {name} | {weights['visual']:g} | {weights.get('text', '-')} | {weights['bm25']:g} "
        f"| {100 * strong:.0f} % |"
        for name, weights, strong in rows
    )


def _measured(kept: Mapping[str, Any]) -> Iterator[str]:
    yield "## Measured here\n"
    yield (
        "Photos with `minidual` as the visual model, the first caption of each as its annotation, "
        "other captions as\nqueries; every photo of the set is in the library. Percent of queries, "
        "with 95 % intervals. flickr8k_dev's\nqueries are about the half of its photos from which "
        "nothing was learned; `minidual` itself was trained on\nother photos of Flickr8k, so "
        "coco_train is the harder and the more honest of the two by sight.\n"
    )
    for name, found in kept.items():
        if isinstance(found, Mapping):
            yield from _set(name, found)


def _set(name: str, found: Mapping[str, Any]) -> Iterator[str]:
    data, text = name.split(", ")
    yield f"### {data}, text channel: {_TEXTS[text]}\n"
    yield f"{found['queries']} queries, {found['photos']} photos.\n"
    yield f"| | {' | '.join(_MEASURES)} | median rank |"
    yield "|---|" + "---|" * (len(_MEASURES) + 1)
    for way, row in found["ways"].items():
        cells = " | ".join(_figure(row["figures"][measure]) for measure in _MEASURES)
        rank = row["median_rank"]
        yield f"| {way} | {cells} | {'not found' if rank is None else f'{rank:g}'} |"
    yield "\nFused against each channel alone, query by query:\n"
    yield "| | R@1 | R@10 | RR |"
    yield "|---|---|---|---|"
    for channel, row in found["fused against"].items():
        cells = " | ".join(_change(row[measure]) for measure in ("R@1", "R@10", "RR"))
        yield f"| {channel} | {cells} |"
    right, wrong, nothing = (f"{100 * share:.0f} %" for share in found["confidence"]["all"])
    seen = [f"{100 * share:.0f} %" for share in found["confidence"]["visual"]]
    yield (
        f"\nThe first hit is called strong in {right} of the queries where it is right, {wrong} "
        f"where another was, and\n{nothing} of those whose answer was taken out of the library. "
        f"By sight alone: {seen[0]}, {seen[1]} and {seen[2]}.\n"
    )


def _figure(numbers: Sequence[float]) -> str:
    value, low, high = (100 * number for number in numbers)
    return f"{value:.1f} ({low:.1f}-{high:.1f})"


def _change(numbers: Sequence[float]) -> str:
    value, low, high = (100 * number for number in numbers[:3])
    p = "p < 0.001" if numbers[3] < 0.001 else f"p = {numbers[3]:.3f}"
    return f"{value:+.1f} ({low:+.1f} to {high:+.1f}), {p}"


def _published() -> Iterator[str]:
    yield "## What the makers of the models publish\n"
    yield (
        "Text-to-image recall at 1 on the 5,000 COCO test photos, zero-shot, in percent. Nobody "
        "here has measured these.\n"
    )
    yield "| model | R@1 | source |"
    yield "|---|---|---|"
    for model in VISUAL_MODELS:
        value = "not known to us" if model.coco_r1 is None else f"{model.coco_r1:g}"
        yield f"| `{model.name}` | {value} | {model.coco_source or '-'} |"
    yield ""
