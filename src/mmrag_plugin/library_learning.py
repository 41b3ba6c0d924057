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

from mmrag_plugin.errors import (
    MmragError,
    ModelError,
    ModelMismatch,
    NotFound,
    StorageError,
    UsageError,
)
from mmrag_plugin.learned_versions import LORA, ORIGINAL
from mmrag_plugin.ledger import Ledger
from mmrag_plugin.settings import LEARNED_FOLDER

if TYPE_CHECKING:
    from mmrag_plugin.embeddings.seam import VisualModel
    from mmrag_plugin.indexing import IndexReport, Progress
    from mmrag_plugin.learned_query import LearnedQuery
    from mmrag_plugin.learning import Lesson
    from mmrag_plugin.learning_trial import Fold, Trial
    from mmrag_plugin.library_models import LibraryModels
    from mmrag_plugin.milvus_store import MediaVectorStore

UNFINISHED = ".unfinished.json"
_VERSION = re.compile(r"v[1-9]\d*")
_NO_PAGE = "The page with the searches that changed could not be written."
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

    def finish(self, progress: Progress | None = None) -> IndexReport:
        """Do what is pending; the library knows."""
        raise NotImplementedError

    def learn(
        self,
        *,
        lora: bool = False,
        seed: int = 0,
        dry_run: bool = False,
        heard: Heard = lambda done, total: None,
        progress: Progress | None = None,
    ) -> Learned:
        """Learn the person's own words from their annotations, and adopt it if searches get better.

        Held-out photos are searched before and after; without a sure gain the model in use stays.
        With ``dry_run`` nothing is adopted. With ``lora`` the visual model itself is trained, and
        once it is adopted every picture is embedded again; ``progress`` hears of that. A run that
        was killed goes on where it was. Raises UsageError when there is too little to learn from,
        and with ``lora`` MissingExtra, or ModelError for a model that can't be trained.
        """
        if seed < 0:
            raise UsageError(f"A seed of {seed} is not possible.", "Give 0 or more.")
        if lora:
            return self._learn_lora(seed, dry_run, heard, progress)
        return self._learn_adapter(seed, dry_run, heard)

    def _learn_adapter(self, seed: int, dry_run: bool, heard: Heard) -> Learned:
        from mmrag_plugin.learning import trained
        from mmrag_plugin.learning_lesson import lesson_of
        from mmrag_plugin.learning_trial import folds_of, judged

        visual, known = self.models.in_use()
        frames = self.stores()["visual"]
        lesson, warnings = lesson_of(self.whole.ledger, frames, visual)
        folds = self._tried_folds(lesson, folds_of(lesson, seed=seed), seed, heard)
        trial, query = judged(
            lesson, folds, lambda steps: trained(lesson, seed=seed, steps=steps), seed=seed
        )
        version = None
        media = len(set(lesson.media_ids))
        if trial.adopted and not dry_run:
            about = {"stamp": query.stamp, "visual": known.setting, "seed": seed}
            about |= {"media": media, "texts": len(lesson.texts), "trial": trial.as_dict()}
            version = self._keep("npz", query.to_bytes(), about, in_use=True)
        page = self._write_page(version or "tried", lesson, query, trial, folds)
        if page is None:
            warnings.append(_NO_PAGE)
        self._learned_file(UNFINISHED).unlink(missing_ok=True)
        return Learned(
            version, version is not None, media, len(lesson.texts), trial, warnings, page
        )

    def _learn_lora(
        self, seed: int, dry_run: bool, heard: Heard, progress: Progress | None
    ) -> Learned:
        from mmrag_plugin.learning_page import changed_of, page_of
        from mmrag_plugin.library_lora import LoraLesson

        run = LoraLesson(self.whole, seed=seed, heard=heard)
        content, about, trial, fold = run.learn()
        lesson, version = run.lesson, None
        media = len(set(lesson.media_ids))
        if trial.adopted and not dry_run:
            about |= {"seed": seed, "media": media, "texts": len(lesson.texts)}
            version = self._keep("safetensors", content, {**about, "trial": trial.as_dict()})
        shown = page_of(trial, changed_of([fold], [fold.after[0]]))
        page = self._write_learned_or_not(f"{version or 'tried'}.html", shown.encode())
        if page is None:
            run.warnings.append(_NO_PAGE)
        run.forget()
        if version is not None:
            self._change(version, progress)
        in_use = version is not None and self.learned_in_use == version
        return Learned(version, in_use, media, len(lesson.texts), trial, run.warnings, page)

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

    def use_learned(self, version: str, progress: Progress | None = None) -> str:
        """Ask with a version, or with the ``original`` model, from now on; says with which before.

        Where that takes another visual model, every picture is embedded again first. Raises
        NotFound for a version that is not there, ModelError for one that is damaged or was learned
        for another visual model.
        """
        before = self.learned_in_use
        self._change(version, progress)
        return before

    def roll_back_learned(self, progress: Progress | None = None) -> str:
        """Ask with what was in use before the last change again; says with what."""
        known = self._learned()
        if not known["before"]:
            raise NotFound(
                "There is nothing to go back to: nothing was learned yet.", "Learn: mmrag learn"
            )
        *before, version = known["before"]
        self._change(str(version), progress, before=before)
        return self.learned_in_use

    def learned_query(self, visual: VisualModel) -> LearnedQuery | None:
        """What moves queries of this model; None where nothing is in use, or it can't be.

        Then ``models.warnings`` says why, and searches are as they were before learning.
        """
        version = self.learned_in_use
        if version == ORIGINAL:
            return None
        try:
            if self.models.learned.about(version).get("kind") == LORA:
                return None
            return self._read_learned(version, visual.stamp)
        except MmragError as error:
            self.models.warnings.append(f"Searches go without what was learned: {error}")
            return None

    def _learned(self) -> dict[str, Any]:
        return self.models.learned.known()

    def _take(self, version: str, before: list[str] | None = None) -> None:
        """Ask with a version at once; without ``before`` that one can be gone back to."""
        with self.ledger.transaction():
            known = self._learned()
            if before is not None or version != known["in_use"]:
                earlier = [*known["before"], known["in_use"]] if before is None else before
                self.models.learned.take(version, before=earlier)

    def _change(
        self, version: str, progress: Progress | None, before: list[str] | None = None
    ) -> None:
        """Ask with a version, after embedding again where it takes another visual model.

        Until that is done searches stay as they are; a run that is stopped goes on with the next.
        """
        versions, in_use = self.models.learned, self.models.recorded("visual")
        if in_use is None:
            raise NotFound("The library is empty.", "Fill it: mmrag index FOLDER")
        visual = versions.visual_of(version, in_use.setting)
        adapts = version != ORIGINAL and versions.about(version).get("kind") != LORA
        known = self._learned()
        if visual == in_use.setting and known["next"] is None:
            if adapts and before is None:
                self._read_learned(version, self.models.in_use()[0].stamp)
            self._take(version, before)
            return
        if adapts:
            self._read_learned(version, versions.about(version)["stamp"])
        earlier = [*known["before"], known["in_use"]] if before is None else before
        versions.want({"version": version, "visual": visual, "before": earlier})
        try:
            asked = self.models.wanted().visual.setting
            if asked != visual:
                raise ModelMismatch(
                    f"The settings ask for {asked}, and this takes {visual}.",
                    "Leave MMRAG_VISUAL_MODEL and --visual-model out.",
                )
            self.finish(progress)
        except MmragError:
            versions.want(known["next"])
            raise

    def _read_learned(self, version: str, stamp: str) -> LearnedQuery:
        from mmrag_plugin.learned_query import LearnedQuery, digest_of

        about = self.models.learned.about(version)
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

    def _keep(
        self, suffix: str, content: bytes, about: dict[str, Any], *, in_use: bool = False
    ) -> str:
        """Keep a version, and use it: its file first, and then, all at once, the ledger's lines."""
        from mmrag_plugin.learned_query import digest_of

        with self.ledger.transaction():  # of two that learn at once, one waits
            found = self._learned()
            there = {path.stem for path in self._learned_file("v0").parent.glob("v*.*")}
            taken = [
                int(name[1:]) for name in {*found["versions"], *there} if _VERSION.fullmatch(name)
            ]
            version = f"v{max(taken, default=0) + 1}"
            self._write_learned(f"{version}.{suffix}", content)
            found["versions"][version] = {
                "made_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
                "digest": digest_of(content),
                **about,
            }
            if in_use:
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
        return self._write_learned_or_not(f"{name}.html", page_of(trial, shown).encode())

    # ---- files -------------------------------------------------------------------------------

    def _learned_file(self, name: str) -> Path:
        return Path(self.directory) / LEARNED_FOLDER / name

    def _write_learned_or_not(self, name: str, content: bytes) -> Path | None:
        with contextlib.suppress(StorageError):
            return self._write_learned(name, content)
        return None

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
