"""A run: what each way of searching found for each query, and its figures; kept as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from mmrag_plugin.errors import StorageError, UsageError
from mmrag_plugin.evaluation.metrics import MEASURES, MOMENT_MEASURES, Figure
from mmrag_plugin.evaluation.sets import MAX_FILE_BYTES
from mmrag_plugin.media import Confidence

RUN_FORMAT = 1
TOP = 10  # moments of each ranking that are kept
_LEVELS: tuple[Confidence, ...] = get_args(Confidence)


@dataclass(frozen=True)
class Answer:
    """What one way of searching found for one query.

    ``values`` are its measures, none where nothing answers the query. ``rank`` is that of the first
    right media, None where it was not found. ``confidence`` is that of the first hit; None where
    there was no hit at all. ``top`` are the first moments: media id, start and end in seconds.
    """

    values: Mapping[str, float]
    rank: int | None
    confidence: Confidence | None
    top: tuple[tuple[str, float | None, float | None], ...] = ()


@dataclass(frozen=True)
class Result:
    """A query with the answers of each way of searching; ``relevant`` are ids of media."""

    id: str
    text: str
    relevant: tuple[str, ...]
    answers: Mapping[str, Answer]

    @property
    def group(self) -> str:
        """What the query is about: queries of one group are no independent observations."""
        return min(self.relevant, default=self.id)


@dataclass(frozen=True)
class Summary:
    """One way of searching over all queries; ``levels`` counts the confidence of first hits.

    They are counted apart where the first hit was ``right``, where it was ``wrong``, and where
    there was no answer to be found (``nothing``).
    """

    figures: Mapping[str, Figure]
    median_rank: float | None
    levels: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class Run:
    """A measurement; ``about`` says of which library and set, with which models and settings."""

    about: Mapping[str, Any]
    ways: Mapping[str, Summary]
    results: tuple[Result, ...]
    warnings: tuple[str, ...] = field(default=())

    def as_dict(self) -> dict[str, Any]:
        """The JSON of ``mmrag eval --json``."""
        return {
            "format": RUN_FORMAT,
            "about": dict(self.about),
            "ways": {
                name: {
                    "figures": {
                        measure: [figure.value, figure.low, figure.high]
                        for measure, figure in way.figures.items()
                    },
                    "median_rank": way.median_rank,
                    "confidence": {group: dict(levels) for group, levels in way.levels.items()},
                }
                for name, way in self.ways.items()
            },
            "queries": [
                {
                    "id": result.id,
                    "query": result.text,
                    "relevant": list(result.relevant),
                    "answers": {
                        name: {
                            "values": dict(answer.values),
                            "rank": answer.rank,
                            "confidence": answer.confidence,
                            "top": [list(moment) for moment in answer.top],
                        }
                        for name, answer in result.answers.items()
                    },
                }
                for result in self.results
            ],
            "warnings": list(self.warnings),
        }


def check_new(path: Path) -> None:
    """Raise UsageError where no new file can be, before anything is measured for it."""
    if path.exists():
        raise UsageError(f"{path} exists already.", "Name a new file.")
    if not path.parent.is_dir():
        raise UsageError(f"There is no folder {path.parent}.", "Name a file in one that is there.")


def write_run(run: Run, path: Path) -> None:
    """Keep a run in a new file. Raises UsageError where one is there, StorageError."""
    try:
        with path.open("x", encoding="utf-8") as file:
            json.dump(run.as_dict(), file, ensure_ascii=False)
            file.write("\n")
    except FileExistsError:
        raise UsageError(f"{path} exists already.", "Name a new file.") from None
    except OSError as error:
        raise StorageError(
            f"{path} can't be written: {error.strerror or error}.", "Name another place."
        ) from error


def read_run(path: Path) -> Run:
    """Read a run that was kept. Raises UsageError for a file that is none, StorageError."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise UsageError(f"{path} is larger than any run.", "Name a file of mmrag eval.")
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["format"] != RUN_FORMAT:
            raise UsageError(f"{path} is of format {kept['format']!r}.", "Upgrade mmrag.")
        return _run_of(kept)
    except OSError as error:
        raise StorageError(f"{path} can't be read: {error.strerror or error}.") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UsageError(
            f"{path} is no run of mmrag eval.", "Make one: mmrag eval SET --json > FILE"
        ) from None


def _run_of(kept: dict[str, Any]) -> Run:
    """Build a run of its JSON; what is not as it should be raises one of Python's own errors."""
    ways = {
        str(name): Summary(
            {
                str(measure): Figure(*(float(number) for number in numbers))
                for measure, numbers in way["figures"].items()
            },
            None if way["median_rank"] is None else float(way["median_rank"]),
            {
                str(group): {str(level): int(count) for level, count in levels.items()}
                for group, levels in way["confidence"].items()
            },
        )
        for name, way in kept["ways"].items()
    }
    results = tuple(
        Result(
            _text(query["id"]),
            _text(query["query"]),
            tuple(map(_text, query["relevant"])),
            {str(name): _answer_of(answer) for name, answer in query["answers"].items()},
        )
        for query in kept["queries"]
    )
    return Run(dict(kept["about"]), ways, results, tuple(map(_text, kept["warnings"])))


def _answer_of(kept: dict[str, Any]) -> Answer:
    known = (*MEASURES, *MOMENT_MEASURES)
    values = {name: float(kept["values"][name]) for name in known if name in kept["values"]}
    if not all(0 <= value <= 1 for value in values.values()):
        raise ValueError("a measure lies between 0 and 1")
    rank, confidence = kept["rank"], kept["confidence"]
    if confidence is not None and confidence not in _LEVELS:
        raise ValueError("that is no confidence")
    top = tuple((_text(media), _time(start), _time(end)) for media, start, end in kept["top"])
    return Answer(values, None if rank is None else int(rank), confidence, top)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("that is no text")
    return value


def _time(value: Any) -> float | None:
    return None if value is None else float(value)


def common_ways(runs: Sequence[Run]) -> list[str]:
    """The ways of searching that all of some runs have, in the order of the first."""
    return [name for name in runs[0].ways if all(name in run.ways for run in runs[1:])]
