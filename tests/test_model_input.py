"""What a model is given: made where the picture is decoded, and as good as the whole picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from PIL.Image import Resampling

from mmrag_plugin.embeddings.onnx_folder import OnnxEncoder
from mmrag_plugin.embeddings.processor_square import normalised_squares, square_of
from mmrag_plugin.errors import MmragError
from mmrag_plugin.looks import PixelsHash, look_from, look_of
from mmrag_plugin.media import kind_of
from mmrag_plugin.model_input import MAX_ASPECT, ModelInput, Square
from mmrag_plugin.pictures import open_picture
from mmrag_plugin.readers.decoding import HERE
from mmrag_plugin.readers.workers import DecodesInWorkers

MIN_AGREEMENT = 0.995


def as_taught(picture: PIL.Image.Image) -> PIL.Image.Image:
    """The reference: the whole picture, scaled and cut as minidual's preprocess_cfg.json says."""
    if picture.size == (224, 224):  # those of flickr8k_dev are squares of the model already
        return picture
    width_px, height_px = picture.size
    scale = 256 / min(picture.size)
    scaled_px = (
        256 if width_px <= height_px else int(width_px * scale),
        256 if height_px <= width_px else int(height_px * scale),
    )
    left, top = (round((side_px - 224) / 2) for side_px in scaled_px)
    return picture.resize(scaled_px, Resampling.BICUBIC).crop((left, top, left + 224, top + 224))


def agreements(minidual: Path, paths: list[Path]) -> dict[str, float]:
    """The cosine of each readable picture's vector to that of the reference."""
    model = OnnxEncoder(minidual, dtype="float32")
    found = {}
    for path in paths:
        try:
            whole = open_picture(path)
        except MmragError:
            continue
        if max(whole.size) > MAX_ASPECT * min(whole.size):
            continue  # cut to its middle, whatever the model says
        [frame, *_] = HERE.frames(
            "image", path, at_least_px=model.decoded_px, model_takes=model.takes
        )
        ours, reference = model.embed_pictures([frame.picture, as_taught(whole)])
        found[path.name] = float(ours @ reference)
    return found


def pictures_of(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if kind_of(path) == "image"]


def test_photos_that_were_made_ready_embed_like_the_whole_ones(
    minidual: Path, shared_data: Path
) -> None:
    formats = {path.suffix.lower(): path for path in pictures_of(shared_data / "tricky")}
    photos = [*pictures_of(shared_data / "personal210")[:5], formats[".heic"], formats[".jpg"]]
    found = agreements(minidual, photos)
    assert len(found) == 7
    assert min(found.values()) >= MIN_AGREEMENT, found


@pytest.mark.slow
@pytest.mark.parametrize("name", ["coco_train", "flickr8k_dev", "personal210", "tricky"])
def test_every_shared_photo_embeds_like_the_whole_one(
    name: str, minidual: Path, shared_data: Path
) -> None:
    found = agreements(minidual, pictures_of(shared_data / name))
    worst = min(found, key=lambda photo: found[photo])
    print(f"{name}: {len(found)} photos, cosine at least {found[worst]:.4f} ({worst})")
    assert found[worst] >= MIN_AGREEMENT


def noisy(size: tuple[int, int]) -> PIL.Image.Image:
    coarse = np.random.default_rng(1).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    return PIL.Image.fromarray(coarse).resize(size, Resampling.BICUBIC)


@pytest.mark.parametrize("mode", ["shortest", "squash", "longest"])
def test_what_is_ready_stays_as_it_is(mode: str) -> None:
    square = Square(64, resize_mode=mode, short_side_px=64)
    ready = square.fitted(noisy((300, 200)))
    assert ready.size == (64, 64)
    assert square.fitted(ready) is ready
    assert ModelInput().fitted(ready) is ready


def test_only_the_middle_is_scaled_and_comes_out_the_same() -> None:
    picture = noisy((301, 200))
    square = Square(64, short_side_px=72, middle_rounds_down=True)
    scaled = picture.resize((int(301 * 72 / 200), 72), Resampling.BICUBIC)
    expected = np.asarray(scaled.crop((22, 4, 86, 68)), np.int16)
    assert np.abs(np.asarray(square.fitted(picture), np.int16) - expected).max() <= 1


def test_a_frame_from_another_process_says_what_the_whole_picture_showed(tmp_path: Path) -> None:
    path = tmp_path / "large.jpg"
    noisy((1600, 1200)).save(path, quality=95)
    square = Square(96, short_side_px=96)
    [frame] = DecodesInWorkers().frames("image", path, at_least_px=192, model_takes=square)
    whole = open_picture(path, at_least_px=192, finely=True)
    pixels = PixelsHash()
    pixels.add(whole)
    assert frame.picture.tobytes() == square.fitted(whole).tobytes()
    assert frame.pixels == pixels.value
    assert look_from(frame.sample or b"") == look_of(whole) != ""


def processors() -> dict[str, Any]:
    from transformers import (
        CLIPImageProcessorPil,
        Siglip2ImageProcessorPil,
        SiglipImageProcessorPil,
    )

    return {
        "clip": CLIPImageProcessorPil(),
        "siglip": SiglipImageProcessorPil(size={"height": 256, "width": 256}),
        "any aspect": Siglip2ImageProcessorPil(),
        "scaled larger than cut": CLIPImageProcessorPil(size={"shortest_edge": 256}),
        "other range": SiglipImageProcessorPil(rescale_factor=1 / 127.5),
    }


@pytest.mark.parametrize("name", ["clip", "siglip"])
@pytest.mark.parametrize("size", [(640, 480), (333, 500), (224, 224), (90, 70)])
def test_squares_are_what_the_reference_processor_makes(name: str, size: tuple[int, int]) -> None:
    processor = processors()[name]
    square = square_of(processor)
    assert square is not None
    theirs = processor(images=[noisy(size)], return_tensors="pt")["pixel_values"]
    ours = normalised_squares([noisy(size)], square)
    assert float((theirs - ours).abs().max()) < 0.05


@pytest.mark.parametrize("name", ["any aspect", "scaled larger than cut", "other range"])
def test_a_processor_that_does_something_else_does_it_itself(name: str) -> None:
    assert square_of(processors()[name]) is None
