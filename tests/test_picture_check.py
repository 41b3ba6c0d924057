"""Which pictures may leave as they are, and which are made anew."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from typing import Any

import PIL.Image
import PIL.ImageCms
import PIL.PngImagePlugin
import pytest
from llama_index.core.llms import ImageBlock

from mmrag_plugin.errors import MediaError
from mmrag_plugin.picture_check import is_clean
from mmrag_plugin.vlm.base import LONG_SIDE_PX, normal_picture, picture_block
from ollama_wire import decoded


def made(
    suffix: str = "JPEG", size: tuple[int, int] = (320, 240), mode: str = "RGB", **more: Any
) -> bytes:
    buffer = io.BytesIO()
    noise = PIL.Image.effect_noise(size, 60).convert("RGB" if mode == "CMYK" else mode)
    noise.convert(mode).save(buffer, suffix, **more)
    return buffer.getvalue()


def exif(orientation: int = 1) -> PIL.Image.Exif:
    held = PIL.Image.Exif()
    held[0x0112] = orientation
    held.get_ifd(0x8825)[2] = (48.0, 51.0, 30.0)
    return held


def texts() -> PIL.PngImagePlugin.PngInfo:
    held = PIL.PngImagePlugin.PngInfo()
    held.add_text("Comment", "at home")
    return held


SRGB = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()
CLEAN = {
    "jpeg": made(),
    "grey jpeg": made(mode="L"),
    "progressive": made(progressive=True),
    "png": made("PNG"),
    "grey png": made("PNG", mode="L"),
    "as large as may be": made(size=(LONG_SIDE_PX, 16)),
}
OTHER = {
    "exif": made(exif=exif()),
    "turned": made(exif=exif(6)),
    "xmp": made(xmp=b"<x:xmpmeta/>"),
    "comment": made(comment=b"at home"),
    "profile": made(icc_profile=SRGB),
    "cmyk": made(mode="CMYK"),
    "large": made(size=(LONG_SIDE_PX + 1, 16)),
    "something behind": made() + b"GPS: 48.85, 2.35",
    "a picture behind": made() + made(),
    "png exif": made("PNG", exif=exif()),
    "png text": made("PNG", pnginfo=texts()),
    "png profile": made("PNG", icc_profile=SRGB),
    "png alpha": made("PNG", mode="RGBA"),
    "png palette": made("PNG", mode="P"),
    "something behind a png": made("PNG") + b"GPS",
    "webp": made("WEBP"),
    "gif": made("GIF", mode="L"),
    "bmp": made("BMP"),
    "tiff": made("TIFF"),
}


@pytest.mark.parametrize("name", CLEAN)
def test_a_picture_that_is_nothing_but_pixels_goes_as_it_is(name: str) -> None:
    raw = CLEAN[name]
    assert is_clean(raw, long_side_px=LONG_SIDE_PX)
    assert normal_picture(ImageBlock(image=raw)).resolve_image().read() == raw


@pytest.mark.parametrize("name", OTHER)
def test_any_other_is_made_anew_and_says_nothing_more(name: str) -> None:
    raw = OTHER[name]
    assert not is_clean(raw, long_side_px=LONG_SIDE_PX)
    sent = normal_picture(ImageBlock(image=raw)).resolve_image().read()
    picture, private = decoded(base64.b64encode(sent).decode())
    assert not private
    assert picture.mode == "RGB"
    assert max(picture.size) <= LONG_SIDE_PX
    assert b"GPS" not in sent
    assert b"at home" not in sent
    assert is_clean(sent, long_side_px=LONG_SIDE_PX)


def test_what_we_make_goes_as_it_is() -> None:
    block = picture_block(PIL.Image.effect_noise((2000, 1000), 60))
    assert normal_picture(block) is block


def cut() -> Iterator[tuple[str, bytes]]:
    for name in ("jpeg", "png"):
        raw = CLEAN[name]
        yield f"{name} cut", raw[: len(raw) // 2]
    yield "png cut and closed", raw[: len(raw) // 2] + raw[-12:]


@pytest.mark.parametrize(("name", "raw"), list(cut()))
def test_half_a_picture_is_not_passed_off_as_a_whole_one(name: str, raw: bytes) -> None:
    assert not is_clean(raw, long_side_px=LONG_SIDE_PX)
    with pytest.raises(MediaError):
        normal_picture(ImageBlock(image=raw, image_mimetype="image/png"))


def test_a_jpeg_of_endless_scans_is_not_decoded() -> None:
    raw = CLEAN["progressive"]
    last = raw.rindex(b"\xff\xda")
    assert not is_clean(raw[:-2] + raw[last:-2] * 200 + raw[-2:], long_side_px=LONG_SIDE_PX)
