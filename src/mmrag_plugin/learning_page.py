"""A page about one round of learning: its curves, and searches that changed, with pictures.

One file without scripts, that loads nothing. Texts of annotations and names are escaped.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mmrag_plugin.errors import MmragError
from mmrag_plugin.learning import LOOK_EVERY, Lesson

if TYPE_CHECKING:
    from mmrag_plugin.learned_query import LearnedQuery, Rows
    from mmrag_plugin.learning_trial import Change, Fold, Trial
    from mmrag_plugin.milvus_store import MediaVectorStore

Thumbnail = Callable[..., bytes]

BETTER, WORSE, SHOWN = 8, 4, 5  # searches that gained and lost most, and hits of each
THUMBNAIL_PX = 160
_WIDTH, _HEIGHT = 420, 160
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
  color: CanvasText; background: Canvas; color-scheme: light dark; }
h1, h2 { line-height: 1.2; } table { border-collapse: collapse; }
td, th { padding: .2rem .8rem .2rem 0; text-align: left; vertical-align: top; }
td.figure { text-align: right; font-variant-numeric: tabular-nums; }
img { height: 96px; max-width: 160px; object-fit: cover; margin-right: 4px; border-radius: 3px; }
svg { max-width: 100%; } polyline { fill: none; stroke: currentColor; stroke-width: 2; }
"""


@dataclass(frozen=True)
class Example:
    """A search before and after: its held-out ranks, and JPEGs of what the library shows first."""

    text: str
    rank_before: int
    rank_after: int
    before: Sequence[bytes]
    after: Sequence[bytes]


def examples_of(
    lesson: Lesson,
    query: LearnedQuery,
    trial: Trial,
    folds: Sequence[Fold],
    frames: MediaVectorStore,
    thumbnail: Thumbnail,
) -> list[Example]:
    """The searches whose held-out rank changed most, to better and to worse."""
    look = trial.steps // LOOK_EVERY
    afters = [fold.after[min(look, len(fold.after) - 1)] for fold in folds]
    place = {text: index for index, text in enumerate(lesson.texts)}
    shown = []
    for example in changed_of(folds, afters):
        vector = lesson.text_vectors[place[example.text]]
        before, after = (
            _pictures(frames, row, thumbnail)
            for row in (vector, query(vector[None], [example.text])[0])
        )
        shown.append(replace(example, before=before, after=after))
    return shown


def changed_of(folds: Sequence[Fold], afters: Sequence[Sequence[int]]) -> list[Example]:
    """The searches whose rank changed most, by the ranks after learning; without pictures."""
    changed: dict[str, tuple[int, int]] = {}
    for fold, after in zip(folds, afters, strict=True):
        for text, *pair in zip(fold.texts, fold.before, after, strict=True):
            if pair[0] != pair[1]:
                changed.setdefault(text, (pair[0], pair[1]))
    order = sorted(changed, key=lambda text: 1 / changed[text][0] - 1 / changed[text][1])
    better = [text for text in order if changed[text][1] < changed[text][0]][:BETTER]
    worse = [text for text in order if changed[text][1] > changed[text][0]][-WORSE:]
    return [Example(text, *changed[text], (), ()) for text in better + worse]


def _pictures(frames: MediaVectorStore, vector: Rows, thumbnail: Thumbnail) -> list[bytes]:
    found: list[bytes] = []
    rows = {row.media_id: row for row in reversed(frames.search_dense(vector, 4 * SHOWN))}
    for row in sorted(rows.values(), key=lambda row: -row.score)[:SHOWN]:
        try:
            found.append(thumbnail(row.media_id, row.start_s, long_side_px=THUMBNAIL_PX))
        except (MmragError, OSError):  # gone, or it can't be decoded now
            continue
    return found


def page_of(trial: Trial, examples: Sequence[Example]) -> str:
    """The whole page as HTML."""
    verdict = (
        "Held-out searches got better, so it is adopted unless it was only tried."
        if trial.adopted
        else "Nothing was adopted: " + "; ".join(trial.reasons) + "."
    )
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">",
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>What mmrag learned</title><style>{_STYLE}</style></head><body>",
        f"<h1>What mmrag learned</h1><p>{html.escape(verdict)}</p>",
        _table(trial),
        "<h2>While it learned</h2>",
        _curve("Held-out loss", [(line[0], line[2]) for line in trial.curve]),
        _curve(
            "Held-out mean reciprocal rank",
            [(line[0], line[3]) for line in trial.curve if line[3] is not None],
        ),
        f"<p>{trial.steps} steps were taken: there the held-out loss was least.</p>",
        "<h2>Searches that changed most</h2>",
        "<p>Ranks are those of the first right photo among photos that were held out; the pictures "
        "are what the whole library shows first, by looks alone, without and with what was "
        "learned from all annotations.</p>",
        *(_example(example) for example in examples),
        "" if examples else "<p>None.</p>",
        "</body></html>\n",
    ]
    return "\n".join(parts)


def _table(trial: Trial) -> str:
    named = {
        "all held-out searches": trial.all,
        "for texts that other photos have, too": trial.own,
        "that only share words with them": trial.near,
    }
    rows = [
        f"<tr><th>{label}</th><td>{measure}</td>{_figures(change)}</tr>"
        for label, changes in named.items()
        for measure, change in changes.items()
    ]
    return (
        f"<p>{trial.queries} searches, each for photos that were held out while it learned. "
        f"General searches kept {trial.kept:.0%} of what they found first.</p>"
        "<table><tr><th>searches</th><th></th><th>before</th><th>after</th>"
        f"<th>99 % interval of the difference</th></tr>{''.join(rows)}</table>"
    )


def _figures(change: Change) -> str:
    shown = (
        f"{change.before:.3f}",
        f"{change.after:.3f}",
        f"{change.low:+.3f} to {change.high:+.3f}",
    )
    return "".join(f'<td class="figure">{figure}</td>' for figure in shown)


def _curve(label: str, points: Sequence[tuple[float, float]]) -> str:
    if not points:
        return ""
    x, y = (np.array(values, dtype=float) for values in zip(*points, strict=True))
    low, high = float(y.min()), float(y.max())
    across = 10 + (x - x.min()) / max(float(np.ptp(x)), 1.0) * (_WIDTH - 20)
    down = _HEIGHT - 10 - (y - low) / max(high - low, 1e-9) * (_HEIGHT - 20)
    line = " ".join(f"{left:.1f},{top:.1f}" for left, top in zip(across, down, strict=True))
    said = f"{label}, from {y[0]:.3f} at step {x[0]:.0f} to {y[-1]:.3f} at step {x[-1]:.0f}"
    return (
        f'<figure><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" role="img" '
        f'aria-label="{said}"><polyline points="{line}"/></svg><figcaption>{said}; '
        f"lowest {low:.3f}, highest {high:.3f}</figcaption></figure>"
    )


def _example(example: Example) -> str:
    def row(label: str, rank: int, jpegs: Sequence[bytes]) -> str:
        pictures = "".join(
            f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}">'
            for jpeg in jpegs
        )
        return f"<tr><th>{label}</th><td>rank {rank}</td><td>{pictures}</td></tr>"

    return (
        f"<h3>{html.escape(example.text)}</h3><table>"
        f"{row('before', example.rank_before, example.before)}"
        f"{row('after', example.rank_after, example.after)}</table>"
    )
