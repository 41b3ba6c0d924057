"""The plots of docs/performance.md: small SVGs that can be read on light and dark pages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

RATIOS, GROWTH = "performance-ratios.svg", "performance-growth.svg"
_INK, _GOOD, _OVER, _PLAIN = "#808080", "#2e9e62", "#d9822b", "#4a90d9"
_LINES = ("#4a90d9", "#2e9e62", "#d9822b", "#a56cc1", "#c94f6d", "#7a8b2f")


def draw(kept: Mapping[str, Any], folder: Path) -> None:
    """Draw what was measured."""
    from benchmarks._performance_page import figures_of

    figures = [figure for _, figure in figures_of(kept) if figure.goal is not None]
    if figures:
        _draw_ratios(figures, folder / RATIOS)
    searches = {
        name: kept["parts"][name]["result"]["results"]
        for name in ("search-lite", "search-server", "search-million")
        if "results" in kept["parts"].get(name, {}).get("result", {})
    }
    if searches:
        _draw_growth(searches, folder / GROWTH)


def _canvas(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib import rcParams
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    rcParams["svg.fonttype"], rcParams["svg.hashsalt"] = "none", "mmrag"
    canvas = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(canvas)
    axes = canvas.subplots()
    axes.patch.set_alpha(0)
    axes.tick_params(colors=_INK, labelsize=8)
    for spine in axes.spines.values():
        spine.set_color(_INK)
        spine.set_alpha(0.4)
    axes.grid(alpha=0.25, color=_INK)
    axes.set_axisbelow(True)
    return canvas, axes


def _save(canvas: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.savefig(path, format="svg", transparent=True, metadata={"Date": None})


def _draw_ratios(figures: Any, path: Path) -> None:
    """A bar for each ratio, as long as its share of the goal."""
    canvas, axes = _canvas(7.5, 0.6 + 0.32 * len(figures))
    for place, figure in enumerate(reversed(figures)):
        share = figure.ratio / figure.goal
        axes.barh(place, share, 0.55, color=_GOOD if figure.meets == "yes" else _OVER)
        axes.text(0.02, place, f"{figure.ratio:.2f}", va="center", color="white", fontsize=8)
        axes.text(1.3, place, figure.bound, va="center", ha="right", color=_INK, fontsize=8)
    axes.axvline(1, color=_INK, linewidth=2)
    axes.set_xlim(0, 1.32)
    axes.set_yticks(range(len(figures)), [figure.what for figure in reversed(figures)])
    axes.set_xlabel("of the goal", color=_INK, fontsize=8)
    _save(canvas, path)


def _draw_growth(searches: Mapping[str, Any], path: Path) -> None:
    """Medians by the number of frames, of each channel and each kind of Milvus."""
    canvas, axes = _canvas(7.5, 3.6)
    styles = {"search-lite": ("Lite", "--"), "search-server": ("server", "-")}
    styles["search-million"] = ("server, minidual", ":")
    for part, results in searches.items():
        kind, style = styles[part]
        for name in results[0]["p50_ms"]:
            if name == "encoding":
                continue
            order = ["bare search", "visual", "text", "bm25", "all"].index(name)
            axes.plot(
                [found["rows"] for found in results],
                [found["p50_ms"][name] for found in results],
                style,
                marker="o",
                markersize=4,
                color=_LINES[order],
                label=f"{name}, {kind}",
            )
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:,.0f}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.tick_params(which="minor", colors=_INK, labelsize=7)
    axes.set_xlabel("frames", color=_INK, fontsize=8)
    axes.set_ylabel("median, ms", color=_INK, fontsize=8)
    legend = axes.legend(fontsize=7, framealpha=0, ncols=2, labelcolor=_INK)
    legend.get_frame().set_linewidth(0)
    _save(canvas, path)
