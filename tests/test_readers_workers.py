"""Files are decoded in processes that can be ended: none hangs, crashes or fills the memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import PIL.Image
import pytest

from made_films import BLUE, RED, write_film
from media_made import picture
from mmrag_plugin.errors import MediaError
from mmrag_plugin.keyframes.base import KeyframeSelector
from mmrag_plugin.keyframes.iframes import IFrameSelector
from mmrag_plugin.media import Frame
from mmrag_plugin.readers import workers
from mmrag_plugin.readers.decoding import HERE
from mmrag_plugin.readers.worker_process import Limits
from mmrag_plugin.readers.workers import DecodesInWorkers


class Misbehaves(KeyframeSelector):
    """Stands for a decoder that goes wrong in its own process."""

    name = "misbehaves"

    def __init__(self, how: str, after: int = 0) -> None:
        self.how, self.after = how, after

    @property
    def stamp(self) -> str:
        return self.name

    def select(self, path: Path) -> Iterator[Frame]:
        for number in range(self.after):
            yield Frame(number, PIL.Image.new("RGB", (8, 8)), float(number), number + 1.0)
        if self.how == "hangs":
            while True:
                pass
        if self.how == "hangs in C":
            sum(range(10**12))  # no signal handler of Python's would run
        if self.how == "crawls":
            for number in range(10**6):
                time.sleep(0.05)
                yield Frame(number, PIL.Image.new("RGB", (8, 8)), float(number), number + 1.0)
        if self.how == "crashes":
            os.kill(os.getpid(), signal.SIGSEGV)
        if self.how == "exits":
            os._exit(3)
        if self.how == "eats":
            bytearray(2**31)
        if self.how == "raises":
            raise RuntimeError("a surprise")


@pytest.fixture(autouse=True)
def _selector_is_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    workers._workers.end()  # those that wait were started without it


def film(tmp_path: Path) -> Path:
    return write_film(tmp_path / "a.mp4", [RED] * 20 + [BLUE] * 20, gop=20)


def test_a_worker_finds_what_is_found_here(tmp_path: Path) -> None:
    decoder = DecodesInWorkers()
    photo = picture(tmp_path / "a.jpg", size=(640, 480), taken_at="2020:01:02 03:04:05")
    assert decoder.facts("image", photo) == HERE.facts("image", photo)
    assert decoder.facts("video", film(tmp_path)) == HERE.facts("video", film(tmp_path))
    for kind, path, selector in [
        ("image", photo, None),
        ("video", film(tmp_path), IFrameSelector()),
    ]:
        options = {"at_least_px": 20, "selector": selector}
        there = list(decoder.frames(kind, path, **options))
        here = list(HERE.frames(kind, path, **options))
        assert [vars(frame) for frame in there] == [vars(frame) for frame in here]


def test_one_process_deals_with_file_after_file(tmp_path: Path) -> None:
    decoder, photo = DecodesInWorkers(), picture(tmp_path / "a.png")
    decoder.facts("image", photo)
    [waiting] = workers._workers._idle
    (tmp_path / "bad.png").write_text("no picture")
    for _ in range(3):
        with pytest.raises(MediaError, match="not a readable picture") as caught:
            decoder.facts("image", tmp_path / "bad.png")
        assert caught.value.path == str(tmp_path / "bad.png")
        list(decoder.frames("image", photo))
    assert workers._workers._idle == [waiting]


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("hangs", "too long to decode .the limit is 1 s"),
        ("hangs in C", "too long to decode .the limit is 1 s"),
        ("crashes", "makes its decoder crash .SIGSEGV"),
        ("exits", "makes its decoder crash .exit status 3"),
        ("eats", "more memory to decode than the 1.5 GiB"),
        ("raises", "RuntimeError: a surprise"),
    ],
)
@pytest.mark.parametrize("after", [0, 2])
def test_a_decoder_that_goes_wrong_ends_in_a_media_error(
    tmp_path: Path, how: str, reason: str, after: int
) -> None:
    decoder = DecodesInWorkers(Limits(step_s=1))
    frames = decoder.frames("video", film(tmp_path), selector=Misbehaves(how, after))
    assert [next(frames).index for _ in range(after)] == list(range(after))
    with pytest.raises(MediaError, match=reason) as caught:
        next(frames)
    assert caught.value.remedy
    assert caught.value.path.endswith("a.mp4")
    assert decoder.facts("video", film(tmp_path)).duration_s == 4, "the next file is dealt with"


def test_a_film_that_always_has_one_more_frame_comes_to_an_end(tmp_path: Path) -> None:
    decoder = DecodesInWorkers(Limits(film_s=1, film_s_for_each_mb=0))
    with pytest.raises(MediaError, match="too long"):
        list(decoder.frames("video", film(tmp_path), selector=Misbehaves("crawls")))


def test_time_that_the_caller_takes_does_not_count(tmp_path: Path) -> None:
    decoder = DecodesInWorkers(Limits(step_s=1, film_s=1, film_s_for_each_mb=0))
    frames = decoder.frames("video", film(tmp_path), selector=IFrameSelector())
    next(frames)
    time.sleep(1.5)
    assert len(list(frames)) == 1


def test_frames_that_nobody_wants_any_more_end_the_process(tmp_path: Path) -> None:
    frames = DecodesInWorkers().frames("video", film(tmp_path), selector=Misbehaves("hangs", 1))
    next(frames)
    frames.close()
    assert workers._workers._idle == []


def test_a_worker_that_gave_up_waiting_is_replaced(tmp_path: Path) -> None:
    decoder, photo = DecodesInWorkers(), picture(tmp_path / "a.png")
    decoder.facts("image", photo)
    [waiting] = workers._workers._idle
    waiting.process.kill()
    waiting.process.wait()
    assert decoder.facts("image", photo).width_px == 48
    [other] = workers._workers._idle
    assert other is not waiting


def test_threads_decode_side_by_side(tmp_path: Path) -> None:
    photos = [picture(tmp_path / f"{n}.png", number=n, size=(40 + n, 30)) for n in range(24)]
    decoder = DecodesInWorkers()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda path: decoder.facts("image", path).width_px, photos))
    assert found == [40 + number for number in range(24)]
    assert 1 <= len(workers._workers._idle) <= 4


def test_workers_end_with_their_parent(tmp_path: Path) -> None:
    photo = picture(tmp_path / "a.png")
    program = (
        "import os, sys\nfrom pathlib import Path\n"
        "from mmrag_plugin.readers import workers\n"
        f"workers.DecodesInWorkers().facts('image', Path({str(photo)!r}))\n"
        "print(workers._workers._idle[0].process.pid, flush=True)\n"
        "os.kill(os.getpid(), 9) if sys.argv[1] == 'killed' else None\n"
    )
    for how in ("killed", "ended"):
        done = subprocess.run(
            [sys.executable, "-c", program, how], capture_output=True, text=True, check=False
        )
        assert done.stderr == ""
        deadline = time.monotonic() + 10
        while _lives(int(done.stdout)) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not _lives(int(done.stdout))


def _lives(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def test_a_worker_needs_nothing_that_starts_slowly() -> None:
    program = "import sys, mmrag_plugin.readers.worker_process; print('llama_index' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout == b"False\n"
