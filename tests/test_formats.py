"""What happens with each format: the tables of docs/formats.md are made here, and hold.

``MMRAG_WRITE_DOCS=1 pytest tests/test_formats.py`` writes them anew.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import PIL.Image
import pillow_heif
import pytest

from made_films import BLUE, RED, write_film, write_sound
from media_made import end_owners
from mmrag_plugin.content_kind import kind_by_content
from mmrag_plugin.errors import MediaError
from mmrag_plugin.films import open_film
from mmrag_plugin.media import RAW_SUFFIXES, Kind, kind_of
from mmrag_plugin.pictures import open_picture
from mmrag_plugin.readers.base import MediaReader
from mmrag_plugin.readers.photo import PhotoReader
from mmrag_plugin.readers.video import VideoReader
from mmrag_plugin.walking import Problem
from test_keyframes import turned
from test_motion_photos import apple, boxed, google, samsung
from test_raw_pictures import jpeg, raw_file, sensor_only

PAGE = Path(__file__).resolve().parents[1] / "docs" / "formats.md"
READERS: dict[Kind, MediaReader] = {"image": PhotoReader(), "video": VideoReader()}
MOST_BYTES = 2 * 2**30  # that a run over the tricky files may take, all processes together


def still(form: str, mode: str = "RGB", **options: object) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        pillow_heif.register_heif_opener()
        image = PIL.Image.effect_noise((60, 40), 60).convert("RGB")
        if mode == "I;16":
            image = image.convert("L").convert("I;16")
        image.convert(mode).save(path, form, **options)

    return write


def moving(form: str) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        first, *others = [PIL.Image.new("RGB", (60, 40), c) for c in ("red", "navy", "white")]
        first.save(path, form, save_all=True, append_images=others, duration=1000)

    return write


def film(codec: str) -> Callable[[Path], object]:
    return lambda path: write_film(path, [RED] * 20 + [BLUE] * 20, codec=codec, gop=20)


def jpeg_xl(path: Path) -> None:
    pytest.importorskip("pillow_jxl")
    still("JXL")(path)


def cover(path: Path) -> None:
    import av

    sound = write_sound(path.with_name("sound.m4a"))
    with av.open(str(sound)) as source, av.open(str(path), "w") as target:
        audio = target.add_stream_from_template(source.streams.audio[0])
        picture = target.add_stream("png", rate=1)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "rgb24"
        picture.disposition = av.stream.Disposition.attached_pic
        for packet in source.demux(audio=0):
            if packet.dts is not None:
                packet.stream = audio
                target.mux(packet)
        target.mux(picture.encode(av.VideoFrame(64, 48, "rgb24")))
        target.mux(picture.encode())


def renamed(write: Callable[[Path], object], suffix: str) -> Callable[[Path], object]:
    def lie(path: Path) -> None:
        honest = path.with_name(f"honest{suffix}")
        write(honest)
        honest.rename(path)

    return lie


SAMPLES: list[tuple[str, str, Callable[[Path], object]]] = [
    ("JPEG", "a.jpg", still("JPEG")),
    ("JPEG, CMYK", "a.jpg", still("JPEG", "CMYK")),
    ("JPEG with several pictures", "a.mpo", still("MPO", save_all=True)),
    ("PNG", "a.png", still("PNG")),
    ("PNG, 16 bit", "a.png", still("PNG", "I;16")),
    ("PNG, palette", "a.png", still("PNG", "P")),
    ("PNG, see-through", "a.png", still("PNG", "RGBA")),
    ("PNG, animated", "a.png", moving("PNG")),
    ("WebP", "a.webp", still("WEBP")),
    ("WebP, animated", "a.webp", moving("WEBP")),
    ("GIF", "a.gif", still("GIF")),
    ("GIF, animated", "a.gif", moving("GIF")),
    ("BMP", "a.bmp", still("BMP")),
    ("TIFF", "a.tif", still("TIFF")),
    ("TIFF of several pages", "a.tif", moving("TIFF")),
    ("JPEG 2000", "a.jp2", still("JPEG2000")),
    ("HEIC", "a.heic", still("HEIF")),
    ("AVIF", "a.avif", still("AVIF")),
    ("AVIF, animated", "a.avifs", moving("AVIF")),
    ("JPEG XL (extra `jxl`)", "a.jxl", jpeg_xl),
    ("PPM", "a.ppm", still("PPM")),
    ("RAW with a preview", "a.nef", lambda path: raw_file(path, jpeg((1600, 1200)))),
    ("RAW without (extra `raw`)", "a.dng", sensor_only),
    ("Live Photo", "a.HEIC", lambda path: apple(path.parent, path.name)),
    ("motion photo of Google", "a.jpg", lambda path: google(path.parent, path.name)),
    ("motion photo of Samsung", "a.jpg", lambda path: samsung(path.parent, path.name)),
    ("motion photo, HEIC", "a.heic", lambda path: boxed(path.parent, path.name)),
    ("MP4", "a.mp4", film("mpeg4")),
    ("QuickTime", "a.mov", film("libx264")),
    ("Matroska", "a.mkv", film("libx264")),
    ("WebM", "a.webm", film("libvpx")),
    ("AVI", "a.avi", film("mpeg4")),
    ("MPEG transport stream", "a.ts", film("libx264")),
    ("sound named like a film", "a.mp4", renamed(write_sound, ".m4a")),
    ("sound with a cover", "a.mp4", cover),
    ("picture named like a film", "a.mp4", still("PNG")),
    ("film named like a picture", "a.jpg", renamed(film("mpeg4"), ".mp4")),
    ("text named like a picture", "a.jpg", lambda path: path.write_text("Dear diary")),
]


def outcome(path: Path) -> str:
    """What the readers make of a file, in words."""
    kind = kind_by_content(path) or kind_of(path)
    assert kind is not None
    try:
        facts = READERS[kind].facts(path)
        frames = list(READERS[kind].frames(path))
    except MediaError as error:
        return "failed: " + error.message.replace(str(path), "it")
    said = f"{kind}, {len(frames)} frame{'s' * (len(frames) > 1)}"
    return said if facts.duration_s is None else f"{said}, {facts.duration_s:.1f} s"


def between(page: str, name: str, table: str) -> str:
    head, found, rest = page.partition(f"<!-- {name} -->\n")
    assert found, f"docs/formats.md has no place for {name}"
    tail = rest[rest.index(f"<!-- end of {name} -->") :]
    return head + found + table + tail


def compare(name: str, table: str) -> None:
    page = PAGE.read_text(encoding="utf-8")
    wanted = between(page, name, table)
    if os.environ.get("MMRAG_WRITE_DOCS"):
        PAGE.write_text(wanted, encoding="utf-8")
    assert page == wanted, "run MMRAG_WRITE_DOCS=1 pytest tests/test_formats.py"


def test_the_page_says_what_happens_with_each_format(tmp_path: Path) -> None:
    pytest.importorskip("rawpy")
    rows = ["| format | for instance | what comes of it |", "|---|---|---|"]
    for number, (label, name, write) in enumerate(SAMPLES):
        folder = tmp_path / str(number)
        folder.mkdir()
        write(folder / name)
        rows.append(f"| {label} | `{name}` | {outcome(folder / name)} |")
    compare("formats", "\n".join(rows) + "\n")


def test_every_suffix_of_a_raw_file_stands_on_the_page() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert [suffix for suffix in sorted(RAW_SUFFIXES) if f"`{suffix}`" not in page] == []


# ---- the tricky files ------------------------------------------------------------------------


def tree_bytes(pid: int) -> int:
    """The memory of a process and all below it, what they share counted once for each."""
    total, below = 0, [pid]
    while below:
        here = below.pop()
        try:
            total += int(Path(f"/proc/{here}/statm").read_text().split()[1]) * 4096
            for task in Path(f"/proc/{here}/task").iterdir():
                below += map(int, (task / "children").read_text().split())
        except OSError:
            continue
    return total


@pytest.mark.skipif(sys.platform != "linux", reason="reads memory from /proc")
@pytest.mark.timeout(600)
def test_every_tricky_file_is_indexed_or_reported(tmp_path: Path, shared_data: Path) -> None:
    folder, home = (shared_data / "tricky").resolve(), tmp_path / "home"
    program = "from mmrag_plugin.cli.main import main; main()"
    command = [sys.executable, "-c", program, "index", str(folder), "--json", "--home", str(home)]
    command += ["--visual-model", "palette", "--text-model", "off", "--no-ocr"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    most = 0
    while process.poll() is None:
        most = max(most, tree_bytes(process.pid))
        time.sleep(0.05)
    with process.stdout:
        report = json.loads(process.stdout.read())
    end_owners(home)
    print(f"at most {most / 2**20:.0f} MiB")
    assert most < MOST_BYTES

    failed = {bad["path"]: Problem(**bad) for bad in report["failed"]}
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    media = [path for path in files if kind_of(path) and path.stat().st_size]
    assert failed.keys() <= {str(path) for path in files}
    by_content = {path.read_bytes() for path in media if str(path) not in failed}
    embedded = report["stages"]["embed"]
    assert (embedded["done"], embedded["pending"]) == (len(by_content), 0)
    rows = ["| file | why it is not in the library |", "|---|---|"]
    for path in files:
        if str(path) in failed and kind_of(path):
            assert failed[str(path)].remedy
            reason = failed[str(path)].reason.replace(str(path), "it")
            rows.append(f"| `{path.name}` | {reason} |")
    rows.append(f"\n{len(by_content)} media of {len(media)} files; {len(rows) - 2} failed.")
    compare("tricky", "\n".join(rows) + "\n")


# ---- which way is up -------------------------------------------------------------------------


@pytest.mark.parametrize("at_least_px", [None, 50, 33])
def test_the_eight_orientations_give_the_same_pixels(at_least_px: int | None) -> None:
    turns = PIL.Image.Transpose
    stored = [turns.FLIP_LEFT_RIGHT, turns.ROTATE_180, turns.FLIP_TOP_BOTTOM, turns.TRANSPOSE]
    stored += [turns.ROTATE_90, turns.TRANSVERSE, turns.ROTATE_270]
    image = PIL.Image.effect_noise((203, 131), 90).convert("RGB")
    expected = open_picture(png(image, 1), at_least_px=at_least_px)
    for orientation, turn in enumerate(stored, start=2):
        seen = open_picture(png(image.transpose(turn), orientation), at_least_px=at_least_px)
        assert seen.size == expected.size
        assert seen.tobytes() == expected.tobytes(), orientation


def png(image: PIL.Image.Image, orientation: int) -> bytes:
    exif, buffer = PIL.Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    image.save(buffer, "PNG", exif=exif)
    return buffer.getvalue()


def test_the_four_rotations_of_a_film_give_the_same_picture(tmp_path: Path) -> None:
    picture = PIL.Image.radial_gradient("L").resize((96, 64)).convert("RGB")
    picture.paste("red", (0, 0, 48, 32))
    picture.paste("navy", (48, 32, 96, 64))
    turns = PIL.Image.Transpose
    # by what the camera turned the picture, and the matrix a, b, c, d that turns it back
    rotations = [
        (None, (1, 0, 0, 1)),
        (turns.ROTATE_90, (0, 1, -1, 0)),
        (turns.ROTATE_180, (-1, 0, 0, -1)),
        (turns.ROTATE_270, (0, -1, 1, 0)),
    ]
    seen = []
    for number, (turn, matrix) in enumerate(rotations):
        path = tmp_path / f"{number}.mp4"
        write_pictures(path, [picture if turn is None else picture.transpose(turn)] * 3)
        [frame] = VideoReader().frames(turned(path, matrix))
        seen.append(frame.picture)
    for other in seen:
        assert other.size == (96, 64)
        differences = [abs(a - b) for a, b in zip(seen[0].tobytes(), other.tobytes(), strict=True)]
        assert sum(differences) / len(differences) < 3  # of 255: what compression leaves


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_films_that_ffmpeg_marks_as_turned_give_the_same_picture(tmp_path: Path) -> None:
    def ffmpeg(*arguments: str | Path) -> None:
        command = ["ffmpeg", "-v", "error", "-y", *map(str, arguments)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)

    scene = ["-f", "lavfi", "-i", "smptebars=size=96x64:rate=10:duration=1"]
    seen = []
    for degrees, turn in (
        (0, "null"),
        (90, "transpose=1"),
        (180, "hflip,vflip"),
        (270, "transpose=2"),
    ):
        stored, marked = tmp_path / "stored.mov", tmp_path / f"{degrees}.mov"
        ffmpeg(*scene, "-vf", turn, "-c:v", "libx264", "-crf", "5", "-pix_fmt", "yuv444p", stored)
        ffmpeg("-i", stored, "-c", "copy", "-metadata:s:v:0", f"rotate={degrees}", marked)
        frame = next(iter(VideoReader().frames(marked)))
        seen.append(frame.picture)
    for other in seen:
        assert other.size == (96, 64)
        differences = [abs(a - b) for a, b in zip(seen[0].tobytes(), other.tobytes(), strict=True)]
        print(f"differs by {sum(differences) / len(differences):.2f} of 255 on average")
        assert sum(differences) / len(differences) < 3


def test_a_real_film_that_was_taken_upside_down_is_upright(shared_data: Path) -> None:
    pictures = []
    for flag in (0, 180):  # two films of one scene
        with open_film(shared_data / f"video/decord_video_{flag}.mov") as opened:
            _, frame = next(opened.frames())
            pictures.append(opened.picture(frame))
    straight, seen = pictures
    assert far_apart(straight, seen) < far_apart(straight.rotate(180), seen)


def far_apart(one: PIL.Image.Image, other: PIL.Image.Image) -> float:
    small = [picture.resize((24, 24)).tobytes() for picture in (one, other)]
    return sum(abs(a - b) for a, b in zip(*small, strict=True)) + 10**6 * (one.size != other.size)


def write_pictures(path: Path, pictures: list[PIL.Image.Image]) -> None:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "5"})
        stream.width, stream.height = pictures[0].size
        stream.pix_fmt = "yuv444p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode())
