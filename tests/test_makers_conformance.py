"""What every maker keeps to: the right size and length, bad pieces reported, sources untouched."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import PIL.Image
import pytest

from made_films import BLUE, GREEN, RED, lying, write_film
from media_made import picture
from mmrag_plugin.errors import MediaError
from mmrag_plugin.makers import slideshow
from mmrag_plugin.makers.base import Made, MakeJob, Maker, Piece, Problem, Wish
from mmrag_plugin.makers.clip import ClipMaker
from mmrag_plugin.makers.gif import GifMaker
from mmrag_plugin.makers.sheet import SheetMaker
from mmrag_plugin.makers.slideshow import SlideshowMaker
from mmrag_plugin.makers.supercut import SupercutMaker
from mmrag_plugin.makers.workshop import run
from test_clips import Hears, odd

MAKERS: list[Maker] = [ClipMaker(), SupercutMaker(), GifMaker(), SheetMaker(), SlideshowMaker()]
OF_SEVERAL = [maker for maker in MAKERS if maker.what in ("supercut", "sheet", "slideshow")]
OF_PHOTOS = [maker for maker in MAKERS if maker.what in ("sheet", "slideshow")]
HOSTILE = "\x1b[31m\u202egnp.exe\u202c\n\n<b>[img-1]</b> 東京 дом שלום 🐈 " + "x" * 5000


def named(maker: Maker) -> str:
    return maker.what


@pytest.fixture
def film(tmp_path: Path) -> Callable[..., Piece]:
    """Make a film of four seconds, and the piece from 1 to 3 s of it."""

    def make(name: str = "film", size: tuple[int, int] = (96, 64), caption: str = "") -> Piece:
        colours = [RED] * 20 + [GREEN] * 20
        path = write_film(tmp_path / f"{name}.mp4", colours, size=size, codec="libx264")
        return Piece(path, "video", name, 1.0, 3.0, caption)

    return make


def made_by(maker: Maker, pieces: list[Piece], target: Path, **wish: object) -> Made:
    wanted = Wish(tuple(pieces), target.with_suffix(maker.suffixes[0]), long_side_px=160)
    return maker.make(replace(wanted, **wish), Hears())  # type: ignore[arg-type]


def length_s(path: Path) -> float:
    with av.open(str(path)) as container:
        assert container.duration is not None
        return container.duration / 1e6


def frames_of(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.mark.parametrize("maker", MAKERS, ids=named)
def test_what_is_made_is_as_large_and_long_as_it_says(
    maker: Maker, film: Callable[..., Piece], tmp_path: Path
) -> None:
    piece = film()
    before = piece.path.read_bytes(), piece.path.stat().st_mtime_ns
    made = made_by(maker, [piece], tmp_path / "made")
    assert made.what == maker.what
    assert made.size_bytes == made.path.stat().st_size > 100
    assert made.failed == made.warnings == ()
    assert [part.media_id for part in made.pieces] == ["film"]
    if made.path.suffix in (".gif", ".jpg"):
        with PIL.Image.open(made.path) as image:
            assert image.size == (made.width_px, made.height_px)
    else:
        assert frames_of(made.path)[0].shape == (made.height_px, made.width_px, 3)
    if maker.what == "sheet":
        assert made.duration_s is None
    else:
        assert made.duration_s == pytest.approx(2.0, abs=0.1)
        assert length_s(made.path) == pytest.approx(made.duration_s, abs=0.05)
    assert (piece.path.read_bytes(), piece.path.stat().st_mtime_ns) == before


@pytest.mark.parametrize("maker", MAKERS, ids=named)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_what_a_film_shows_behind_the_end_that_it_states_is_made_all_the_same(
    maker: Maker, suffix: str, tmp_path: Path
) -> None:
    colours = [RED] * 30 + [GREEN] * 30 + [BLUE] * 30
    path = write_film(tmp_path / f"film{suffix}", colours, codec="libx264", gop=15)
    piece = Piece(lying(path, 0.3), "video", "film", 6.5, 8.5)
    made = made_by(maker, [piece], tmp_path / "made")
    if maker.what != "sheet":
        assert made.duration_s == pytest.approx(2.0, abs=0.11)
    assert (made.pieces[0].start_s, made.pieces[0].end_s) == (6.5, 8.5)


@pytest.mark.parametrize("maker", MAKERS, ids=named)
def test_the_file_names_its_pieces_and_no_folder(
    maker: Maker, film: Callable[..., Piece], tmp_path: Path
) -> None:
    made = made_by(maker, [film("holiday")], tmp_path / "made")
    content = made.path.read_bytes()
    assert f"Made by mmrag: {maker.what} of holiday.mp4 0:01.000".encode() in content
    assert tmp_path.name.encode() not in content


@pytest.mark.parametrize("maker", MAKERS, ids=named)
def test_nothing_that_can_be_read_is_an_error_with_a_reason(maker: Maker, tmp_path: Path) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no film at all")
    with pytest.raises(MediaError, match=r"bad\.mp4"):
        made_by(maker, [Piece(bad, "video", "bad", 0.0, 1.0)], tmp_path / "made")
    with pytest.raises(MediaError, match="nothing to make"):
        made_by(maker, [], tmp_path / "made")
    crashed = {0: Problem("x.mp4", "x.mp4 makes its decoder crash (SIGSEGV).")}
    piece = Piece(bad, "video", "bad", 0.0, 1.0)
    with pytest.raises(MediaError, match="SIGSEGV"):
        made_by(maker, [piece], tmp_path / "made", left_out=crashed)


@pytest.mark.parametrize("maker", OF_SEVERAL, ids=named)
def test_a_piece_that_can_not_be_read_is_left_out_and_reported(
    maker: Maker, film: Callable[..., Piece], tmp_path: Path
) -> None:
    empty, gone = tmp_path / "empty.mp4", tmp_path / "gone.mp4"
    empty.write_bytes(b"")
    pieces = [
        film("first"),
        Piece(empty, "video", "empty", 0.0, 1.0),
        Piece(gone, "video", "gone", 0.0, 1.0),
        film("crashes"),
        film("last"),
    ]
    crashed = {3: Problem("crashes.mp4", "crashes.mp4 makes its decoder crash (SIGSEGV).")}
    made = made_by(maker, pieces, tmp_path / "made", left_out=crashed)
    assert [piece.media_id for piece in made.pieces] == ["first", "last"]
    assert [Path(problem.path).name for problem in made.failed] == [
        "empty.mp4",
        "gone.mp4",
        "crashes.mp4",
    ]
    assert all(problem.reason for problem in made.failed)


@pytest.mark.parametrize("maker", MAKERS, ids=named)
def test_hostile_captions_and_titles_do_no_harm(
    maker: Maker, film: Callable[..., Piece], tmp_path: Path
) -> None:
    made = made_by(maker, [film(caption=HOSTILE)], tmp_path / "made", title=HOSTILE)
    assert made.failed == ()
    assert made.width_px < 500
    assert b"\x1b[31m" not in made.path.read_bytes()


@pytest.mark.parametrize("maker", MAKERS, ids=named)
def test_it_is_made_in_another_process_and_tells_how_far_it_is(
    maker: Maker, film: Callable[..., Piece], tmp_path: Path
) -> None:
    told: list[float] = []
    wish = Wish((film(),), tmp_path / f"made{maker.suffixes[0]}", long_side_px=160)
    made = run(MakeJob(maker, wish), tell=told.append)
    assert made.path.is_file()
    assert told == sorted(told)
    assert told[-1] > 0.8


@pytest.mark.parametrize("maker", OF_PHOTOS, ids=named)
def test_photos_and_films_upright_and_wide_and_odd_go_together(
    maker: Maker, tmp_path: Path
) -> None:
    demo = Path(__file__).resolve().parents[1] / "src" / "mmrag_plugin" / "demo_media"
    shutil.copy(demo / "City" / "IMG_5120.jpg", tmp_path / "city.jpg")
    tall = PIL.Image.new("RGB", (33, 101), (200, 30, 30))
    tall.save(tmp_path / "tall.webp")
    lying = PIL.Image.new("RGB", (60, 40), (30, 30, 200))
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    lying.save(tmp_path / "lying.jpg", exif=exif)
    wide = picture(tmp_path / "wide.png", "green", size=(201, 13))
    photos = [tmp_path / "city.jpg", tmp_path / "tall.webp", tmp_path / "lying.jpg", wide]
    pieces = [Piece(path, "image", path.stem, caption=path.stem) for path in photos]
    upright = Piece(odd(tmp_path / "upright.mkv", (63, 97)), "video", "upright", 0.0, 1.0)
    made = made_by(maker, [*pieces, upright], tmp_path / "made")
    assert made.failed == ()
    assert len(made.pieces) == 5


# -- supercuts ------------------------------------------------------------------------------------


def test_a_supercut_is_as_long_as_its_parts_and_shows_them_in_order(
    film: Callable[..., Piece], tmp_path: Path
) -> None:
    first = film("a")  # red 1-2 s, green 2-3 s
    blue = write_film(tmp_path / "b.mp4", [BLUE] * 30, size=(64, 96))
    pieces = [first, Piece(blue, "video", "b", 0.5, 2.0), replace(first, start_s=0.2, end_s=1.2)]
    made = made_by(SupercutMaker(), pieces, tmp_path / "made")
    assert made.duration_s == pytest.approx(4.5, abs=0.05)
    assert length_s(made.path) == pytest.approx(4.5, abs=0.1)
    frames = frames_of(made.path)
    assert len(frames) == 45
    seen = [tuple(frames[n][32, 60] // 100) for n in (5, 15, 27, 40)]
    assert seen == [(2, 0, 0), (0, 1, 0), (0, 0, 2), (2, 0, 0)]
    assert frames[27][32, 4].max() < 30  # an upright film stands between bars
    assert made_by(SupercutMaker(), pieces, tmp_path / "short", each_s=0.5).duration_s == (
        pytest.approx(1.5, abs=0.05)
    )


def test_the_sound_of_a_supercut_begins_with_each_part(tmp_path: Path) -> None:
    from test_clips import encoded

    silent = write_film(tmp_path / "silent.mp4", [RED] * 20)
    speaks = encoded(tmp_path / "speaks", "H.264", sound=True)  # loud in 0-1 and 2-3
    pieces = [
        Piece(silent, "video", "silent", 0.0, 1.0),
        Piece(speaks, "video", "speaks", 0.5, 1.5),
    ]
    made = made_by(SupercutMaker(), pieces, tmp_path / "made")
    with av.open(str(made.path)) as container:
        heard = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])
    loud = [float(np.abs(part).max()) for part in np.array_split(heard[:96_000], 4)]
    assert [value > 0.2 for value in loud] == [False, False, True, False]


# -- GIFs -----------------------------------------------------------------------------------------


def test_a_gif_is_short_and_says_so(tmp_path: Path) -> None:
    path = write_film(tmp_path / "long.mp4", [RED] * 40, rate=1)
    made = made_by(GifMaker(), [Piece(path, "video", "long", 5.0, 35.0)], tmp_path / "made")
    assert made.duration_s == 20.0
    assert made.warnings == ("Of 0:05-0:35 only 0:05-0:25 is shown: a GIF is at most 20 s long.",)


# -- slideshows and sheets ------------------------------------------------------------------------


def test_a_slideshow_fades_from_one_picture_into_the_next(tmp_path: Path) -> None:
    red = picture(tmp_path / "red.png", "red", size=(160, 90))
    blue = picture(tmp_path / "blue.png", "blue", size=(160, 90))
    pieces = [Piece(path, "image", path.stem) for path in (red, blue)]
    made = made_by(SlideshowMaker(), pieces, tmp_path / "made", each_s=2.0, fade_s=1.0)
    assert made.duration_s == pytest.approx(3.0)
    frames = frames_of(made.path)
    assert len(frames) == 75
    reds, blues = zip(*[(int(f[45, 80, 0]), int(f[45, 80, 2])) for f in frames], strict=True)
    assert reds[0] == pytest.approx(210, abs=6)
    assert blues[-1] == pytest.approx(210, abs=6)
    assert reds[37] == pytest.approx(120, abs=15)  # half of each in the middle of the fade
    fading = reds[25:50]
    assert list(fading) == sorted(fading, reverse=True)


def test_a_slideshow_of_more_than_the_memory_holds_looks_the_same(
    film: Callable[..., Piece], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = [
        Piece(picture(tmp_path / f"{colour}.png", colour, size=(160, 90)), "image", colour)
        for colour in ("red", "blue", "green")
    ]
    pieces = [*photos, film()]
    whole = made_by(SlideshowMaker(), pieces, tmp_path / "whole", each_s=1.0)
    monkeypatch.setattr(slideshow, "_HELD_BYTES", 0)
    spared = made_by(SlideshowMaker(), pieces, tmp_path / "spared", each_s=1.0)
    assert all(map(np.array_equal, frames_of(whole.path), frames_of(spared.path)))


def test_the_film_in_a_slideshow_moves(film: Callable[..., Piece], tmp_path: Path) -> None:
    made = made_by(SlideshowMaker(), [film()], tmp_path / "made", long_side_px=320)
    frames = frames_of(made.path)
    assert int(frames[5][90, 200].argmax()) == 0  # red at first
    assert int(frames[-5][90, 200].argmax()) == 1  # then green


def test_a_sheet_holds_a_picture_for_each_piece_and_writes_under_it(tmp_path: Path) -> None:
    colours = ["red", "green", "blue", "yellow", "purple", "brown"]
    pieces = [
        Piece(picture(tmp_path / f"{c}.png", c, size=(160, 120)), "image", c, caption=c)
        for c in colours
    ]
    plain = made_by(SheetMaker(), pieces, tmp_path / "plain", captions=False)
    written = made_by(SheetMaker(), pieces, tmp_path / "written", title="Colours")
    assert written.height_px > plain.height_px
    assert written.width_px == plain.width_px
    with PIL.Image.open(plain.path) as sheet:
        seen = [sheet.convert("RGB").quantize(16).getcolors()]
        assert seen
        pixels = np.asarray(sheet.convert("RGB")).reshape(-1, 3)
    for colour in ((210, 30, 30), (30, 160, 50), (30, 50, 210), (240, 220, 40)):
        share = float((np.abs(pixels.astype(int) - colour).max(axis=1) < 25).mean())
        assert share > 0.08, colour


def test_a_png_sheet_keeps_what_it_is_of(film: Callable[..., Piece], tmp_path: Path) -> None:
    wish = Wish((film(),), tmp_path / "made.png")
    SheetMaker().make(wish, Hears())
    with PIL.Image.open(wish.target) as sheet:
        assert sheet.text["Comment"].startswith("Made by mmrag: sheet of film.mp4")  # type: ignore[attr-defined]
