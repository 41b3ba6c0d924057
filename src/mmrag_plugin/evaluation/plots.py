"""Draw a run: recall by depth for each way of searching, with intervals. Needs the extra [eval]."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mmrag_plugin.errors import MissingExtra, StorageError, UsageError
from mmrag_plugin.evaluation.metrics import CUTS
from mmrag_plugin.evaluation.runs import check_new

if TYPE_CHECKING:
    from mmrag_plugin.evaluation.runs import Run

SUFFIXES = (".png", ".svg")
DEEPEST = 50
_SIZE_INCHES = (11.0, 4.5)
_DOTS_PER_INCH = 110


def check_target(path: Path) -> None:
    """Raise before anything is measured what would keep a plot from being written."""
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{path} is neither .png nor .svg.", "Name such a file.")
    check_new(path)
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingExtra(
            "Plots are drawn by matplotlib, which is not installed.",
            "pip install 'mmrag-plugin[eval]'",
        ) from error


def draw(run: Run, path: Path) -> None:
    """Draw recall at 1, 5 and 10 with intervals, and recall by depth. Raises StorageError."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    canvas = Figure(figsize=_SIZE_INCHES, layout="constrained")
    FigureCanvasAgg(canvas)  # no window, whatever the machine has
    bars, curves = canvas.subplots(1, 2)
    measures = [f"R@{k}" for k in CUTS]
    width = 0.8 / max(len(run.ways), 1)
    for number, (name, way) in enumerate(run.ways.items()):
        figures = [way.figures[measure] for measure in measures]
        values = [100 * figure.value for figure in figures]
        errors = [
            [100 * (figure.value - figure.low) for figure in figures],
            [100 * (figure.high - figure.value) for figure in figures],
        ]
        places = [place + number * width for place in range(len(measures))]
        bars.bar(places, values, width, yerr=errors, label=_plain(name), capsize=2)
        ranks = [result.answers[name].rank for result in run.results if result.relevant]
        depths = range(1, DEEPEST + 1)
        found = [sum(r is not None and r <= depth for r in ranks) for depth in depths]
        curves.plot(depths, [100 * count / max(len(ranks), 1) for count in found])
    bars.set_xticks([place + 0.4 - width / 2 for place in range(len(measures))], measures)
    bars.set_ylabel("percent of queries")
    bars.legend(fontsize="small")
    curves.set_xlabel("first so many hits")
    curves.set_xscale("log")
    for axes in (bars, curves):
        axes.set_ylim(0, 100)
        axes.grid(alpha=0.3)
    canvas.suptitle(_plain(f"{run.about['set']['name']}: {run.about['set']['answered']} queries"))
    try:
        with path.open("xb") as file:
            canvas.savefig(file, format=path.suffix[1:].lower(), dpi=_DOTS_PER_INCH)
    except OSError as error:
        raise StorageError(
            f"{path} can't be written: {error.strerror or error}.", "Name another place."
        ) from error


def _plain(text: str) -> str:
    """Text in which nothing is a formula."""
    return text.replace("$", r"\$")
