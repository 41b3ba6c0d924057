"""Animated pictures are short films: known by their content, with frames as viewers show them."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from made_films import RED, write_film, write_sound
from media_made import picture
from mmrag_plugin.content_kind import delays_s, kind_by_content
from mmrag_plugin.errors import MediaError
from mmrag_plugin.films import open_film
from mmrag_plugin.keyframes.base import KeyframeSelector
from mmrag_plugin.keyframes.iframes import IFrameSelector
from mmrag_plugin.keyframes.scenes import SceneSelector
from mmrag_plugin.keyframes.uniform import UniformSelector
from mmrag_plugin.readers.video import VideoReader, frame_at

COLOURS = ["red", "navy", "yellow", "black"]
FORMATS = [".gif", ".png", ".webp", ".avif"]


def animation(path: Path, colours: list[str] = COLOURS, *, delay_ms: int = 1500) -> Path:
    """Write an animated picture that shows each colour for a while."""
    first, *others = [PIL.Image.new("RGB", (80, 60), colour) for colour in colours]
    first.save(path, save_all=True, append_images=others, duration=delay_ms, loop=0)
    return path


@pytest.mark.parametrize("suffix", FORMATS)
def test_what_moves_is_told_from_what_is_still(tmp_path: Path, suffix: str) -> None:
    assert kind_by_content(animation(tmp_path / f"moving{suffix}")) == "video"
    still = tmp_path / f"still{suffix}"
    PIL.Image.new("RGB", (8, 8), "red").save(still)
    assert kind_by_content(still) == "image"


def test_real_files_are_known_by_their_content(shared_data: Path) -> None:
    images = shared_data / "tricky/pillow/images"
    moving = {"iss634.webp", "dispose_bgnd_rgba.gif", "dispose_none.gif"}
    moving |= {"dispose_bgnd_transparency.gif", "dispose_none_load_end_second.png"}
    for path in sorted(images.iterdir()):
        if path.suffix in (".gif", ".webp", ".png", ".jpg", ".jp2", ".mpo", ".bmp", ".tif"):
            known = kind_by_content(path)
            with PIL.Image.open(path) if known == "video" else io.BytesIO() as opened:
                assert known != "video" or opened.n_frames > 1, path
            assert known in ("image", "video") or "broken" in path.name or "crash" in path.name
    for path in sorted((shared_data / "video").iterdir()):
        if path.suffix in (".mp4", ".mov", ".mkv", ".webm", ".gif"):
            assert kind_by_content(path) == "video", path
    assert kind_by_content(shared_data / "tricky/exif/heic/IMG_5195.HEIC") == "image"
    assert kind_by_content(images / "avif/star.avifs") == "video"
    assert kind_by_content(images / "avif/rot1mir0.avif") == "image"
    assert moving >= {p.name for p in images.iterdir() if p.suffix == ".gif"} - {"hopper.gif"}


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".avi", ".ts", ".flv", ".mov"])
def test_films_are_known_by_their_content(tmp_path: Path, suffix: str) -> None:
    codec = {".webm": "libvpx", ".flv": "flv"}.get(suffix, "mpeg4")
    path = write_film(tmp_path / f"a{suffix}", [RED] * 30, codec=codec, rate=25)
    path = path.rename(tmp_path / "picture.jpg")
    assert kind_by_content(path) == "video"


def test_what_is_neither_is_left_to_its_name(tmp_path: Path) -> None:
    sound = write_sound(tmp_path / "sound.m4a")
    for content in (
        b"",
        b"x",
        b"Dear diary",
        b"%PDF-1.7",
        b"GIF",
        b"RIFF\0\0\0\0WAVE",
        b"P\n",
        b"BM",
    ):
        (tmp_path / "file").write_bytes(content)
        assert kind_by_content(tmp_path / "file") is None, content
    assert kind_by_content(sound) in (None, "video")


@given(
    st.sampled_from(["GIF89a", "\x89PNG\r\n\x1a\n", "RIFF\0\0\0\0WEBP"]), st.binary(max_size=200)
)
def test_any_bytes_have_some_delays(head: str, rest: bytes) -> None:
    found = delays_s(io.BytesIO(head.encode("latin-1") + rest))
    assert found
    assert all(delay_s > 0 for delay_s in found)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("selector", [IFrameSelector(), UniformSelector(), SceneSelector()])
def test_an_animation_is_a_short_film(
    tmp_path: Path, suffix: str, selector: KeyframeSelector
) -> None:
    path = animation(tmp_path / f"a{suffix}")
    frames = list(selector.select(path))
    facts = VideoReader().facts(path)
    assert facts.duration_s == pytest.approx(6.0)
    assert (facts.width_px, facts.height_px) == (80, 60)
    assert [frame.time_s for frame in frames][:2] in ([0, 1.5], [0, 3.0])
    assert frames[-1].end_s == pytest.approx(6.0)
    assert all(a.end_s == b.time_s for a, b in itertools.pairwise(frames))
    red = frames[0].picture.getpixel((40, 30))
    assert red[0] > 200
    assert red[1] < 60


@pytest.mark.parametrize("suffix", FORMATS)
def test_each_time_of_an_animation_shows_its_frame(tmp_path: Path, suffix: str) -> None:
    path = animation(tmp_path / f"a{suffix}")
    times = [(0, "red"), (1.4, "red"), (1.6, "navy"), (4, "yellow"), (99, "black")]
    for time_s, colour in times:
        shown = frame_at(path, time_s).getpixel((40, 30))
        wanted = PIL.Image.new("RGB", (1, 1), colour).getpixel((0, 0))
        assert max(abs(a - b) for a, b in zip(shown, wanted, strict=True)) < 40, (time_s, shown)


@pytest.mark.parametrize("suffix", [".gif", ".png"])
def test_what_is_see_through_lies_on_white(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    frames = [PIL.Image.new("RGBA", (40, 40), (0, 0, 0, 0)) for _ in range(3)]
    for number, frame in enumerate(frames):
        frame.paste((200, 0, 0, 255), (number * 10, 0, number * 10 + 10, 40))
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=500, disposal=2)
    with open_film(path) as film:
        shown = [film.picture(frame) for _, frame in film.frames()]
    assert [picture.getpixel((35, 5)) for picture in shown] == [(255, 255, 255)] * 3
    assert [picture.getpixel((25, 5))[1] < 90 for picture in shown] == [False, False, True]


def test_a_delay_of_nothing_is_what_browsers_make_of_it(tmp_path: Path) -> None:
    path = animation(tmp_path / "a.gif", delay_ms=0)
    assert VideoReader().facts(path).duration_s == pytest.approx(0.4)


def test_a_picture_that_stands_in_for_a_moving_png_is_no_frame(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    frames = [PIL.Image.new("RGB", (80, 60), colour) for colour in ["white", *COLOURS]]
    frames[0].save(path, save_all=True, append_images=frames[1:], default_image=True, duration=1000)
    with open_film(path) as film:
        assert film.duration_s == pytest.approx(4.0)
        shown = [film.picture(frame).getpixel((40, 30)) for _, frame in film.frames()]
    assert shown[0] == (255, 0, 0)
    assert len(shown) == 4


@pytest.mark.parametrize("suffix", FORMATS)
def test_an_animation_that_breaks_off_gives_what_is_there(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    first, *others = [PIL.Image.effect_noise((120, 90), 90).convert("RGB") for _ in range(8)]
    first.save(path, save_all=True, append_images=others, duration=1000)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    if suffix in (".avif", ".webp"):  # their decoders want all of it
        with pytest.raises(MediaError):
            list(IFrameSelector().select(path))
    else:
        assert 1 <= len(list(IFrameSelector().select(path))) <= 8


def test_what_an_animation_says_about_itself_is_read(tmp_path: Path) -> None:
    exif = PIL.Image.Exif()
    exif[0x010E] = "Newton's cradle"
    frames = [PIL.Image.new("RGB", (80, 60), colour) for colour in COLOURS]
    path = tmp_path / "a.webp"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=500, exif=exif)
    facts = VideoReader().facts(path)
    assert [signal.text for signal in facts.signals] == ["Newton's cradle"]


def test_a_still_picture_opened_as_a_film_is_one_frame(tmp_path: Path) -> None:
    [frame] = IFrameSelector().select(picture(tmp_path / "a.png"))
    assert (frame.time_s, frame.end_s) == (0, 0.1)
