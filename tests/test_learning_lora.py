"""Training the visual model itself: adopted by what was held out, and taken back exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from media_made import COLOURS
from mmrag_plugin.embeddings import lora_training
from mmrag_plugin.ledger_annotations import Annotation
from mmrag_plugin.library import MediaLibrary

NAMES = dict(zip(list(COLOURS)[:6], ["milo", "bertil", "the cabin", "grandpa", "uzh", "xenia"]))
EACH = 12


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny models of chance need larger steps than those that have learned the world."""
    monkeypatch.setattr(lora_training, "RATE", 1e-2)
    monkeypatch.setattr(lora_training, "EPOCHS", 12)
    monkeypatch.setattr(lora_training, "OTHERS", 8)
    monkeypatch.setattr(lora_training, "PHRASES", 16)


def drawn(folder: Path) -> None:
    folder.mkdir(parents=True)
    for number in range(EACH * len(NAMES) + 20):
        random = np.random.default_rng(number)
        grey = random.integers(0, 256, (6, 9, 1)).repeat(3, axis=2)
        pixels = np.full((6, 9, 3), COLOURS[list(NAMES)[number % len(NAMES)]])
        patches = random.random((6, 9)) < 0.25
        pixels[patches] = grey[patches]
        picture = Image.fromarray(pixels.astype(np.uint8)).resize((54, 36), 0)
        picture.save(folder / f"{number:03}.png")


def annotate(library: MediaLibrary, *, shuffled: bool = False, most: int = 10**6) -> None:
    rows = sorted(library.ledger.media_rows().values(), key=lambda row: row.path)
    names = [list(NAMES.values())[number % len(NAMES)] for number in range(EACH * len(NAMES))]
    if shuffled:
        names = [names[index] for index in np.random.default_rng(1).permutation(len(names))]
    for row, name in list(zip(rows, names))[:most]:
        library.ledger.annotate(row.media_id, [Annotation("caption", name)])
