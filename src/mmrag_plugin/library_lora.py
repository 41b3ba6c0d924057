"""What a library does to train its visual model on the person's photos (``mmrag learn --lora``)."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmrag_plugin.errors import MediaError, MissingExtra, NotFound, StorageError
from mmrag_plugin.learned_versions import LORA
from mmrag_plugin.learning_encoder import (
    OTHERS_AT_MOST,
    Seen,
    compared,
    dealt,
    named,
    pairs_of,
)
from mmrag_plugin.learning_lesson import lesson_of
from mmrag_plugin.settings import LEARNED_FOLDER

if TYPE_CHECKING:
    from PIL.Image import Image

    from mmrag_plugin.embeddings.base import VisualEncoder
    from mmrag_plugin.embeddings.lora_training import Course
    from mmrag_plugin.learned_query import Rows
    from mmrag_plugin.learning import Lesson
    from mmrag_plugin.learning_trial import Curve, Fold, Trial

UNFINISHED = ".lora"  # the folder that a run which was killed goes on from
_DECODED_BYTES = 512 * 2**20  # of pictures that are kept in memory while a model is trained
_AT_ONCE = 32  # pictures that are decoded and embedded together

Heard = Callable[[int, int], None]


class LoraLesson:
    """One run of training over a library: what it sees, before and after."""

    def __init__(self, library: Any, *, seed: int, heard: Heard) -> None:
        from mmrag_plugin.embeddings.choose import trainable
        from mmrag_plugin.embeddings.lora_training import require_peft

        require_peft()
        self._library, self._seed, self._heard = library, seed, heard
        self._decoded: dict[tuple[str, float | None], Image] = {}
        self._room_bytes = _DECODED_BYTES
        visual, known = library.models.in_use()
        self.base = library.models.learned.base_of(known.setting)
        self._models_home: Path = library.settings.models_home
        self._old: VisualEncoder = library.models.original()
        self._trainee = trainable(self._old, self.base, self._models_home)
        lesson, self.warnings = lesson_of(library.ledger, library.stores()["visual"], visual)
        annotated = set(lesson.media_ids)
        made = library.ledger.stage_made("embed", OTHERS_AT_MOST + len(annotated))
        others = [name for name, count in made.items() if count and name not in annotated]
        self._shown: list[tuple[str, float | None]] = [
            *zip(lesson.media_ids, lesson.times_s, strict=True),
            *((name, None) for name in others[:OTHERS_AT_MOST]),
        ]
        self.lesson = self._as_it_was(lesson)
        self.parts = dealt(self.lesson, seed=seed)

    def learn(self) -> tuple[bytes, dict[str, Any], Trial, Fold]:
        """Train, and try what was trained: its file, what is known of it, and what was shown.

        Raises ModelError when training goes astray and StorageError for a full disk.
        """
        import hashlib

        from mmrag_plugin.embeddings.choose import learned_visual
        from mmrag_plugin.embeddings.lora_training import train_lora

        content, losses = train_lora(
            self._trainee,
            self._course(),
            kept_in=self._place(),
            seed=self._seed,
            heard=self._heard,
        )
        del self._trainee  # two models in memory are enough
        about = {
            "kind": LORA,
            "base": self.base,
            "base_stamp": self._old.stamp,
            "digest": hashlib.sha256(content).hexdigest(),
        }
        new = learned_visual(
            self.base,
            content,
            base_stamp=about["base_stamp"],
            digest=about["digest"],
            models_home=self._models_home,
        )
        about["stamp"] = new.stamp
        lesson = self.lesson
        pictures, _ = self._seen_by(new)
        after = Seen(
            pictures[: len(lesson.media_ids)],
            new.embed_texts(list(lesson.texts)),
            new.embed_texts(list(lesson.general_texts)),
            pictures,
        )
        curve: Curve = [(step, taught, held_out, None) for step, taught, held_out in losses]
        in_use = self._library.models.learned.known()
        adapter = in_use["versions"].get(in_use["in_use"], {})
        steps = adapter["trial"]["steps"] if adapter and adapter.get("kind") != LORA else None
        trial, fold = compared(
            lesson, self.parts, after, curve, seed=self._seed, adapter_steps=steps
        )
        return content, about, trial, fold

    def forget(self) -> None:
        """Remove what an unfinished run goes on from."""
        shutil.rmtree(self._kept_in, ignore_errors=True)

    @property
    def _kept_in(self) -> Path:
        return Path(self._library.directory) / LEARNED_FOLDER / UNFINISHED

    def _place(self) -> Path:
        """The folder of a run's checkpoints; of another run they are removed."""
        from mmrag_plugin.embeddings import lora_training as how

        made_by = f"{self._old.stamp} {how.RANK} {how.RATE} {how.EPOCHS} {how.BATCH} {how.TIE}"
        of = named(self.lesson, [name for name, _ in self._shown], self._seed, made_by)
        note = self._kept_in / "of.json"
        with contextlib.suppress(OSError, ValueError):
            if json.loads(note.read_text()) == of:
                return self._kept_in
        self.forget()
        try:
            self._kept_in.mkdir(parents=True, mode=0o700)
            note.write_text(json.dumps(of))
        except OSError as error:
            raise StorageError(
                f"{note} can't be written: {error.strerror or error}.",
                "Free some space and learn again; the model in use stays.",
            ) from error
        return self._kept_in

    def _as_it_was(self, lesson: Lesson) -> Lesson:
        """The lesson with single pictures as the original model sees them, of what is there."""
        vectors, there = self._seen_by(self._old)
        count = len(lesson.media_ids)
        kept = [number for number in there if number < count]
        if len(kept) < count:
            self.warnings.append(
                f"Annotated media that can't be read now, and are not learned from: "
                f"{count - len(kept)}."
            )
        self._shown = [self._shown[number] for number in there]
        lesson = replace(
            lesson,
            text_vectors=self._old.embed_texts(list(lesson.texts)),
            general=self._old.embed_texts(list(lesson.general_texts)),
            library=vectors,
            stamp=self._old.stamp,
        ).of(np.array(kept, dtype=np.intp))
        return replace(lesson, pictures=vectors[: len(kept)])

    def _course(self) -> Course:
        from mmrag_plugin.embeddings.lora_training import Course

        lesson = self.lesson
        said = np.zeros((len(lesson.texts), len(self._shown)), dtype=bool)
        said[:, : len(lesson.media_ids)] = lesson.said
        return Course(
            decoded=lambda numbers: [self._picture(number) for number in numbers],
            texts=lesson.texts,
            said=said,
            strengths=lesson.strengths,
            taught=pairs_of(lesson, self.parts.taught),
            held_out=pairs_of(lesson, self.parts.stopping),
            others=range(len(lesson.media_ids), len(self._shown)),
            phrases=lesson.general_texts,
            old_pictures=lesson.library,
            old_phrases=lesson.general,
        )

    def _seen_by(self, visual: VisualEncoder) -> tuple[Rows, list[int]]:
        """Vectors of the pictures that are there, and their numbers."""
        rows, there = [], list[int]()
        for batch in self._batches():
            rows.append(visual.embed_pictures([picture for _, picture in batch]))
            there += [number for number, _ in batch]
        return np.concatenate([np.zeros((0, visual.dim), dtype=np.float32), *rows]), there

    def _batches(self) -> Iterator[list[tuple[int, Image]]]:
        batch: list[tuple[int, Image]] = []
        for number in range(len(self._shown)):
            with contextlib.suppress(MediaError, MissingExtra, NotFound, OSError):
                batch.append((number, self._picture(number)))
            if len(batch) == _AT_ONCE:
                yield batch
                batch = []
        if batch:
            yield batch

    def _picture(self, number: int) -> Image:
        media_id, at_s = self._shown[number]
        picture: Image = self._library.picture_at(
            media_id, at_s, at_least_px=2 * self._old.input_px
        )
        return picture
