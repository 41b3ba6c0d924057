"""Previews and clips play in a real browser, and can be wound to any moment."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chromium import Page, chromium
from made_films import GREEN, RED, write_film
from mmrag_plugin.makers.base import Piece, Wish
from mmrag_plugin.makers.clip import ClipMaker
from mmrag_plugin.makers.preview import PreviewJob
from test_clips import Hears, encoded
from test_keyframes import turned

_PLAY = """
new Promise((done) => {
  const film = document.createElement("video");
  film.muted = true;
  film.onerror = () => done({ error: film.error.message });
  film.onloadeddata = () => { film.currentTime = film.duration * 0.75; };
  film.onseeked = () => {
    const paper = document.createElement("canvas");
    paper.width = film.videoWidth; paper.height = film.videoHeight;
    paper.getContext("2d").drawImage(film, 0, 0);
    const at = [Math.floor(film.videoWidth * 0.75), Math.floor(film.videoHeight / 2), 1, 1];
    const colour = paper.getContext("2d").getImageData(...at).data;
    done({ size: [film.videoWidth, film.videoHeight], seconds: film.duration,
           colour: Array.from(colour).slice(0, 3) });
  };
  film.src = "data:video/mp4;base64,%s";
})
"""


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with chromium() as browser:
        tab = Page(browser, browser.context())
        tab.goto("about:blank")
        yield tab
        tab.close()


def played(page: Page, film: Path) -> dict[str, Any]:
    """What the browser shows three quarters into a film."""
    shown: dict[str, Any] = page.evaluate(_PLAY % base64.b64encode(film.read_bytes()).decode())
    assert "error" not in shown, shown
    return shown


@pytest.mark.parametrize("sound", [True, False])
@pytest.mark.parametrize("codec", ["H.264", "HEVC", "VP9"])
def test_a_preview_plays(page: Page, codec: str, sound: bool, tmp_path: Path) -> None:
    film = encoded(tmp_path / "film", codec, sound=sound)
    target = tmp_path / "preview.mp4"
    PreviewJob(film, 0.4, 2.4, target, 4_000_000).run(Hears())
    shown = played(page, target)
    assert shown["size"] == [320, 180]
    assert shown["seconds"] == pytest.approx(2.0, abs=0.05)


def test_a_preview_shows_the_moment_upright_in_its_colours(page: Page, tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.mp4", [RED] * 20 + [GREEN] * 20, codec="libx264")
    film = turned(film, (0, 1, -1, 0))
    target = tmp_path / "preview.mp4"
    PreviewJob(film, 1.0, 3.0, target, 4_000_000).run(Hears())
    shown = played(page, target)
    assert shown["size"] == [48, 64]
    # the lighter half lies at the top or the bottom now: green, or green with 30 more
    assert shown["colour"] == pytest.approx(GREEN, abs=45)
    assert shown["colour"][1] > 180


@pytest.mark.parametrize("span", [(1.0, 2.0), (0.52, 1.7)])
def test_a_clip_plays_copied_and_encoded(
    page: Page, span: tuple[float, float], tmp_path: Path
) -> None:
    film = encoded(tmp_path / "film", "H.264", sound=True)
    wish = Wish((Piece(film, "video", "", *span),), tmp_path / "clip.mp4")
    made = ClipMaker().make(wish, Hears())
    shown = played(page, made.path)
    assert shown["size"] == [320, 180]
    assert shown["seconds"] == pytest.approx(span[1] - span[0], abs=0.06)
