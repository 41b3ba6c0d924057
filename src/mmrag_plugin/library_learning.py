"""What a library learned from the person's annotations: its versions, and which one is in use."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrag_plugin.errors import MmragError, ModelError, NotFound, StorageError, UsageError
from mmrag_plugin.ledger import Ledger
from mmrag_plugin.settings import LEARNED_FOLDER

if TYPE_CHECKING:
    from mmrag_plugin.embeddings.base import VisualEmbedding
    from mmrag_plugin.learned_query import LearnedQuery
    from mmrag_plugin.learning import Lesson
    from mmrag_plugin.learning_trial import Fold, Trial
    from mmrag_plugin.library_models import LibraryModels
    from mmrag_plugin.milvus_store import MediaVectorStore

ORIGINAL = "original"  # the model as it came, with nothing learned
UNFINISHED = ".unfinished.json"
_VERSION = re.compile(r"v[1-9]\d*")
Heard = Callable[[int, int], None]  # how many parts of how many are done


@dataclass(frozen=True)
class Learned:
    """What learning gave: a version, if it is kept, and what was tried.

    ``in_use`` is whether searches ask with it now. ``page`` shows the curves, and searches that
    changed.
    """

    version: str | None
    in_use: bool
    media: int
    texts: int
    trial: Trial
    warnings: list[str] = field(default_factory=list)
    page: Path | None = None

    def as_dict(self) -> dict[str, Any]:
        """The shape that ``--json`` prints."""
        page = str(self.page) if self.page else None
        return {**vars(self), "trial": self.trial.as_dict(), "page": page}


class LibraryLearning:
    """The part of a library that learns. The ledger says what is in use, files hold the rest."""

    ledger: Ledger
    models: LibraryModels
    directory: Path
    whole: Any

    def stores(self) -> dict[str, MediaVectorStore]:
        """The collections in use; the library knows."""
        raise NotImplementedError

    def learn(
        self, *, seed: int = 0, dry_run: bool = False, heard: Heard = lambda done, total: None
    ) -> Learned:
        """Learn the person's own words from their annotations, and adopt it if searches get better.

        Held-out photos are searched before and after; without a sure gain the model in use stays.
        With ``dry_run`` nothing is adopted. A run that was killed goes on where it was. Raises
        UsageError when there is too little to learn from.
        """
        from mmrag_plugin.learning import trained
        from mmrag_plugin.learning_lesson import lesson_of
        from mmrag_plugin.learning_trial import folds_of, judged

        if seed < 0:
            raise UsageError(f"A seed of {seed} is not possible.", "Give 0 or more.")
        visual, _ = self.models.in_use()
        frames = self.stores()["visual"]
        lesson, warnings = lesson_of(self.whole.ledger, frames, visual)
        folds = self._tried_folds(lesson, folds_of(lesson, seed=seed), seed, heard)
        trial, query = judged(
            lesson, folds, lambda steps: trained(lesson, seed=seed, steps=steps), seed=seed
        )
        version = None
        media = len(set(lesson.media_ids))
        if trial.adopted and not dry_run:
            about = {"media": media, "texts": len(lesson.texts), "seed": seed}
            version = self._keep_and_use(query, {**about, "trial": trial.as_dict()})
        page = self._write_page(version or "tried", lesson, query, trial, folds)
        if page is None:
            warnings.append("The page with the searches that changed could not be written.")
        self._learned_file(UNFINISHED).unlink(missing_ok=True)
        return Learned(
            version, version is not None, media, len(lesson.texts), trial, warnings, page
        )

    async def alearn(self, **options: Any) -> Learned:
        """Learn without holding up the event loop; options as of ``learn``."""
        return await asyncio.to_thread(lambda: self.learn(**options))

    # ---- versions ----------------------------------------------------------------------------

    @property
    def learned_in_use(self) -> str:
        """The version that searches ask with, or ``original``."""
        return str(self._learned()["in_use"])

    def learned_versions(self) -> list[dict[str, Any]]:
        """Every version, oldest first, with how it came about and whether it is in use."""
        known = self._learned()
        return [
            {"version": name, "in_use": name == known["in_use"], **about}
            for name, about in known["versions"].items()
        ]

    def use_learned(self, version: str) -> str:
        """Ask with a version, or with the ``original`` model, from now on; says with which before.

        Raises NotFound for a version that is not there, ModelError for one that is damaged or was
        learned for another visual model.
        """
        if version != ORIGINAL:
            self._read_learned(version, self.models.in_use()[0].stamp)
        return self._ask_with(version)

    def roll_back_learned(self) -> str:
        """Ask with what was in use before the last change again; says with what."""
        with self.ledger.transaction():
            known = self._learned()
            if not known["before"]:
                raise NotFound(
                    "There is nothing to go back to: nothing was learned yet.", "Learn: mmrag learn"
                )
            *known["before"], known["in_use"] = known["before"]
            self.ledger.state(learned=known)
            return str(known["in_use"])

    def learned_query(self, visual: VisualEmbedding) -> LearnedQuery | None:
        """What moves queries of this model; None where nothing is in use, or it can't be.

        Then ``models.warnings`` says why, and searches are as they were before learning.
        """
        version = self.learned_in_use
        if version == ORIGINAL:
            return None
        try:
            return self._read_learned(version, visual.stamp)
        except MmragError as error:
            self.models.warnings.append(f"Searches go without what was learned: {error}")
            return None

    def _learned(self) -> dict[str, Any]:
        empty: dict[str, Any] = {"in_use": ORIGINAL, "before": [], "versions": {}}
        return {**empty, **(self.ledger.fact("learned") or {})}

    def _ask_with(self, version: str) -> str:
        with self.ledger.transaction():
            known = self._learned()
            before = str(known["in_use"])
            if version != before:
                known["before"], known["in_use"] = [*known["before"], before], version
                self.ledger.state(learned=known)
            return before

    def _read_learned(self, version: str, stamp: str) -> LearnedQuery:
        from mmrag_plugin.learned_query import LearnedQuery, digest_of

        about = self._learned()["versions"].get(version)
        if about is None:
            raise NotFound(f"There is no version {version!r}.", "See them: mmrag models list")
        if about["stamp"] != stamp:
            raise ModelError(
                f"{version} was learned for another visual model than the library has now.",
                "Learn again: mmrag learn",
            )
        try:
            content = self._learned_file(f"{version}.npz").read_bytes()
        except OSError as error:
            raise ModelError(
                f"The file of {version} can't be read: {error.strerror or error}.",
                "Learn again: mmrag learn",
            ) from error
        if digest_of(content) != about["digest"]:
            raise ModelError(
                f"The file of {version} is not what it was.", "Learn again: mmrag learn"
            )
        return LearnedQuery.from_bytes(content)

    def _keep_and_use(self, query: LearnedQuery, about: dict[str, Any]) -> str:
        """Keep a version and use it: its file first, and then, all at once, the ledger's lines."""
        from mmrag_plugin.learned_query import digest_of

        content = query.to_bytes()
        with self.ledger.transaction():  # of two that learn at once, one waits
            found = self._learned()
            there = {path.stem for path in self._learned_file("v0").parent.glob("v*.npz")}
            taken = [
                int(name[1:]) for name in {*found["versions"], *there} if _VERSION.fullmatch(name)
            ]
            version = f"v{max(taken, default=0) + 1}"
            self._write_learned(f"{version}.npz", content)
            found["versions"][version] = {
                "made_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
                "stamp": query.stamp,
                "digest": digest_of(content),
                **about,
            }
            found["before"], found["in_use"] = [*found["before"], found["in_use"]], version
            self.ledger.state(learned=found)
        return version

    # ---- trying ------------------------------------------------------------------------------

    def _tried_folds(
        self, lesson: Lesson, held_out: list[Any], seed: int, heard: Heard
    ) -> list[Fold]:
        """Try fold by fold; those of a run that was killed are not tried again."""
        from mmrag_plugin.learning_trial import Fold, fingerprint, try_fold

        of = fingerprint(lesson, seed)
        folds: list[Fold] = []
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            kept = json.loads(self._learned_file(UNFINISHED).read_text())
            if kept["of"] == of:
                folds = [Fold(**fold) for fold in kept["folds"]][: len(held_out)]
        for number, media in enumerate(held_out, 1):
            if number > len(folds):
                folds.append(try_fold(lesson, media, seed=seed))
                done = {"of": of, "folds": [asdict(fold) for fold in folds]}
                with contextlib.suppress(StorageError):  # it is only to save time
                    self._write_learned(UNFINISHED, json.dumps(done).encode())
            heard(number, len(held_out) + 1)
        return folds

    def _write_page(
        self, name: str, lesson: Lesson, query: LearnedQuery, trial: Trial, folds: list[Fold]
    ) -> Path | None:
        """Write the page about a version; None where that fails, for it changes no search."""
        from mmrag_plugin.learning_page import examples_of, page_of

        shown = examples_of(
            lesson, query, trial, folds, self.stores()["visual"], self.whole.thumbnail
        )
        with contextlib.suppress(StorageError):
            return self._write_learned(f"{name}.html", page_of(trial, shown).encode())
        return None

    # ---- files -------------------------------------------------------------------------------

    def _learned_file(self, name: str) -> Path:
        return Path(self.directory) / LEARNED_FOLDER / name

    def _write_learned(self, name: str, content: bytes) -> Path:
        """Write a file whole or not at all. Raises StorageError."""
        place = self._learned_file(name)
        beside = place.with_name(f".{name}.{os.getpid()}.part")
        try:
            place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            try:
                with beside.open("wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                beside.replace(place)
            finally:
                beside.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(
                f"{place} can't be written: {error.strerror or error}.",
                "Free some space and learn again; what was in use stays.",
            ) from error
        return place
