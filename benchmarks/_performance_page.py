"""docs/performance.md: the words of the page, around the figures that were measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks._performance_plots import GROWTH, RATIOS

Result = Mapping[str, Any]

_INTRODUCTION = """# How fast it is

This page is made by one command, `python -m benchmarks performance --measure --write`. What counts
is a ratio: what mmrag takes, beside what the work can't do without, by turns in one run, so that it
means much the same on another machine. Milliseconds are this machine's.
`python -m benchmarks performance --write` writes the page anew from what is kept in
`benchmarks/performance.json`; `--only NAME` measures one part again, and `--long` also what takes
over ten minutes.
"""


@dataclass(frozen=True)
class Figure:
    """One line of a table: a ratio with its goal, if there is one, and the times behind it.

    ``at_most`` says whether the goal is a bound from above (or from below).
    """

    what: str
    ratio: float
    goal: float | None = None
    at_most: bool = True
    behind: str = ""

    @property
    def bound(self) -> str:
        """The goal in words, if there is one."""
        if self.goal is None:
            return ""
        return f"{'at most' if self.at_most else 'at least'} {self.goal:g}"

    @property
    def meets(self) -> str:
        """Whether the goal is met, in a word."""
        if self.goal is None:
            return ""
        good = self.ratio <= self.goal if self.at_most else self.ratio >= self.goal
        return "yes" if good else "no"


@dataclass(frozen=True)
class Chapter:
    """What one part of the page says."""

    title: str
    about: str
    figures: Callable[[Result], Iterator[Figure]]
    more: Callable[[Result], Iterator[str]] | None = None


def page(kept: Mapping[str, Any], names: Sequence[str]) -> str:
    """The whole page; parts in the order of their names."""
    parts: Mapping[str, Any] = kept.get("parts", {})
    blocks = [_INTRODUCTION.strip("\n"), *_machine(kept.get("machine"))]
    if any("result" in part for part in parts.values()):
        blocks.append(f"![Ratios and their goals](images/{RATIOS})")
    for name in names:
        chapter = CHAPTERS.get(name) or Chapter(name, "", lambda result: iter(()))
        blocks.append(f"## {chapter.title}")
        if chapter.about:
            blocks.append(chapter.about)
        blocks += _part(chapter, parts.get(name))
        if name == "search-million" and any(
            "result" in parts.get(other, {}) for other in ("search-lite", "search-server")
        ):
            blocks.append(f"![Search by the number of frames](images/{GROWTH})")
    return "\n\n".join(blocks) + "\n"


def figures_of(kept: Mapping[str, Any]) -> Iterator[tuple[str, Figure]]:
    """All figures that were measured, each with the name of its part."""
    for name, part in kept.get("parts", {}).items():
        if name in CHAPTERS and "result" in part:
            yield from ((name, figure) for figure in _safely(CHAPTERS[name], part["result"])[0])


def _machine(machine: Mapping[str, Any] | None) -> Iterator[str]:
    if machine is None:
        return
    yield "## The machine"
    memory = f", {machine['memory_gb']} GB of memory" if "memory_gb" in machine else ""
    yield (
        f"{machine['processor']}, {machine['cores']} cores{memory}; {machine['system']}, "
        f"Python {machine['python']}."
    )
    programs = machine.get("programs", {})
    yield ", ".join(f"{name} {version}" for name, version in programs.items()) + "."


def _part(chapter: Chapter, part: Mapping[str, Any] | None) -> Iterator[str]:
    if part is None:
        yield "Not measured yet."
        return
    said = f"`{part['command']}`, {part['day']}"
    if "took_s" in part:
        said += f", {part['took_s']} s"
    if part.get("busy") is not None:
        said += f"; {part['busy']:g} programs wanted a core in the minute before"
    yield f"{said}."
    if "failed" in part:
        yield f"It could not be measured: {_plain(part['failed'])}."
        return
    figures, blocks = _safely(chapter, part["result"])
    if figures:
        yield _table(figures)
    yield from blocks or ([] if figures else [_as_it_came(part["result"])])


def _safely(chapter: Chapter, result: Result) -> tuple[list[Figure], list[str]]:
    """The figures of a part, and what else is said; nothing if it prints no more what it did."""
    try:
        more = [] if chapter.more is None else list(chapter.more(result))
        return list(chapter.figures(result)), more
    except (AttributeError, KeyError, TypeError, IndexError, ValueError):
        return [], []


def _table(figures: Sequence[Figure]) -> str:
    lines = ["| what | ratio | goal | met | |", "|---|---|---|---|---|"]
    for figure in figures:
        cells = (figure.what, f"{figure.ratio:.2f}", figure.bound, figure.meets, figure.behind)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _as_it_came(result: Result) -> str:
    lines = ["| figure | |", "|---|---|"]
    lines += [f"| {_plain(name)} | {_plain(value)} |" for name, value in _leaves(result)]
    return "\n".join(lines)


def _leaves(found: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """All single values of nested ones, named by the way to them."""
    if isinstance(found, Mapping):
        for key, value in found.items():
            yield from _leaves(value, f"{name}, {key}" if name else str(key))
    elif isinstance(found, (list, tuple)) and any(isinstance(one, (dict, list)) for one in found):
        for number, value in enumerate(found, 1):
            yield from _leaves(value, f"{name} {number}")
    else:
        yield name, f"{found:.4g}" if isinstance(found, float) else str(found)


def _plain(text: str) -> str:
    return " ".join(str(text).split()).replace("|", "/").replace("`", "'")


# ---- what each part prints ------------------------------------------------------------------


def _search(result: Result) -> Iterator[Figure]:
    for found in result["results"]:
        p50, size = found["p50_ms"], f"{found['rows']:,} frames"
        encoding, bare = p50["encoding"], p50["bare search"]
        yield Figure(
            f"visual channel, {size}",
            found["visual_ratio"],
            1.3,
            behind=f"{p50['visual']:.1f} ms beside {encoding:.1f} for encoding the words and "
            f"{bare:.1f} for a bare search",
        )
        channels = [name for name in ("visual", "text", "bm25") if name in p50]
        each = ", ".join(f"{name} {p50[name]:.1f}" for name in channels)
        yield Figure(
            f"all channels beside the slowest, {size}",
            found["all_ratio"],
            1.5,
            behind=f"{p50['all']:.1f} ms beside {each}",
        )


def _search_more(result: Result) -> Iterator[str]:
    lines = ["| median, ms | " + " | ".join(result["results"][0]["p50_ms"]) + " |"]
    lines.append("|---|" + "---|" * len(result["results"][0]["p50_ms"]))
    for found in result["results"]:
        cells = " | ".join(f"{value:.1f}" for value in found["p50_ms"].values())
        lines.append(f"| {found['rows']:,} frames | {cells} |")
    for step in result["growth"]:
        names = result["results"][0]["p50_ms"]
        cells = " | ".join(f"x{step[name]:g}" for name in names)
        times = step["to"] / step["from"]
        lines.append(f"| {times:g} times as many | {cells} |")
    yield "\n".join(lines)
    sizes = ", ".join(
        f"{found['rows']:,} frames with {found['words_rows']:,} rows of words in "
        f"{sum(found['made_in'].values()):.0f} s"
        for found in result["results"]
    )
    first = result["results"][0]
    model = {
        "clip": "a text tower of CLIP ViT-B/32's size with random weights",
        "minidual": "minidual, a text tower of 8 MB",
    }.get(result["model"], result["model"])
    yield (
        f"Words were encoded by {model} ({first['dim']} numbers); Milvus {first['milvus']}. "
        f"The library was made straight into ledger and Milvus: {sizes}."
    )


def _start(result: Result) -> Iterator[Figure]:
    figures = result["figures"]
    yield Figure(
        "`mmrag --help` beside an empty typer application",
        result["help_ratio"],
        1.3,
        behind=f"{figures['mmrag --help']['least_ms']} ms beside "
        f"{figures['empty typer --help']['least_ms']}, with {result['commands']} commands each",
    )


def _start_more(result: Result) -> Iterator[str]:
    lines = ["| ms | least | median | processor |", "|---|---|---|---|"]
    for name, found in result["figures"].items():
        cells = f"{found['least_ms']} | {found['median_ms']} | {found['processor_ms']}"
        lines.append(f"| {_plain(name)} | {cells} |")
    yield "\n".join(lines)
    yield (
        f"The library has {result['media']:,} media; the model is {_plain(result['model'])}. "
        f"{result['runs']} runs of each."
    )


def _many_machines(result: Result) -> Iterator[Figure]:
    yield Figure(
        "photos a second on two nodes of this machine, beside one process",
        result["ratio"],
        behind=f"{result['photos']} photos; joining the cluster took {result['joined_s']:.1f} s",
    )


def _recall_more(result: Result) -> Iterator[str]:
    rows = result["results"]
    names = [name for name in rows[0] if name != "vectors"]
    lines = ["| vectors | " + " | ".join(name.replace("_", " ") for name in names) + " |"]
    lines.append("|---" * (len(names) + 1) + "|")
    for row in rows:
        cells = " | ".join(f"{row[name]:.4g}" for name in names)
        lines.append(f"| {_plain(row['vectors'])} | {cells} |")
    yield "\n".join(lines)


def _mcp_start(result: Result) -> Iterator[Figure]:
    for era, found in result.items():
        if isinstance(found, Mapping):
            behind = f"{found['mmrag_ms']} ms beside {found['empty_ms']} for an empty server"
            yield Figure(
                f"to the answered tool list, protocol {era}", found["mmrag_ratio"], behind=behind
            )


def _scan(result: Result) -> Iterator[Figure]:
    scanned = 1000 * result["ways"]["scan"]["busy_s"]
    for name, found in result["ways"].items():
        if name != "scan":
            yield Figure(
                f"nothing changed, {result['files']:,} files: scan beside {name}",
                found["ratio"],
                3.5,
                behind=f"{scanned:.0f} ms beside {1000 * found['busy_s']:.0f}, processor time",
            )


def _index(result: Result) -> Iterator[Figure]:
    rates = result["rates"]
    yield Figure(
        f"{result['photos']} photos of 12 megapixels: of what decoding and model would reach",
        result["of_together"],
        0.85,
        at_most=False,
        behind=f"{rates['mmrag']:.1f} photos/s beside {rates['together']:.1f} (decoding "
        f"{rates['decode']:.1f}, model {rates['model']:.1f}), {result['dtype']}",
    )
    yield Figure(
        "times as fast as LlamaIndex's MultiModalVectorStoreIndex",
        result["times_stock"],
        8,
        at_most=False,
        behind=f"which does {rates['stock']:.2f} photos/s",
    )


def _memory(result: Result) -> Iterator[Figure]:
    (few, many), (few_mb, many_mb) = result["photos"], result["peak_mb"]
    yield Figure(
        f"peak memory of all processes, {many} photos beside {few}",
        1 + result["growth"],
        1.1,
        behind=f"{many_mb:.0f} MB beside {few_mb:.0f}",
    )


def _tracing(result: Result) -> Iterator[Figure]:
    modes = {"profile": "with a profile", "otel": "with OpenTelemetry", "both": "with both"}
    for work in ("search", "index"):
        found = result[work]["modes"]
        for mode, said in modes.items():
            yield Figure(
                f"{work} {said}, beside nobody listening",
                found[mode]["p50_ratio"],
                behind=f"{found[mode]['p50_ms']:.1f} ms beside {found['nobody']['p50_ms']:.1f}; "
                f"processor time {found[mode]['processor_p50_ratio']:.2f} times",
            )


def _models_more(result: Result) -> Iterator[str]:
    rows = result["rows"]
    names = [name for name in rows[0] if any(row[name] is not None for row in rows)]
    lines = [
        "| " + " | ".join(name.replace("_", " ") for name in names) + " |",
        "|---" * len(names) + "|",
    ]
    for row in rows:
        cells = (
            f"{row[name]:.4g}" if isinstance(row[name], float) else _plain(row[name] or "-")
            for name in names
        )
        lines.append("| " + " | ".join(cells) + " |")
    yield "\n".join(lines)


def _nothing(_result: Result) -> Iterator[Figure]:
    return iter(())


_SEARCH_ABOUT = (
    "A warm search by the library's Searcher, a new query each time, beside encoding the query and "
    "one bare search of pymilvus with the same parameters, limit (200 rows) and fields."
)
CHAPTERS: Mapping[str, Chapter] = {
    "start": Chapter("Cold start", "Commands in new processes.", _start, _start_more),
    "mcp-start": Chapter(
        "Start of mmrag-mcp", "Beside an empty server of the same SDK.", _mcp_start
    ),
    "search-lite": Chapter("Search, embedded Milvus", _SEARCH_ABOUT, _search, _search_more),
    "search-server": Chapter(
        "Search, Milvus server",
        f"{_SEARCH_ABOUT} The server is the PyPI package `milvus`, which knows no words (BM25).",
        _search,
        _search_more,
    ),
    "search-million": Chapter(
        "Search, a million frames", "As before, on the same server.", _search, _search_more
    ),
    "index": Chapter(
        "Indexing photos",
        "`mmrag index` of JPEGs of 12 megapixels, beside bare decoding to the same scale and the "
        "bare model (ViT-B/32's size, random weights) on the same cores.",
        _index,
    ),
    "memory": Chapter("Memory while indexing", "Of ten times as many photos.", _memory),
    "models": Chapter("Models", "In each number format and runtime.", _nothing, _models_more),
    "scan": Chapter(
        "Nothing changed",
        "What a scan takes, beside a bare walk over the same files.",
        _scan,
    ),
    "facets": Chapter("Counting and paging", "Answered by the ledger alone, in ms.", _nothing),
    "tracing": Chapter("Being listened to", "What spans and profiles cost.", _tracing),
    "many-machines": Chapter("Indexing on several machines", "On one, with Ray.", _many_machines),
    "milvus-recall": Chapter(
        "Recall of the embedded Milvus", "Beside exact search.", _nothing, _recall_more
    ),
}
