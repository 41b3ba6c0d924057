"""Doubt: captions that the picture itself contradicts, as the visual model sees it.

A caption is compared with its own picture and with pictures of other media, a background that says
how it scores against anything. One that fits its own picture hardly better than the others is
doubtful. Where there is too little to compare with, or the model has nothing to say about the words
(palette, which knows colours alone), nothing is marked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmrag_plugin.index_run import Run
from mmrag_plugin.ledger import Shot
from mmrag_plugin.ledger_database import batches
from mmrag_plugin.metadata import frame_row_id, to_ms

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DOUBT_VERSION = 1  # part of the stamp: another rule judges again
# Deviations over the mean of the background. Set on COCO training photos (`python -m benchmarks
# captions` says what it catches): lower misses wrong captions, higher doubts right ones.
DOUBT_BELOW = 0.5
BACKGROUND_MEDIA = 256
BACKGROUND_AT_LEAST = 16
_BATCH = 64


def doubtful(own: NDArray[np.float32], background: NDArray[np.float32]) -> bool:
    """Whether a caption fits its picture hardly better than others.

    ``own`` are its similarities to the frames of its picture, ``background`` those to pictures of
    other media.
    """
    deviation = float(background.std())
    if len(background) < BACKGROUND_AT_LEAST or deviation < 1e-6:
        return False
    return (float(own.mean()) - float(background.mean())) / deviation < DOUBT_BELOW


class Doubt:
    """Judges captions in one run by the vectors that stand in the store."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._background: tuple[list[str], NDArray[np.float32]] | None = None

    @property
    def stamp(self) -> str:
        """Name the rule and the model that judges."""
        return f"doubt-{DOUBT_VERSION}|{self.run.parts.visual.stamp}"

    def judge(self) -> None:
        """Judge every caption that this rule and model have not judged yet."""
        if not self.run.parts.visual.compares_texts:
            return
        for media_ids in batches(self.run.ledger.unchecked("doubt", self.stamp), _BATCH):
            found: dict[str, dict[int, str]] = {}
            for media_id, shots in self.run.ledger.shots_of(media_ids).items():
                reasons = self._judge_one(media_id, shots)
                if reasons is not None:
                    found[media_id] = reasons
            self.run.ledger.put_check("doubt", self.stamp, found)

    def _judge_one(self, media_id: str, shots: Sequence[Shot]) -> dict[int, str] | None:
        """Why each caption of a media is doubtful, if it is; None where nobody can tell now."""
        import numpy as np

        owners, background = self._others()
        others = background[[owner != media_id for owner in owners]]
        if len(others) < BACKGROUND_AT_LEAST:
            return None
        texts = np.asarray(
            self.run.parts.visual.embed_texts([str(shot.content["caption"]) for shot in shots])
        )
        reasons: dict[int, str] = {}
        for shot, text in zip(shots, texts, strict=True):
            rows = self._rows(media_id, shot)
            if not rows:
                return None  # it waits for its vectors, or the film has other key frames now
            own = np.array(list(rows.values()), dtype=np.float32)
            is_doubtful = bool(text.any()) and doubtful(own @ text, others @ text)
            reasons[shot.number] = "it does not look like that" if is_doubtful else ""
        return reasons

    def _rows(self, media_id: str, shot: Shot) -> dict[str, NDArray[np.float32]]:
        """The vectors of a shot's frames, if they begin when the shot does."""
        store = self.run.parts.frames
        row_ids = [frame_row_id(media_id, n) for n in range(shot.first_frame, shot.last_frame + 1)]
        begins = [node.metadata["start_ms"] for node in store.get_nodes(row_ids[:1])]
        return store.vectors(row_ids) if begins == [to_ms(shot.start_s)] else {}

    def _others(self) -> tuple[list[str], NDArray[np.float32]]:
        """A vector of each of some media, and whose it is."""
        import numpy as np

        if self._background is None:
            made = self.run.ledger.stage_made("embed", BACKGROUND_MEDIA)
            rows = {frame_row_id(media_id, n // 2): media_id for media_id, n in made.items()}
            vectors = self.run.parts.frames.vectors(rows)
            self._background = (
                [rows[row_id] for row_id in vectors],
                np.array(list(vectors.values()), dtype=np.float32).reshape(
                    len(vectors), self.run.parts.visual.dim
                ),
            )
        return self._background
