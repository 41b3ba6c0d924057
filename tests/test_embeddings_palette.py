"""Search by colour, on rendered scenes and on real photos."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from mmrag_plugin.embeddings.palette import TERMS, WORDS, Palette, to_lab
from mmrag_plugin.pictures import open_picture

# as a child's paint box has them; none of them is one of the palette's typical colours
PAINTS = {
    "black": "#101012",
    "white": "#fafafa",
    "grey": "#858585",
    "red": "#d01c24",
    "green": "#2e9b45",
    "yellow": "#f9dc24",
    "blue": "#2456c4",
    "brown": "#6e4425",
    "orange": "#f58216",
    "pink": "#f7a1bd",
    "purple": "#742c94",
}


@pytest.fixture(scope="module")
def palette() -> Palette:
    return Palette()


def scene(background: str, *shapes: tuple[str, tuple[int, int, int, int]]) -> Image.Image:
    picture = Image.new("RGB", (320, 240), PAINTS[background])
    draw = ImageDraw.Draw(picture)
    for colour, box in shapes:
        draw.rectangle(box, fill=PAINTS[colour])
    return picture


def best(palette: Palette, query: str, scenes: dict[str, Image.Image]) -> str:
    scores = palette.embed_pictures(list(scenes.values())) @ palette.embed_texts([query])[0]
    return list(scenes)[int(scores.argmax())]


@pytest.mark.parametrize("term", TERMS)
def test_a_ball_of_the_colour_comes_first(palette: Palette, term: str) -> None:
    ground = "grey" if term != "grey" else "white"
    balls = {name: scene(ground, (name, (100, 70, 200, 170))) for name in PAINTS if name != ground}
    assert best(palette, f"a {term} ball", balls) == term


@pytest.mark.parametrize(
    ("query", "term"),
    [
        ("crimson dress", "red"),
        ("GOLDEN ring", "yellow"),
        ("navy-coloured", "blue"),
        ("violets: violet!", "purple"),
        ("a gray wall", "grey"),
        ("blonde hair", "yellow"),
        ("chocolate cake", "brown"),
    ],
)
def test_synonyms_mean_their_basic_term(palette: Palette, query: str, term: str) -> None:
    np.testing.assert_array_equal(palette.embed_texts([query]), palette.embed_texts([term]))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("blue sky above a yellow field", "blue over yellow"),
        ("yellow field below a blue sky", "blue over yellow"),
        ("yellow above blue", "yellow over blue"),
        ("blue at the bottom", "yellow over blue"),
        ("blue sky", "blue over yellow"),
        ("blue on the left and yellow on the right", "blue left of yellow"),
        ("yellow left of blue", "yellow left of blue"),
        ("blue to the right of yellow", "yellow left of blue"),
    ],
)
def test_places_decide_between_the_same_colours(
    palette: Palette, query: str, expected: str
) -> None:
    scenes = {
        "blue over yellow": scene("yellow", ("blue", (0, 0, 320, 120))),
        "yellow over blue": scene("blue", ("yellow", (0, 0, 320, 120))),
        "blue left of yellow": scene("yellow", ("blue", (0, 0, 160, 240))),
        "yellow left of blue": scene("blue", ("yellow", (0, 0, 160, 240))),
    }
    assert best(palette, query, scenes) == expected


def test_a_place_counts_less_than_a_colour(palette: Palette) -> None:
    scenes = {
        "elsewhere": scene("white", ("red", (0, 180, 320, 240))),
        "absent": scene("white", ("green", (0, 0, 320, 60))),
    }
    assert best(palette, "red at the top", scenes) == "elsewhere"


def test_both_colours_beat_one(palette: Palette) -> None:
    scenes = {
        "red only": scene("grey", ("red", (60, 60, 260, 180))),
        "both": scene("grey", ("red", (60, 60, 160, 180)), ("green", (160, 60, 260, 180))),
        "green only": scene("grey", ("green", (60, 60, 260, 180))),
    }
    assert best(palette, "red and green", scenes) == "both"


@pytest.mark.parametrize(("query", "expected"), [("a dark room", "night"), ("bright", "day")])
def test_dark_and_bright_are_understood(palette: Palette, query: str, expected: str) -> None:
    scenes = {
        "night": Image.new("RGB", (64, 64), (14, 16, 40)),
        "day": Image.new("RGB", (64, 64), (225, 235, 240)),
        "dusk": Image.new("RGB", (64, 64), (120, 105, 110)),
    }
    assert palette.understands(query)
    assert best(palette, query, scenes) == expected


@pytest.mark.parametrize("query", ["a dog", "", "sky above the field", "on the left", "reduce"])
def test_it_abstains_without_a_colour_word(palette: Palette, query: str) -> None:
    assert not palette.understands(query)
    assert not palette.embed_texts([query]).any()


@given(st.lists(st.sampled_from([*WORDS, "above", "left", "of", "and", "top", "dog", ","])))
def test_any_query_of_such_words_is_read(words: list[str]) -> None:
    palette = Palette()
    row = palette.embed_texts([" ".join(words)])[0]
    length = float(np.linalg.norm(row))
    assert (row >= 0).all()
    assert length == pytest.approx(1.0 if any(w in WORDS for w in words) else 0.0, abs=1e-5)


def test_lab_agrees_with_the_published_values_of_srgb_primaries() -> None:
    lab = to_lab(np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]))
    published = [
        [53.24, 80.09, 67.20],
        [87.73, -86.18, 83.18],
        [32.30, 79.19, -107.86],
        [100.0, 0.0, 0.0],
    ]
    np.testing.assert_allclose(lab, published, atol=0.02)


def test_real_photos_with_the_captions_colours_rank_well_above_chance(
    palette: Palette, shared_data: Path
) -> None:
    folder = shared_data / "coco_train"
    captions = json.loads((folder / "captions.json").read_text("utf-8"))
    names = list(captions)
    rows = palette.embed_pictures(
        [open_picture(folder / "images" / name, at_least_px=192) for name in names]
    )
    asked = [
        (text, names.index(name))
        for name in names
        for text in captions[name]
        if palette.understands(text)
    ]
    scores = palette.embed_texts([text for text, _ in asked]) @ rows.T
    own = scores[np.arange(len(asked)), [number for _, number in asked]]
    ranks = (scores > own[:, None]).sum(axis=1)
    assert len(asked) > 50
    assert np.mean(ranks < 10) > 1.5 * 10 / len(names)
    assert np.median(ranks) < 0.4 * len(names)
