"""Captions are checked against their pictures, and what is doubtful counts less and says so."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captioned import Captioning, caption_json, captioning, captions_in, texts_of
from made_films import BLUE, GREEN, RED, write_film
from media_made import end_owners, picture
from mmrag_plugin.index_doubt import BACKGROUND_AT_LEAST, doubtful
from mmrag_plugin.library import MediaLibrary
from mmrag_plugin.media import Hit, Moment, Signal
from mmrag_plugin.metadata import DOUBTFUL
from mmrag_plugin.reasons import best_matches, quote
from mmrag_plugin.sources import source_text
from mmrag_plugin.terms import terms_of
from mmrag_plugin.upkeep import status, verify
from mmrag_plugin.words import piece_of, word_rows
from ollama_double import Refused

pytestmark = pytest.mark.slow

LIES = "green"  # what is captioned as something else


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path.resolve() / "photos"
    colours = ["red", "green", "blue", "yellow"]
    for number in range(24):
        picture(folder / f"{colours[number % 4]} {number}.png", colours[number % 4], number=number)
    return folder


@pytest.fixture(autouse=True)
def _no_owner_is_left(tmp_path: Path) -> Iterator[None]:
    yield
    end_owners(tmp_path / "home")


def lying(body: Any, colour: str) -> str | None:
    """Caption what is green as a blue wall, and everything else as it is."""
    is_lie = colour == LIES and "caption" in body["format"]["properties"]
    return caption_json("a blue wall") if is_lie else None


def judged_by_colours(library: MediaLibrary) -> MediaLibrary:
    """Let the palette judge: about these captions and pictures it knows."""
    library.models.wanted().visual.compares_texts = True
    return library


def doubts(library: MediaLibrary) -> set[str]:
    return {name for name, found in captions_in(library).items() if any(s.doubtful for s in found)}


GREEN_ONES = {f"green {number}.png" for number in range(1, 24, 4)}


# ---- the rule ---------------------------------------------------------------------------------


def test_a_caption_is_doubtful_if_it_fits_its_picture_hardly_better_than_others() -> None:
    background = np.linspace(-1.0, 1.0, 50, dtype=np.float32)  # deviation 0.59
    assert doubtful(np.float32([0.1]), background)
    assert doubtful(np.float32([-0.9]), background)
    assert not doubtful(np.float32([0.6]), background)
    assert not doubtful(np.float32([0.0, 1.0]), background)  # the frames of a shot on the whole


def test_without_enough_to_compare_with_nothing_is_doubtful() -> None:
    few = np.linspace(-1.0, 1.0, BACKGROUND_AT_LEAST - 1, dtype=np.float32)
    assert not doubtful(np.float32([-1.0]), few)
    assert not doubtful(np.float32([-1.0]), np.zeros(50, np.float32))  # all the same


# ---- in a library -------------------------------------------------------------------------------


def test_captions_that_their_pictures_contradict_are_doubtful_everywhere(
    tmp_path: Path, photos: Path
) -> None:
    with Captioning() as ollama, captioning(tmp_path / "home", ollama) as library:
        ollama.instead = lying
        judged_by_colours(library).index([photos])
        assert doubts(library) == GREEN_ONES
        assert status(library)["captions"] == {"captions": 24, "media": 24, "doubtful": 6}
        names = [Path(hit.path).name for hit in library.search("blue wall", limit=12).hits]
        assert all(name.startswith("blue") for name in names[:6])

        hits = library.search("a blue wall", channels=["bm25"], limit=12).hits
        doubted = next(hit for hit in hits if "green" in hit.path)
        assert doubted.reason.startswith("doubtful caption by a model: 'a blue wall")
        assert doubted.text is not None
        assert doubted.text.startswith("(doubtful) a blue wall")
        assert doubted.confidence == "weak"  # and the others have every word of the query
        assert {hit.confidence for hit in hits[:6]} == {"strong"}
        assert "(doubtful) a blue wall" in source_text(1, doubted)
        words = library.words_of(doubted.moment)
        assert "(doubtful caption by a model) a blue wall" in words
        assert [d.surplus + d.missing for d in verify(library)] == [[], []]


@pytest.mark.slow
def test_the_palette_alone_doubts_nothing(tmp_path: Path, photos: Path) -> None:
    with Captioning() as ollama, captioning(tmp_path / "home", ollama) as library:
        ollama.instead = lying
        library.index([photos])
        assert doubts(library) == set()


@pytest.mark.slow
def test_a_model_that_can_judge_does_so_later_without_a_vlm(tmp_path: Path, photos: Path) -> None:
    with Captioning() as ollama:
        with captioning(tmp_path / "home", ollama) as library:
            ollama.instead = lying
            library.index([photos])
        asked = len(ollama.requests)
        with captioning(tmp_path / "home", ollama, "off") as library:
            judged_by_colours(library).index([])
            assert doubts(library) == GREEN_ONES
            hits = library.search("a blue wall", channels=["bm25"], limit=12).hits
            assert all("blue" in hit.path for hit in hits[:6])
        assert len(ollama.requests) == asked


@pytest.mark.slow
def test_another_rule_judges_again(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Captioning() as ollama, captioning(tmp_path / "home", ollama) as library:
        ollama.instead = lying
        judged_by_colours(library).index([photos])
        monkeypatch.setattr("mmrag_plugin.index_doubt.DOUBT_VERSION", 99)
        monkeypatch.setattr("mmrag_plugin.index_doubt.DOUBT_BELOW", -99.0)
        library.index([])
        assert doubts(library) == set()
        (first, *_) = library.search("a blue wall", channels=["bm25"], limit=12).hits
        assert "doubtful" not in first.reason


@pytest.mark.slow
def test_shots_of_a_film_are_judged_one_by_one(tmp_path: Path, photos: Path) -> None:
    write_film(photos / "film.mp4", [RED] * 10 + [GREEN] * 10 + [BLUE] * 10, gop=5)
    with Captioning() as ollama, captioning(tmp_path / "home", ollama) as library:
        ollama.instead = lying
        judged_by_colours(library).index([photos])
        assert [s.doubtful for s in captions_in(library)["film.mp4"]] == [False, True, False]
        media_id = library.find(str(photos / "film.mp4"))
        assert media_id is not None
        moment = Moment(media_id.media_id, "video", 1.0, 2.0)
        assert "0:01 (doubtful caption by a model) a blue wall" in library.words_of(moment)


@pytest.mark.slow
def test_a_library_too_small_to_compare_with_waits_for_more(tmp_path: Path, photos: Path) -> None:
    rest = tmp_path / "rest"
    rest.mkdir()
    for path in sorted(photos.iterdir())[10:]:
        path.rename(rest / path.name)
    with Captioning() as ollama, captioning(tmp_path / "home", ollama) as library:
        ollama.instead = lying
        judged_by_colours(library).index([photos])
        assert doubts(library) == set()
        library.index([photos, rest])
        assert doubts(library) == GREEN_ONES


# ---- a second model -----------------------------------------------------------------------------


@pytest.mark.slow
def test_a_second_model_is_asked_and_its_no_makes_doubt(tmp_path: Path, photos: Path) -> None:
    with Captioning("eye", "judge") as ollama:
        ollama.instead = lying
        with captioning(tmp_path / "home", ollama, verify_with="judge") as library:
            library.index([photos])
            assert doubts(library) == GREEN_ONES
            assert {body["model"] for body in ollama.asked("is_true")} == {"judge"}
            assert '<media_text of="the caption">' in texts_of(ollama.asked("is_true")[0])
            rows = library.ledger.media_rows()
            green = next(i for i, row in rows.items() if LIES in row.path)
            (shot,) = library.ledger.shots_of([green])[green]
            assert shot.denial == "judge: it is green"
            asked = len(ollama.asked("is_true"))
            library.index([])
            assert len(ollama.asked("is_true")) == asked == 24
        with captioning(tmp_path / "home", ollama) as library:
            library.index([])
            assert doubts(library) == GREEN_ONES  # what it said stays


def test_a_picture_that_the_second_model_fails_on_stays_as_it_is_and_is_said(
    tmp_path: Path, photos: Path
) -> None:
    def failing(body: Any, colour: str) -> str | None:
        if "is_true" in body["format"]["properties"] and colour == "red":
            return "yes, I think so"
        return lying(body, colour)

    with Captioning("eye", "judge") as ollama:
        ollama.instead = failing
        with captioning(tmp_path / "home", ollama, verify_with="judge") as library:
            for path in photos.glob("red*"):
                if path.name != "red 0.png":
                    path.unlink()
            report = library.index([photos])
            assert report.failed == []
            (warning,) = report.warnings
            assert "could not check 1 captions" in warning
            assert "red 0.png" in warning
            assert doubts(library) == GREEN_ONES


def test_without_the_second_model_captions_are_made_and_it_is_said(
    tmp_path: Path, photos: Path
) -> None:
    with (
        Captioning("eye") as ollama,
        captioning(tmp_path / "home", ollama, verify_with="judge") as library,
    ):
        report = library.index([photos])
        assert report.stages["caption"].done == 24
        (warning,) = report.warnings
        assert "ollama pull judge" in warning


def test_the_second_model_goes_on_where_it_was_broken_off(tmp_path: Path, photos: Path) -> None:
    def leaving(body: Any, colour: str) -> str | None:
        if "is_true" in body["format"]["properties"] and len(ollama.asked("is_true")) > 7:
            raise Refused(404, "model 'judge' not found")
        return lying(body, colour)

    with Captioning("eye", "judge") as ollama:
        ollama.instead = leaving
        with captioning(tmp_path / "home", ollama, verify_with="judge") as library:
            library.index([photos])
            before = len(ollama.asked("is_true"))
            ollama.instead = lying
            library.index([])
            assert doubts(library) == GREEN_ONES
            assert len(ollama.asked("is_true")) - before <= 24 - 5


# ---- rows and words -----------------------------------------------------------------------------


def test_a_doubtful_caption_stands_in_a_row_of_its_own_alone() -> None:
    signals = [
        Signal("annotation", "Rex at home"),
        Signal("caption", "a blue wall", doubtful=True),
        Signal("path", "garden"),
    ]
    rows = {row.row_id: row for row in word_rows("m", signals, dense=True)}
    assert set(rows) == {"m:d0", "m:combined"}
    assert rows["m:d0"].source == DOUBTFUL
    assert rows["m:d0"].terms == tuple(terms_of("a blue wall"))
    assert not set(rows["m:combined"].terms) & set(terms_of("blue wall"))
    assert "blue" not in rows["m:combined"].text
    piece = piece_of("m:d0", signals)
    assert piece is not None
    assert piece.text == "a blue wall"
    believed = [dataclasses.replace(signal, doubtful=False) for signal in signals]
    assert "blue" in word_rows("m", believed, dense=True)[0].text


def test_a_caption_of_a_shot_does_not_blur_the_subtitles_in_it() -> None:
    signals = [
        Signal("caption", "a long shot of a bridge", 0.0, 30.0),
        Signal("subtitle", "hello there", 1.0, 2.0),
        Signal("subtitle", "goodbye", 12.0, 13.0),
    ]
    timed = [(r.source, r.start_s, r.end_s) for r in word_rows("m", signals, dense=False)[1:]]
    assert timed == [("caption", 0.0, 30.0), ("subtitle", 1.0, 2.0), ("subtitle", 12.0, 13.0)]


def test_what_is_believed_is_quoted_before_what_is_not() -> None:
    said = Signal("annotation", "a blue wall")
    doubted = Signal("caption", "a blue wall", doubtful=True)
    assert best_matches("blue wall", [doubted, said])[0][0] is said
    assert quote(doubted) == "doubtful caption by a model: 'a blue wall'"


def test_a_hit_of_a_doubtful_caption_reaches_a_model_as_doubtful() -> None:
    signal = Signal("caption", "a blue wall", doubtful=True)
    hit = Hit(1, Moment("m", "image"), "/x.png", 1.0, "weak", text=signal.marked_text)
    assert "text: (doubtful) a blue wall" in source_text(1, hit)
