"""What looks at media on this machine: one bad frame breaks one media, a stop breaks none."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray

from made_films import BLUE, GREEN, RED, write_film
from media_made import end_owner, opened, picture
from mmrag_plugin import index_pixels, index_seeing_here
from mmrag_plugin.embeddings.palette import Palette
from mmrag_plugin.errors import IndexStopped
from mmrag_plugin.index_seeing_here import SeesHere
from mmrag_plugin.keyframes.uniform import UniformSelector
from mmrag_plugin.ledger import MediaRow
from mmrag_plugin.media import Kind
from mmrag_plugin.readers.base import MediaReader
from mmrag_plugin.readers.photo import PhotoReader
from mmrag_plugin.readers.video import VideoReader
from mmrag_plugin.upkeep import verify


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "home"
    for directory in (tmp_path / "home").iterdir():
        end_owner(directory, wait=False)


class BreaksOnBlue(Palette):
    """A model that can't take what is blue in its first pixel."""

    def embed_pictures(self, pictures: Sequence[PIL.Image.Image]) -> NDArray[np.float32]:
        for shown in pictures:
            red, _, blue = shown.getpixel((0, 0))  # type: ignore[misc]
            if blue > red + 50:
                raise RuntimeError("blue")
        return super().embed_pictures(pictures)


def pages(path: Path, colours: Sequence[str]) -> Path:
    first, *others = (PIL.Image.new("RGB", (120, 90), colour) for colour in colours)
    first.save(path, save_all=True, append_images=others)
    return path


def row(path: Path, kind: Kind = "image") -> MediaRow:
    return MediaRow(path.name, kind, str(path), str(path.parent), None, "", 0, 0, None, None, None)


READERS: dict[Kind, MediaReader] = {"image": PhotoReader(), "video": VideoReader(UniformSelector())}


def test_a_page_that_breaks_the_model_behind_others_breaks_its_picture_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_seeing_here, "EMBED_BATCH", 2)
    media = [
        row(picture(tmp_path / "a.png", "red")),
        row(pages(tmp_path / "b.tif", ["red", "red", "red", "blue"])),
        row(picture(tmp_path / "c.png", "red")),
    ]
    seer = SeesHere(READERS, BreaksOnBlue(), None)
    found = {one.media.media_id: one for one in seer.see(media)}
    assert {name: len(one.frames) for name, one in found.items()} == {
        "a.png": 1, "b.tif": 0, "c.png": 1
    }  # fmt: skip
    assert str(found["b.tif"].error) == "blue"
    assert found["a.png"].error is None


def test_a_run_that_is_stopped_while_it_writes_loses_nothing_of_a_long_film(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when Milvus is away, the person stops waiting for it, and it is back that moment."""
    monkeypatch.setattr(index_pixels, "_COMMIT_FRAMES", 4)
    monkeypatch.setattr(index_pixels, "COMMIT_S", 0)
    monkeypatch.setattr(index_seeing_here, "EMBED_BATCH", 2)
    folder = (tmp_path / "films").resolve()
    folder.mkdir()
    write_film(folder / "film.mp4", [RED, GREEN, BLUE] * 30, rate=1, gop=10)
    original, stop = index_pixels.replace_rows, threading.Event()

    def away(*given: Any, **more: Any) -> None:
        original(*given, **more)
        if not stop.is_set():
            stop.set()
            raise IndexStopped("Stopped before the end.")

    monkeypatch.setattr(index_pixels, "replace_rows", away)
    with opened(home, ocr="off") as library:
        report = library.index([folder], stop=stop)
        assert isinstance(report.stopped_by, IndexStopped)
        library.index([])
        frames = len(list(library.stores()["visual"].row_ids()))
        (media_id,) = library.ledger.media_ids_under(str(folder))
        assert frames == library.ledger.made("embed", media_id)
        assert frames > 5
        for difference in verify(library):
            assert (difference.missing, difference.surplus) == ([], [])


def test_a_run_that_fails_leaves_no_thread_behind(tmp_path: Path) -> None:
    class Damaged(Palette):
        def embed_pictures(self, pictures: Sequence[PIL.Image.Image]) -> NDArray[np.float32]:
            raise KeyboardInterrupt

    media = [row(picture(tmp_path / f"{number}.png", "red")) for number in range(40)]
    write_film(tmp_path / "film.mp4", [RED] * 40, rate=1, gop=10)
    media.append(row(tmp_path / "film.mp4", "video"))
    seer = SeesHere(READERS, Damaged(), None)
    with pytest.raises(KeyboardInterrupt):
        list(seer.see(media))
    until = time.monotonic() + 10
    while running := [one for one in threading.enumerate() if one.name.startswith("mmrag-ahead")]:
        assert time.monotonic() < until, running
        time.sleep(0.05)
