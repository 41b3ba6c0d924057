"""Previews: a moment of a film as a small MP4 that browsers play, made within limits."""

from __future__ import annotations

import io
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from made_films import BLUE, GREEN, RED, write_film
from media_made import end_owners, opened, picture
from mmrag_plugin import library_previews
from mmrag_plugin.errors import MediaError, NotFound, UsageError
from mmrag_plugin.kept_files import PREVIEWS
from mmrag_plugin.library import MediaLibrary
from mmrag_plugin.makers import workshop
from mmrag_plugin.makers.preview import LONGEST_S, PreviewJob
from mmrag_plugin.makers.workshop_process import Limits
from mmrag_plugin.upkeep import forget

VIDEO = Path(__file__).resolve().parents[2] / "shared" / "data" / "video"


@pytest.fixture
def films(tmp_path: Path) -> Path:
    folder = tmp_path.resolve() / "films"
    folder.mkdir()
    return folder


@pytest.fixture
def indexed(tmp_path: Path, films: Path) -> Iterator[Callable[[], MediaLibrary]]:
    """Index what is in the folder by then, and give the library."""
    with opened(tmp_path / "home") as library:

        def index() -> MediaLibrary:
            library.index([films])
            return library

        yield index
    end_owners(tmp_path / "home")


def id_of(library: MediaLibrary, path: Path) -> str:
    row = library.find(str(path))
    assert row is not None
    return row.media_id


@dataclass
class Played:
    """What a player finds in an MP4."""

    duration_s: float
    size: tuple[int, int]
    pixels: str
    codec: str
    sounds: list[str]
    times_s: list[float]
    first: np.ndarray
    tags: dict[str, str]


def played(mp4: bytes) -> Played:
    with av.open(io.BytesIO(mp4)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        assert container.duration is not None
        return Played(
            container.duration / 1e6,
            (stream.width, stream.height),
            str(stream.pix_fmt),
            stream.codec_context.name,
            [sound.codec_context.name for sound in container.streams.audio],
            [frame.time for frame in frames if frame.time is not None],
            frames[0].to_ndarray(format="rgb24"),
            dict(container.metadata),
        )


def boxes(mp4: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(mp4):
        found.append(mp4[at + 4 : at + 8])
        at += int.from_bytes(mp4[at : at + 4], "big")
    return found


def colour(picture: np.ndarray) -> list[int]:
    """The colour of the darker right half."""
    return [int(value) for value in picture[:, picture.shape[1] * 3 // 4].mean(axis=0)]


def test_a_moment_is_an_mp4_that_begins_with_its_index_and_with_its_first_frame(
    films: Path, indexed: Callable[[], MediaLibrary]
) -> None:
    film = write_film(
        films / "a.mp4", [RED] * 20 + [GREEN] * 20 + [BLUE] * 20, metadata={"comment": "secret"}
    )
    library = indexed()
    mp4 = library.preview(id_of(library, film), 2.0, 4.0)
    shown = played(mp4)
    assert boxes(mp4).index(b"moov") < boxes(mp4).index(b"mdat")
    assert (shown.codec, shown.pixels, shown.size) == ("h264", "yuv420p", (64, 48))
    assert shown.duration_s == pytest.approx(2.0, abs=0.1)
    assert len(shown.times_s) == 20
    assert shown.times_s[0] == 0.0
    assert colour(shown.first) == pytest.approx(GREEN, abs=12)
    assert b"secret" not in mp4


@pytest.mark.parametrize(("asked", "seen_s"), [((4.0, 99.0), 2.0), ((None, None), 6.0)])
def test_a_moment_ends_with_its_film(
    films: Path,
    indexed: Callable[[], MediaLibrary],
    asked: tuple[float | None, float | None],
    seen_s: float,
) -> None:
    film = write_film(films / "a.mp4", [RED] * 60)
    library = indexed()
    preview = library.preview_of(id_of(library, film), *asked)
    assert played(preview.data).duration_s == pytest.approx(seen_s, abs=0.1)
    assert preview.note == ""


def test_a_long_moment_is_shortened_and_says_so(
    films: Path, indexed: Callable[[], MediaLibrary]
) -> None:
    film = write_film(films / "a.mp4", [RED] * 50, rate=1)
    library = indexed()
    preview = library.preview_of(id_of(library, film), 5.0, 45.0)
    assert preview.end_s - preview.start_s == LONGEST_S
    assert preview.note == ("Of 0:05-0:45 only 0:05-0:35 is shown: a preview is at most 30 s long.")
    assert played(preview.data).duration_s == pytest.approx(LONGEST_S, abs=1.0)


def test_a_large_film_comes_scaled_down_and_odd_sizes_even(
    films: Path, indexed: Callable[[], MediaLibrary]
) -> None:
    large = write_film(films / "large.mkv", [RED] * 3, size=(1281, 723), codec="ffv1")
    library = indexed()
    shown = played(library.preview(id_of(library, large)))
    assert shown.size == (640, 360)


def test_a_preview_fits_into_the_bytes_that_are_asked_for(
    films: Path, indexed: Callable[[], MediaLibrary]
) -> None:
    path = films / "noise.mp4"
    random = np.random.default_rng(1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        stream.codec_context.bit_rate = 20_000_000
        for _ in range(50):
            noise = random.integers(0, 255, (240, 320, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noise, "rgb24")))
        container.mux(stream.encode())
    library = indexed()
    media_id = id_of(library, path)
    free = library.preview(media_id)
    tight = library.preview(media_id, max_bytes=len(free) // 2)
    assert len(tight) <= len(free) // 2
    assert played(tight).duration_s == pytest.approx(2.0, abs=0.1)
    job = PreviewJob(path, 0.0, 2.0, films / "preview.mp4", 500)
    with pytest.raises(MediaError, match="does not fit into 500 bytes"):
        job.run(lambda done: None)
    assert not job.target.exists()


def test_a_preview_is_made_once_for_a_content_and_forgotten_with_its_media(
    films: Path, indexed: Callable[[], MediaLibrary], monkeypatch: pytest.MonkeyPatch
) -> None:
    film = write_film(films / "a.mp4", [RED] * 20)
    library = indexed()
    media_id = id_of(library, film)
    first = library.preview(media_id, 0.5, 1.5)
    started: list[Any] = []
    original = workshop._started
    monkeypatch.setattr(workshop, "_started", lambda: started.append(1) or original())
    assert library.preview(media_id, 0.5, 1.5) == first
    assert not started
    write_film(film, [GREEN] * 20)
    edited = library.preview(media_id, 0.5, 1.5)
    assert started
    assert colour(played(edited).first) == pytest.approx(GREEN, abs=12)
    forget(library, film)
    assert not list((library.directory / PREVIEWS).glob("*/*"))


def test_many_at_once_wait_for_each_other(
    films: Path, indexed: Callable[[], MediaLibrary], monkeypatch: pytest.MonkeyPatch
) -> None:
    film = write_film(films / "a.mp4", [RED] * 20)
    library = indexed()
    media_id = id_of(library, film)
    running, most = [0], [0]
    original = workshop._started

    def counted() -> Any:
        running[0] += 1
        most[0] = max(most[0], running[0])
        return original()

    def ended(process: Any) -> None:
        original_end(process)
        running[0] -= 1

    original_end = workshop._end
    monkeypatch.setattr(workshop, "_started", counted)
    monkeypatch.setattr(workshop, "_end", ended)
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda n: library.preview(media_id, 0.0, 0.5 + n / 10), range(8)))
    assert len(set(made)) == 8
    assert most[0] == 2


def test_a_preview_that_nobody_wants_any_more_ends_while_it_waits_and_while_it_is_made(
    films: Path, indexed: Callable[[], MediaLibrary], monkeypatch: pytest.MonkeyPatch
) -> None:
    film = write_film(films / "a.mp4", [RED] * 20)
    library = indexed()
    media_id = id_of(library, film)
    for at_once in (0, 1):
        turns = threading.Semaphore(at_once)
        monkeypatch.setattr(library_previews, "_making", turns)
        with pytest.raises(workshop.Stopped):
            library.preview(media_id, 0.5, 1.5, stopped=lambda: True)
        assert turns.acquire(blocking=False) == bool(at_once), "the turn is given back"


def test_what_can_not_be_shown_is_refused_with_a_reason(
    films: Path, indexed: Callable[[], MediaLibrary]
) -> None:
    photo = picture(films / "still.jpg")
    film = write_film(films / "a.mp4", [RED] * 20)
    library = indexed()
    with pytest.raises(NotFound):
        library.preview("nothing", 0, 1)
    with pytest.raises(UsageError, match=r"still\.jpg is a photo"):
        library.preview(id_of(library, photo))
    media_id = id_of(library, film)
    for times in ((float("nan"), 1.0), (-1.0, 1.0), (1.0, 1.0), (1.5, 0.5), (0.0, float("inf"))):
        with pytest.raises(UsageError):
            library.preview(media_id, *times)
    with pytest.raises(UsageError, match="after the end"):
        library.preview(media_id, 9.0, 10.0)
    film.write_bytes(film.read_bytes()[:300])
    with pytest.raises(MediaError, match=r"a\.mp4 is not a readable film"):
        library.preview(media_id, 0.0, 1.0)


# -- the process ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sleeps:
    def run(self, tell: Any) -> None:
        tell(0.5)
        time.sleep(60)


@dataclass(frozen=True)
class Works:
    def run(self, tell: Any) -> None:
        while True:
            tell(0.5)
            time.sleep(0.01)


@dataclass(frozen=True)
class Crashes:
    def run(self, tell: Any) -> None:
        tell.begin(3)
        os.kill(os.getpid(), signal.SIGSEGV)


@dataclass(frozen=True)
class Eats:
    def run(self, tell: Any) -> int:
        return len(bytearray(3 * 2**30))


@pytest.fixture
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the other process find the jobs of this module."""
    here = str(Path(__file__).parent)
    monkeypatch.setattr(
        workshop, "_BOOTSTRAP", f"import sys; sys.path.insert(0, {here!r}); {workshop._BOOTSTRAP}"
    )


@pytest.mark.usefixtures("importable")
def test_work_that_gets_nowhere_or_takes_too_much_is_ended() -> None:
    began = time.monotonic()
    with pytest.raises(workshop.Broken, match="1 s without any progress"):
        workshop.run(Sleeps(), limits=Limits(stall_s=1.0))
    with pytest.raises(workshop.Broken, match="longer than the 1 s"):
        workshop.run(Works(), limits=Limits(in_all_s=1.0))
    with pytest.raises(MediaError, match="more memory than the 1 GiB"):
        workshop.run(Eats(), limits=Limits(memory_bytes=2**30))
    assert time.monotonic() - began < 20


@pytest.mark.usefixtures("importable")
def test_a_crash_says_over_which_piece() -> None:
    with pytest.raises(workshop.Broken) as broken:
        workshop.run(Crashes())
    assert broken.value.place == 3
    assert "SIGSEGV" in broken.value.reason


@pytest.mark.usefixtures("importable")
def test_work_is_stopped_when_nobody_wants_it_any_more() -> None:
    told: list[float] = []
    with pytest.raises(workshop.Stopped):
        workshop.run(Works(), tell=told.append, stopped=lambda: bool(told))
    assert told[0] == 0.5


@pytest.mark.skipif(not VIDEO.is_dir(), reason="the shared films are not on this machine")
def test_a_film_that_is_turned_and_one_with_sound_play_as_they_should(
    films: Path, indexed: Callable[[], MediaLibrary]
) -> None:
    shutil.copy(VIDEO / "decord_video_90.mov", films / "turned.mov")
    shutil.copy(VIDEO / "mdn_friday.mp4", films / "speaks.mp4")
    library = indexed()
    turned = played(library.preview(id_of(library, films / "turned.mov")))
    assert turned.size[0] < turned.size[1]
    speaks = played(library.preview(id_of(library, films / "speaks.mp4"), 1.0, 3.0))
    assert speaks.sounds == ["aac"]
    assert speaks.duration_s == pytest.approx(2.0, abs=0.05)
