"""Whatever the bytes are, the readers end with what is there or with an error of our own."""

from __future__ import annotations

import contextlib
import io
import random
from collections import Counter
from pathlib import Path

import PIL.Image
import pillow_heif
import pytest

from conftest import SHARED
from made_films import BLUE, RED, write_film
from mmrag_plugin.content_kind import kind_by_content
from mmrag_plugin.errors import MediaError, MissingExtra
from mmrag_plugin.keyframes.iframes import IFrameSelector
from mmrag_plugin.media import Kind
from mmrag_plugin.readers.worker_process import Limits
from mmrag_plugin.readers.workers import DecodesInWorkers
from mmrag_plugin.xmp import parse_xmp
from test_signals_sidecars import SAMPLES, HeldSidecars

STILL = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF", "JPEG2000", "PPM"]
MOVING = ["PNG", "WEBP", "GIF", "AVIF"]
FILMS = [(".mp4", "mpeg4"), (".mkv", "libx264"), (".webm", "libvpx"), (".avi", "mpeg4")]
MAX_BYTES = 400_000
LIMITS = Limits(step_s=20, film_s=40)


def made_files(folder: Path) -> list[bytes]:
    """One small file of each format."""
    pillow_heif.register_heif_opener()
    picture = PIL.Image.effect_noise((90, 60), 60).convert("RGB")
    exif = PIL.Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "A description"
    exif.get_ifd(0x8769)[0x9003] = "2020:06:01 10:20:30"
    found = []
    for form in STILL:
        buffer = io.BytesIO()
        picture.save(buffer, form, **({} if form in ("GIF", "BMP", "PPM") else {"exif": exif}))
        found.append(buffer.getvalue())
    for form in MOVING:
        buffer = io.BytesIO()
        picture.save(buffer, form, save_all=True, append_images=[picture.rotate(90)] * 3)
        found.append(buffer.getvalue())
    for suffix, codec in FILMS:
        path = write_film(folder / f"a{suffix}", [RED] * 8 + [BLUE] * 8, codec=codec, gop=8)
        found.append(path.read_bytes())
    return found


def real_files() -> list[bytes]:
    """Small real files; none where the shared folder is absent."""
    folders = [SHARED / "data/tricky/pillow", SHARED / "data/tricky/exif", SHARED / "data/video"]
    paths = sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())
    return [path.read_bytes() for path in paths if path.stat().st_size < MAX_BYTES]


def spoiled(content: bytes, chance: random.Random) -> bytes:
    """Random bytes, or a file cut off, with bits flipped, or with parts lost, doubled or blank."""
    how = chance.choice(
        ["random", "cut", "flip", "flip", "flip", "header", "lose", "double", "blank"]
    )
    data = bytearray(content)
    if how == "random":
        head = content[: chance.choice([0, 4, 12, 32])]
        return head + chance.randbytes(chance.randrange(1, 4000))
    if how == "cut":
        return content[: chance.randrange(1, len(content))]
    if how in ("flip", "header"):
        end = min(len(data), 300) if how == "header" else len(data)
        for _ in range(chance.choice([1, 4, 30])):
            data[chance.randrange(end)] ^= 1 << chance.randrange(8)
        return bytes(data)
    begin = chance.randrange(len(data))
    end = min(begin + chance.choice([1, 4, 100, 5000]), len(data))
    part = {"lose": b"", "double": data[begin:end] * 2, "blank": b"\0" * (end - begin)}[how]
    return bytes(data[:begin]) + bytes(part) + bytes(data[end:])


def feed(decoder: DecodesInWorkers, path: Path, kind: Kind) -> str:
    """Read facts and frames as an indexing run does; says how it ended."""
    try:
        facts = decoder.facts(kind, path)
        assert facts.width_px > 0
        for frame in decoder.frames(kind, path, at_least_px=64, selector=IFrameSelector()):
            assert frame.picture.mode == "RGB"
    except (MediaError, MissingExtra) as error:
        reported = error
    else:
        return "read"
    assert reported.message
    assert reported.remedy
    assert "can't be processed" not in reported.message, "an error that nobody expected"
    if "decoder crash" in reported.message:
        return "crashed"
    return "too long" if "takes too long" in reported.message else "failed"


def feed_many(folder: Path, count: int, seed: int) -> Counter[str]:
    chance, decoder = random.Random(seed), DecodesInWorkers(LIMITS)
    files = made_files(folder) + real_files()
    ends: Counter[str] = Counter()
    path = folder / "spoiled"
    for number in range(count):
        content = spoiled(chance.choice(files), chance)
        path.write_bytes(content)
        kind = kind_by_content(path) or chance.choice(["image", "video"])
        end = feed(decoder, path, kind)
        ends[end] += 1
        if end in ("crashed", "too long"):
            path.rename(folder / f"{end} {number}")
    return ends


def test_hundreds_of_spoiled_files_end_well(tmp_path: Path) -> None:
    ends = feed_many(tmp_path, 400, seed=1)
    assert ends["read"] > 40
    assert ends["failed"] > 40
    assert ends["too long"] == 0


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(2, 6))
def test_thousands_of_spoiled_files_end_well(tmp_path: Path, seed: int) -> None:
    ends = feed_many(tmp_path, 2000, seed)
    print(dict(ends))
    assert ends["read"] > 200
    assert ends["failed"] > 200
    assert ends["too long"] == 0


# ---- what stands beside media, and packets inside them -----------------------------------------


NAMED = {".json": "farm.jpg.json", ".csv": "captions.csv", ".xmp": "farm.xmp"}


def real_words() -> list[tuple[str, bytes]]:
    """Files that speak about media, as sidecars of one: samples of each format, and real ones."""
    made = [(name, content.encode()) for name, content in SAMPLES.values()]
    paths = sorted(path for path in (SHARED / "data/tricky").rglob("*") if path.is_file())
    real = [(NAMED[path.suffix], path.read_bytes()) for path in paths if path.suffix in NAMED]
    return made + [(name, content) for name, content in real if 1 < len(content) < MAX_BYTES]


def feed_words(count: int, seed: int) -> Counter[str]:
    """Spoil files that speak about media, and have each read as the sidecar that it is."""
    chance, files = random.Random(seed), real_words()
    ends: Counter[str] = Counter()
    for _ in range(count):
        name, content = chance.choice(files)
        data = spoiled(content, chance)
        sidecars = HeldSidecars(name, data)
        said = [sidecars.about(media) for media in ("farm.jpg", "farm.mp4")]
        for signal in (signal for beside in said for signal in beside.signals):
            assert signal.text.strip()
            signal.text.encode()
        problems = sidecars.problems()
        assert all(problem.remedy and name in problem.message for problem in problems)
        ends["failed" if problems else "read"] += 1
        if name.endswith(".xmp"):
            with contextlib.suppress(MediaError):
                parse_xmp(data)
    return ends


def test_thousands_of_spoiled_sidecars_end_well() -> None:
    ends = feed_words(3000, seed=1)
    print(dict(ends))
    assert ends["read"] > 300
    assert ends["failed"] > 300


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_tens_of_thousands_of_spoiled_sidecars_end_well() -> None:
    ends = feed_words(30_000, seed=2)
    print(dict(ends))
    assert ends["failed"] > 3000
