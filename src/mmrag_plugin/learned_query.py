"""A query that knows the person's own words: what learning makes, and searches ask with.

For each text that the person wrote about photos it holds the text's vector (a key) and a direction
towards the photos (a value). A query near a text is moved along its value; how far depends on how
near it is, and a query near none stays the very vector that it was. Stored vectors are not touched.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import cast

import numpy as np
from numpy.typing import NDArray

from mmrag_plugin.errors import ModelError
from mmrag_plugin.terms import terms_of

Rows = NDArray[np.float32]

FORMAT = 1
# Chosen on halves of personal210 other than those that are reported (`python -m benchmarks
# learning`); own searches got better by much the same everywhere between 0.5 and 0.85 for OPEN_FROM
# and 0.3 and 0.5 for BY_WORDS, and the narrower gate loses least where others' words are near.
BY_WORDS = 0.5  # of nearness: words that two texts share; the rest is how near their vectors are
OPEN_FROM = 0.7  # nearness at which a query begins to move; at 1 it moves all the way
SHARPNESS = 20.0  # of choosing among texts by nearness
NAMED = 0.85  # how near a query is to a person whom it names among other words
_FILLERS = frozenset(terms_of("photo picture image video"))  # "a photo of Milo" asks for Milo
_ARRAYS = ("keys", "values")


@dataclass(frozen=True)
class LearnedQuery:
    """Texts that the person wrote, with ``keys`` and ``values``, both [texts, dim].

    ``floor`` is the cosine that texts have which mean nothing alike, in this model's space.
    ``names`` says of each text whether it names a person. ``stamp`` is the visual model's.
    """

    stamp: str
    texts: Sequence[str]
    names: Sequence[bool]
    keys: Rows
    values: Rows = field(repr=False)
    floor: float

    def __call__(self, vectors: Rows, texts: Sequence[str]) -> Rows:
        """Move queries, [n, dim] with their texts; rows stay L2-normalised."""
        weights, opening = self.attention(vectors, texts)
        moved = vectors + opening[:, None] * (weights @ self.values)
        moved /= np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-12)
        return np.where(opening[:, None] > 0, moved, vectors).astype(np.float32)

    def attention(self, vectors: Rows, texts: Sequence[str]) -> tuple[Rows, Rows]:
        """How much each query means each text, [n, texts], and how far it moves, [n], 0 to 1."""
        near = np.clip((vectors @ self.keys.T - self.floor) / (1 - self.floor), 0, 1)
        near *= 1 - BY_WORDS
        for row, text in zip(near, texts, strict=True):
            self._add_words(row, text)
        near[~vectors.any(axis=1)] = 0  # the model has nothing to say about these
        nearest = near.max(axis=1, keepdims=True)
        weights = np.exp((near - nearest) * SHARPNESS)
        weights /= weights.sum(axis=1, keepdims=True)
        opening = np.clip((nearest[:, 0] - OPEN_FROM) / (1 - OPEN_FROM), 0, 1)
        return weights.astype(np.float32), opening.astype(np.float32)

    def _add_words(self, near: Rows, text: str) -> None:
        """Add what shared words say about one query."""
        asked = telling(text)
        shared: dict[int, int] = {}
        for term in asked:
            for index in self._texts_with.get(term, ()):
                shared[index] = shared.get(index, 0) + 1
        for index, count in shared.items():
            known = len(self._terms[index])
            near[index] += BY_WORDS * count / (len(asked) + known - count)
            if self.names[index] and count == known:
                near[index] = max(near[index], NAMED)

    @cached_property
    def _terms(self) -> list[frozenset[str]]:
        return [telling(text) for text in self.texts]

    @cached_property
    def _texts_with(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for index, terms in enumerate(self._terms):
            for term in terms:
                found.setdefault(term, []).append(index)
        return found

    def to_bytes(self) -> bytes:
        """The content of its file: NumPy's .npz, without pickle."""
        about = {"format": FORMAT, "stamp": self.stamp, "floor": self.floor}
        said = {"texts": list(self.texts), "names": [bool(name) for name in self.names]}
        file = io.BytesIO()
        np.savez(
            file,
            about=np.frombuffer(json.dumps({**about, **said}).encode(), dtype=np.uint8),
            keys=self.keys,
            values=self.values,
        )
        return file.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> LearnedQuery:
        """Read what ``to_bytes`` made. Raises ModelError when it is anything else."""
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as file:
                about = json.loads(file["about"].tobytes())
                keys, values = (cast("Rows", file[name]) for name in _ARRAYS)
            made = cls(
                about["stamp"], about["texts"], about["names"], keys, values, float(about["floor"])
            )
            whole = (
                about["format"] == FORMAT
                and isinstance(made.stamp, str)
                and all(isinstance(text, str) for text in made.texts)
                and all(isinstance(name, bool) for name in made.names)
                and keys.ndim == 2
                and keys.shape == values.shape
                and len(made.texts) == len(made.names) == len(keys) > 0
                and keys.dtype == values.dtype == np.float32
                and bool(np.isfinite(keys).all() and np.isfinite(values).all())
                and 0 <= made.floor < 1
            )
        except Exception as error:  # of zip, of NumPy, of JSON: whatever is wrong with it
            raise _damaged() from error
        if not whole:
            raise _damaged()
        return made


def telling(text: str) -> frozenset[str]:
    """The words of a text that tell it from others."""
    terms = frozenset(terms_of(text))
    return terms - _FILLERS or terms


def digest_of(content: bytes) -> str:
    """What a file's content is known by."""
    return hashlib.sha256(content).hexdigest()


def _damaged() -> ModelError:
    return ModelError(
        "The file of what was learned is damaged.", "Learn again: mmrag learn; or mmrag models use."
    )
