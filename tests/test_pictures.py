"""Pictures open upright, as RGB and bounded, or end in a MediaError that says what to do."""

from __future__ import annotations

import io
import os
import struct
import threading
import time
import warnings
import zlib
from pathlib import Path

import PIL.Image
import pytest
from PIL import ImageCms

from mmrag_plugin import pictures
from mmrag_plugin.colours import to_rgb
from mmrag_plugin.errors import MediaError, MissingExtra
from mmrag_plugin.model_input import bounded
from mmrag_plugin.pictures import identified_picture, open_picture, require_file, to_jpeg
from mmrag_plugin.readers.decoding import HERE


def quartered(size: tuple[int, int] = (80, 40)) -> PIL.Image.Image:
    """A picture whose four quarters differ: red, green, blue, white."""
    image = PIL.Image.new("RGB", size)
    half = (size[0] // 2, size[1] // 2)
    for x, y, colour in [(0, 0, "red"), (1, 0, "green"), (0, 1, "blue"), (1, 1, "white")]:
        image.paste(colour, (x * half[0], y * half[1], (x + 1) * half[0], (y + 1) * half[1]))
    return image


def saved(image: PIL.Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def corners(image: PIL.Image.Image) -> list[str]:
    """Name the colours of the four quarters, row by row."""
    width, height = image.size
    names = []
    for y in (height // 4, 3 * height // 4):
        for x in (width // 4, 3 * width // 4):
            red, green, blue = (channel > 100 for channel in image.getpixel((x, y)))
            names.append(
                "white" if red and green else "red" if red else "blue" if blue else "green"
            )
    return names


def bomb(width: int, height: int) -> bytes:
    """A tiny PNG that claims to be huge."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(9))
def test_every_orientation_comes_out_upright(form: str, orientation: int) -> None:
    stored = {
        2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
        3: PIL.Image.Transpose.ROTATE_180,
        4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
        5: PIL.Image.Transpose.TRANSPOSE,
        6: PIL.Image.Transpose.ROTATE_90,
        7: PIL.Image.Transpose.TRANSVERSE,
        8: PIL.Image.Transpose.ROTATE_270,
    }.get(orientation)
    image = quartered() if stored is None else quartered().transpose(stored)
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    upright = open_picture(saved(image, form, exif=exif))
    assert upright.size == (80, 40)
    assert corners(upright) == ["red", "green", "blue", "white"]


def test_real_pictures_of_all_orientations_show_the_same(shared_data: Path) -> None:
    first = open_picture(shared_data / "tricky/orientation/Landscape_1.jpg").resize((8, 8))
    for number in range(9):
        other = open_picture(shared_data / f"tricky/orientation/Landscape_{number}.jpg")
        assert other.size == (1800, 1200)
        differences = [
            abs(a - b) for a, b in zip(first.tobytes(), other.resize((8, 8)).tobytes(), strict=True)
        ]
        assert max(differences) < 40  # the digit in the middle differs


def test_broken_exif_never_fails_a_readable_picture() -> None:
    data = saved(quartered(), "JPEG", exif=b"Exif\x00\x00MM\x00\x2a\xff\xff\xff\xff garbage")
    assert corners(open_picture(data)) == ["red", "green", "blue", "white"]


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "LA", "CMYK", "YCbCr", "I;16", "I", "F"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    if mode == "I;16":
        image = PIL.Image.new("I;16", (4, 4), 65535)
    else:
        image = PIL.Image.new("RGB", (4, 4), "white").convert(mode)
    converted = to_rgb(image)
    assert converted.mode == "RGB"
    assert min(converted.getpixel((1, 1))) > 250


def test_what_is_see_through_lies_on_white() -> None:
    image = PIL.Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert open_picture(saved(image, "PNG")).getpixel((1, 1)) == (255, 255, 255)


def test_white_drawings_that_are_see_through_lie_on_black(tmp_path: Path) -> None:
    image = PIL.Image.new("RGBA", (400, 300), (255, 255, 255, 0))
    image.paste((250, 250, 250, 255), (100, 100, 200, 200))
    for at_least_px in (None, 50):
        seen = open_picture(saved(image, "PNG"), at_least_px=at_least_px)
        assert seen.getpixel((0, 0)) == (0, 0, 0)
        assert max(band[1] for band in seen.getextrema()) == 250
    dark = image.copy()
    dark.paste((9, 9, 9, 255), (120, 120, 180, 180))
    assert open_picture(saved(dark, "PNG")).getpixel((0, 0)) == (255, 255, 255)


def profile(name: str) -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes()


def swapped_profile() -> bytes:
    """An sRGB profile whose red and blue are exchanged, which nobody can overlook."""
    data = profile("sRGB")
    tags = {data[at : at + 4]: at for at in range(132, 132 + 12 * data[131], 12)}
    red, blue = tags[b"rXYZ"], tags[b"bXYZ"]
    swapped = bytearray(data)
    swapped[red : red + 4], swapped[blue : blue + 4] = b"bXYZ", b"rXYZ"
    return bytes(swapped).replace(b"sRGB", b"GBRs").replace("sRGB".encode("utf-16-be"), b"\0?" * 4)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
@pytest.mark.parametrize("at_least_px", [None, 20])
def test_colours_are_those_that_the_profile_means(form: str, at_least_px: int | None) -> None:
    image = PIL.Image.new("RGB", (80, 40), (200, 30, 30))
    kept = open_picture(saved(image, form, icc_profile=profile("sRGB")), at_least_px=at_least_px)
    assert kept.getpixel((5, 5))[0] > 150 > kept.getpixel((5, 5))[2]
    data = saved(image, form, icc_profile=swapped_profile())
    meant = open_picture(data, at_least_px=at_least_px)
    assert meant.getpixel((5, 5))[2] > 150 > meant.getpixel((5, 5))[0]
    assert "icc_profile" not in meant.info, "else it would be applied once more"
    assert to_rgb(meant).tobytes() == meant.tobytes()


def test_wide_colours_of_a_phone_keep_their_strength(shared_data: Path) -> None:
    path = shared_data / "tricky/exif/heic/IMG_5195.HEIC"
    with identified_picture(path) as image:
        assert "P3" in str(image.info["icc_profile"].replace(b"\0", b""))
        as_stored = image.convert("RGB").resize((32, 32))
    meant = open_picture(path).resize((32, 32))
    assert meant.tobytes() != as_stored.tobytes()


@pytest.mark.parametrize("spoiled", [b"x" * 200, profile("LAB"), swapped_profile()[:300]])
def test_a_profile_that_is_broken_or_does_not_fit_is_passed_over(spoiled: bytes) -> None:
    data = saved(quartered(), "PNG", icc_profile=spoiled)
    assert corners(open_picture(data)) == ["red", "green", "blue", "white"]


def test_cmyk_comes_out_as_it_was_printed(shared_data: Path) -> None:
    folder = shared_data / "tricky/pillow/images"
    mixed = open_picture(folder / "pil_sample_cmyk.jpg")
    seen = open_picture(folder / "pil_sample_rgb.jpg")
    differences = [abs(a - b) for a, b in zip(mixed.tobytes(), seen.tobytes(), strict=True)]
    assert sum(differences) / len(differences) < 25


def test_floats_between_nought_and_one_are_no_black_picture() -> None:
    image = PIL.Image.new("F", (8, 8), 0.5)
    image.putpixel((0, 0), 1.0)
    assert open_picture(saved(image, "TIFF")).getpixel((4, 4))[0] in (127, 128)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "I;16", "1", "LA"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_large_picture_in_bands_is_the_same_as_in_one_piece(
    mode: str, orientation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = PIL.Image.radial_gradient("L").resize((230, 170)).convert("RGB")
    image = image.convert("L").convert("I;16") if mode == "I;16" else image.convert(mode)
    form = "TIFF" if mode == "CMYK" else "PNG"
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    data = saved(image, form, exif=exif)
    expected = open_picture(data).reduce(3)
    monkeypatch.setattr(pictures, "_BAND_PIXELS", 2000)
    found = open_picture(data, at_least_px=50)
    assert found.size == expected.size
    assert found.tobytes() == expected.tobytes()


def test_jpeg_xl_is_read_where_its_decoder_is_installed(shared_data: Path) -> None:
    pytest.importorskip("pillow_jxl")
    assert open_picture(shared_data / "tricky/formats/jxl/8bit-sRGB.jxl").size == (1440, 1080)


def test_without_its_decoder_a_jpeg_xl_picture_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "find_spec", lambda name: None)
    known = {name: how for name, how in PIL.Image.OPEN.items() if name != "JXL"}
    monkeypatch.setattr(PIL.Image, "OPEN", known)
    path = tmp_path / "a.jxl"
    path.write_bytes(b"\xff\x0a" + b"rest")
    for source in (path, path.read_bytes()):
        with pytest.raises(MissingExtra) as caught:
            open_picture(source)
        assert "mmrag-plugin[jxl]" in caught.value.remedy


def test_sixteen_bit_tiffs_of_both_byte_orders_are_read(shared_data: Path) -> None:
    folder = shared_data / "tricky/pillow/images"
    big, little = (open_picture(folder / f"16bit.{name}cropped.tif") for name in ("MM.", ""))
    assert big.tobytes() == little.tobytes()
    assert 20 < sum(big.convert("L").tobytes()) / (64 * 64) < 235


def test_a_large_jpeg_is_decoded_no_larger_than_needed() -> None:
    data = saved(quartered((1600, 800)), "JPEG")
    image = open_picture(data, at_least_px=200)
    assert image.size == (400, 200)
    assert open_picture(data, at_least_px=201).size == (800, 400)
    assert open_picture(data, at_least_px=5000).size == (1600, 800)
    assert corners(image) == ["red", "green", "blue", "white"]


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF", "AVIF"])
def test_a_large_picture_of_any_format_comes_no_larger_than_needed(form: str) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 3
    data = saved(quartered((1601, 803)).rotate(180), form, exif=exif)
    image = open_picture(data, at_least_px=200)
    assert image.size == (401, 201)
    assert corners(image) == ["red", "green", "blue", "white"]
    assert open_picture(data, at_least_px=402).size == (1601, 803)
    assert open_picture(data).size == (1601, 803)


def test_a_picture_that_comes_scaled_down_is_the_same_to_a_model() -> None:
    image = PIL.Image.effect_noise((1000, 700), 80).convert("RGB")
    scaled = open_picture(saved(image, "PNG"), at_least_px=224)
    assert bounded(scaled, 224).tobytes() == bounded(image, 224).tobytes()


def test_all_pages_of_a_tiff_are_seen_and_smaller_versions_are_none(tmp_path: Path) -> None:
    path = tmp_path / "scan.tif"
    pages = [PIL.Image.new("RGB", (80, 60), colour) for colour in ("red", "lime", "blue")]
    pages[1].encoderinfo = {"tiffinfo": {254: 1}}  # type: ignore[attr-defined]
    pages[0].save(path, save_all=True, append_images=pages[1:])
    seen = list(HERE.frames("image", path, at_least_px=20))
    assert [frame.index for frame in seen] == [0, 1]
    assert [frame.picture.getpixel((5, 5)) for frame in seen] == [(255, 0, 0), (0, 0, 255)]
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - 4000])
    assert [frame.index for frame in HERE.frames("image", path)] == [0]


def test_a_truncated_jpeg_is_reported_with_a_remedy(tmp_path: Path) -> None:
    path = tmp_path / "half.jpg"
    path.write_bytes(saved(quartered((400, 400)), "JPEG")[:2000])
    with pytest.raises(MediaError, match="not a readable picture") as caught:
        open_picture(path)
    assert "backup" in caught.value.remedy
    assert caught.value.path == str(path)


def test_a_bomb_is_refused_before_its_pixels_are_made() -> None:
    started = time.perf_counter()
    with pytest.raises(MediaError, match="too large"):
        open_picture(bomb(60_000, 60_000))
    assert time.perf_counter() - started < 1


def test_a_photo_of_two_hundred_megapixels_is_within_the_limit() -> None:
    with pytest.raises(MediaError) as caught:  # its pixels are missing, its size is no obstacle
        open_picture(bomb(16_320, 12_240))
    assert "too large" not in caught.value.message


def test_a_jpeg_that_shows_itself_again_and_again_is_refused(tmp_path: Path) -> None:
    data = saved(quartered((400, 400)), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    path = tmp_path / "again.jpg"
    path.write_bytes(data[:-2] + data[last:-2] * 100 + data[-2:])
    with pytest.raises(MediaError, match="too long to decode") as caught:
        open_picture(path)
    assert caught.value.remedy
    assert caught.value.path == str(path)
    hidden = b"\xff\xfe\x00\x04\xff\xd9" + data[last:-2] * 100  # an end only in a comment
    with pytest.raises(MediaError, match="more than 100 scans"):
        open_picture(data[:-2] + hidden + data[-2:])


def test_what_stands_before_and_behind_the_pixels_of_a_jpeg_is_no_scan() -> None:
    scans = b"\xff\xda\x00\x02" * 300
    image = quartered()
    data = saved(image, "JPEG", progressive=True, comment=scans) + scans
    assert corners(open_picture(data)) == ["red", "green", "blue", "white"]
    last = data.index(b"\xff\xda", data.index(scans) + len(scans))
    between = b"\xff\xfe" + struct.pack(">H", len(scans) + 2) + scans
    assert corners(open_picture(data[:last] + between + data[last:])) == corners(image)


@pytest.mark.parametrize("header", [b"P6 %d %d 254\n", b"P3 %d %d 255\n", b"P5 %d %d 1000\n"])
def test_kinds_of_ppm_that_decode_slowly_are_refused_when_large(header: bytes) -> None:
    started = time.perf_counter()
    with pytest.raises(MediaError, match="too long to decode"):
        open_picture(header % (3000, 2000) + b"1 " * 18_000_000)
    assert time.perf_counter() - started < 1
    assert open_picture(header % (4, 2) + b"1 " * 24).size == (4, 2)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [("empty.jpg", b"", "empty"), ("text.jpg", b"Dear diary", "not a readable picture")],
)
def test_a_file_that_is_no_picture_says_so(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(MediaError, match=reason) as caught:
        open_picture(tmp_path / name)
    assert caught.value.remedy


def test_a_folder_a_pipe_and_a_missing_file_end_at_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    for path, reason in [(tmp_path, "not a file"), (pipe, "not a file"), ("no.jpg", "exist")]:
        with pytest.raises(MediaError, match=reason):
            open_picture(path)
    with pytest.raises(MediaError, match="can't be read"):
        require_file("a\x00b")


def test_slow_and_program_starting_formats_are_not_opened(shared_data: Path) -> None:
    started = time.perf_counter()
    for path in (shared_data / "tricky/pillow/images").glob("timeout-*"):
        with pytest.raises(MediaError):
            open_picture(path)
    assert time.perf_counter() - started < 2


def test_no_tricky_file_raises_anything_but_media_error(shared_data: Path) -> None:
    opened = failed = 0
    for path in (shared_data / "tricky/pillow").rglob("*.*"):
        try:
            image = open_picture(path, at_least_px=64)
        except MediaError:
            failed += 1
        else:
            opened += 1
            assert image.mode == "RGB"
    assert opened > 60
    assert failed > 10


def test_a_picture_can_come_from_a_buffer_that_was_read_before() -> None:
    buffer = io.BytesIO(saved(quartered(), "PNG"))
    buffer.read()
    assert open_picture(buffer).size == (80, 40)


def test_a_jpeg_for_others_carries_no_metadata_and_fits() -> None:
    exif = PIL.Image.Exif()
    exif[0x010E] = "secret place"
    image = PIL.Image.open(io.BytesIO(saved(quartered((800, 400)), "JPEG", exif=exif)))
    data = to_jpeg(image, long_side_px=100)
    assert b"secret" not in data
    assert PIL.Image.open(io.BytesIO(data)).size == (100, 50)
    assert image.size == (800, 400)


def test_threads_that_decode_together_leave_no_trace_in_the_process() -> None:
    data = saved(quartered((400, 400)), "JPEG")
    filters, limit = list(warnings.filters), PIL.Image.MAX_IMAGE_PIXELS
    threads = [
        threading.Thread(target=lambda: [open_picture(data) for _ in range(20)]) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(warnings.filters) == filters
    assert limit == PIL.Image.MAX_IMAGE_PIXELS
    assert pictures.MAX_PIXELS > 200_000_000


def test_a_jpeg_with_more_pictures_behind_the_first_opens_as_others_do(tmp_path: Path) -> None:
    """As phones, cameras with two lenses and those for panoramas write them (MPO)."""
    path = tmp_path / "two.mpo"
    quartered((800, 400)).save(
        path, "MPO", save_all=True, append_images=[PIL.Image.new("RGB", (800, 400), "black")]
    )
    (tmp_path / "two.jpg").write_bytes(path.read_bytes())
    for name in ("two.mpo", "two.jpg"):
        shown = open_picture(tmp_path / name, at_least_px=100)
        assert corners(shown) == ["red", "green", "blue", "white"]
        assert shown.size == (200, 100)


@pytest.mark.parametrize(
    ("size", "left"),
    [((1800, 1200), (600, 400)), ((1800, 1204), (900, 602)), ((1801, 1207), (601, 403))],
)
def test_what_is_scaled_finely_is_divided_without_a_rest_where_that_can_be(
    size: tuple[int, int], left: tuple[int, int]
) -> None:
    shown = open_picture(saved(quartered(size), "PNG"), at_least_px=200, finely=True)
    assert shown.size == left
    assert corners(shown) == ["red", "green", "blue", "white"]
