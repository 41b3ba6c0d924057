"""Indexing that an assistant asks for: one folder, inside those that the person allows."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mmrag_plugin.errors import UsageError
from mmrag_plugin.index_report import Progress
from mmrag_plugin.walking import expand, real_path

if TYPE_CHECKING:
    from mmrag_plugin.index_report import IndexReport
    from mmrag_plugin.ledger_hiding import HidingRule
    from mmrag_plugin.library import MediaLibrary
    from mmrag_plugin.media import Stage


def index_for(
    assistants: MediaLibrary,
    folder: str,
    allowed: Sequence[Path] = (),
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> IndexReport:
    """Index a folder of the library, or of those that are ``allowed``, and report what may be seen.

    The folder is named by its path or as ``Photos/2019``, by the name of a folder of the library.
    Links are resolved before it is held against the folders, so none leads out of them. What is
    hidden from assistants is indexed with the rest, and told of in no number and no line; what the
    person took out of the library stays out. Raises UsageError, in the same words, for any other
    folder and for one that is not there; and what ``index`` raises.
    """
    place = _place(assistants, folder, allowed)
    ledger = assistants.whole.ledger
    rules, left_out = ledger.hiding_rules(), ledger.left_out()
    before = _seen(assistants) if rules else set()
    if progress is not None and rules:
        progress = _Uncounted(progress)
    report = assistants.whole.index([place], progress, stop)
    if rules:
        _tell_less(assistants, report, rules, before)
    private = [*left_out, *(name for rule in rules for name in (rule.target, rule.name))]
    report.warnings = [
        warning for warning in report.warnings if not any(name in warning for name in private)
    ]
    return report


class _Uncounted(Progress):
    """Tells which stage is at work, and not with how many media, for hidden ones are among them."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def begin(self, stage: Stage, total: int) -> None:
        self._progress.begin(stage, 0)

    def waiting(self, text: str) -> None:
        self._progress.waiting(text)

    def end(self, stage: Stage) -> None:
        self._progress.end(stage)


def _place(assistants: MediaLibrary, folder: str, allowed: Sequence[Path]) -> Path:
    roots = [Path(root) for root in assistants.ledger.roots()]
    open_places = [*roots, *(Path(real_path(path)) for path in allowed)]
    named = _named(folder, open_places)
    place = Path(real_path(named)) if named is not None else None
    ledger = assistants.whole.ledger
    away = [rule.target for rule in ledger.hiding_rules() if rule.kind == "folder"]
    away += ledger.left_out()
    if (
        place is None
        or not any(place.is_relative_to(root) for root in open_places)
        or any(place.is_relative_to(path) for path in away)
        or not place.is_dir()
    ):
        names = ", ".join(sorted({root.name for root in open_places})) or "none"
        raise UsageError(
            f"The folder {folder[:200]!r} may not be indexed, or is no folder.",
            f"Only these and what lies inside may be: {names}. Check the path, or mount the drive. "
            "The person can allow other folders when the server is started: --root FOLDER.",
        )
    return place


def _named(folder: str, places: Iterable[Path]) -> Path | None:
    """The path that is meant; None for a name that no folder begins with."""
    if "\x00" in folder or not folder.strip():
        return None
    path = expand(folder)
    if path.is_absolute():
        return path
    first, _, rest = folder.strip("/").partition("/")
    named = [place for place in places if place.name == first]
    return Path(os.path.normpath(named[0] / rest)) if len(set(named)) == 1 else None


def _seen(assistants: MediaLibrary) -> set[str]:
    return {media_id for media_id, _ in assistants.ledger.media_passing(None)}


def _tell_less(
    assistants: MediaLibrary, report: IndexReport, rules: Sequence[HidingRule], before: set[str]
) -> None:
    """Leave out of a report what is about hidden media."""
    after = _seen(assistants)
    report.added, report.removed = len(after - before), len(before - after)
    report.updated = report.moved = 0
    report.unchanged = len(after & before)
    hidden = assistants.whole.ledger.hidden_media_ids()
    known = assistants.whole.ledger.known_files(problem.path for problem in report.failed)
    away = [Path(rule.target) for rule in rules if rule.kind == "folder"]

    def may_be_told(path: str) -> bool:
        inside = any(Path(path).is_relative_to(folder) for folder in away)
        return not inside and (path not in known or known[path].media_id not in hidden)

    report.failed = [problem for problem in report.failed if may_be_told(problem.path)]
    report.failed_before = [p for p in report.failed_before if may_be_told(p.path)]
    report.stages = {}  # how much each did counts hidden media, too
