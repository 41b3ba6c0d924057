"""The gallery in a real browser: search, open, play a moment, ask; by mouse and by keyboard."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chromium import Chromium, Page, chromium
from commands import MMRAG, environment
from made_films import BLUE, GREEN, RED, write_film
from media_made import describe, end_owners, opened, picture
from npm_programs import package_file
from ollama_double import Model, OllamaDouble

AXE = "axe-core@4.14.1"
HOSTILE_NAME = "<img src=x onerror=alert(1)>.png"
HOSTILE_TEXT = "</p><script>alert(2)</script> [1] \u202egpj.exe <b>bold</b> a lighthouse"


@pytest.fixture(scope="module")
def ollama() -> Iterator[OllamaDouble]:
    with OllamaDouble({"eye:latest": Model()}) as double:
        yield double


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, ollama: OllamaDouble) -> Iterator[str]:
    """Where a real `mmrag browse` serves a library of pictures, a film, and hostile names."""
    place = tmp_path_factory.mktemp("gallery")
    media = place / "media"
    for number in range(26):
        picture(media / "Greens" / f"green {number}.png", "green", number=number, size=(240, 160))
    taken = picture(media / "barn.jpg", "red", size=(240, 160), taken_at="2022:07:16 10:12:05")
    describe(taken, "the old barn behind the cottage")
    describe(picture(media / HOSTILE_NAME, "purple", size=(240, 160)), HOSTILE_TEXT)
    scenes = [RED] * 30 + [GREEN] * 30 + [BLUE] * 30
    film = write_film(media / "scenes.mp4", scenes, gop=10, codec="libx264", size=(160, 120))
    film.with_suffix(".srt").write_text("1\n00:00:06,500 --> 00:00:08,000\nNow all is deep sea.\n")
    old = write_film(media / "old.avi", scenes, gop=10, size=(160, 120))
    old.with_suffix(".srt").write_text("1\n00:00:03,200 --> 00:00:05,000\nA walrus was here.\n")
    with opened(place / "home") as library:
        assert not library.index([media]).failed
    process = subprocess.Popen(
        [*MMRAG, "browse", "--no-open", "--vlm", "eye"],
        env=environment(place / "home", OLLAMA_HOST=ollama.url),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert len(said.splitlines()) == 1, said
    end_owners(place / "home")


@pytest.fixture(scope="module")
def browser(address: str) -> Iterator[tuple[Chromium, str, str]]:
    """A browser in which the gallery was opened, its cookies, and the page's address."""
    with chromium() as started:
        context = started.context()
        first = Page(started, context)
        first.goto(address)
        first.wait("document.querySelectorAll('.card').length")
        assert "token" not in first.evaluate("location.href")
        first.close()
        yield started, context, address.partition("?")[0]


@pytest.fixture
def page(browser: tuple[Chromium, str, str]) -> Iterator[Page]:
    """The gallery, just opened; it must ask nobody else and complain of nothing."""
    started, context, home = browser
    shown = Page(started, context)
    shown.goto(home)
    shown.wait("document.querySelectorAll('.card').length")
    yield shown
    shown.close()
    assert shown.complaints == []
    elsewhere = [
        url for url in shown.requests if not url.startswith((home, "data:", f"blob:{home}"))
    ]
    assert elsewhere == []


def search(page: Page, words: str) -> None:
    page.click("#query")
    page.evaluate("document.activeElement.select()")
    page.write(words)
    page.press("Enter")
    page.wait(f"document.querySelector('#heading').textContent === '“{words}”'", 60)


def colour_shown(page: Page) -> list[int]:
    """The colour in the middle of the film's picture, as the browser shows it now."""
    found = page.evaluate(
        """(() => {
          const video = document.querySelector("video");
          const canvas = document.createElement("canvas");
          canvas.width = canvas.height = 8;
          const context = canvas.getContext("2d");
          context.drawImage(video, 0, 0, 8, 8);
          return [...context.getImageData(6, 6, 1, 1).data].slice(0, 3);
        })()"""
    )
    return list(found)


def test_pictures_are_found_opened_and_closed_and_more_of_them_shown(page: Page) -> None:
    assert page.text("#heading") == "Newest"
    assert "30 in all" in page.text("#understood")
    page.wait("document.querySelector('.card img')?.naturalWidth > 0")
    assert len(page.texts(".card")) == 24
    page.click("#more")
    page.wait("document.querySelectorAll('.card').length === 30")
    assert (
        page.evaluate("[...document.querySelectorAll('.card')].indexOf(document.activeElement)")
        == 24
    )
    search(page, "old barn")
    first = page.texts(".card")[0]
    assert "barn.jpg" in first
    assert "16" in first
    assert "2022" in first
    assert "described as: 'the old barn behind the cottage'" in first
    assert "strong match" in first
    page.wait("document.querySelector('#status').textContent.includes('result')")
    page.click(".card")
    page.wait("document.querySelector('#detail .file')")
    page.wait("document.querySelector('#detail .screen img')?.naturalWidth > 0")
    assert "240 \u00d7 160 px" in page.text("#detail .file")
    assert "the old barn behind the cottage" in page.text("#detail .texts")
    page.wait("document.querySelectorAll('#detail .alike .tile').length")
    page.press("Escape")
    page.wait("!document.querySelector('#detail').open")
    page.wait("document.activeElement === document.querySelector('.card')")


def test_a_moment_plays_at_its_second_without_sound_and_stops_at_its_end(page: Page) -> None:
    search(page, "deep sea")
    assert "0:06" in page.texts(".card .badge")[0]
    assert page.evaluate("document.querySelectorAll('video').length") == 0
    page.click(".card")
    page.wait("document.activeElement.className === 'play'")
    assert page.evaluate("document.querySelectorAll('video').length") == 0, (
        "nothing plays by itself"
    )
    page.click(".play")
    page.wait("document.querySelector('video')?.currentTime > 6.4")
    page.wait("document.querySelector('video').readyState >= 2")  # it may have to buffer
    state = page.evaluate(
        "(({ currentTime, muted }) => ({ currentTime, muted }))(document.querySelector('video'))"
    )
    assert 6.4 < state["currentTime"] < 9
    assert state["muted"]
    red, _, blue = colour_shown(page)
    assert blue > 150 > red
    page.wait("document.querySelector('video').paused")
    assert page.evaluate("document.querySelector('video').currentTime") < 8.8
    page.click("button.time")  # of the subtitle
    page.wait("!document.querySelector('video').paused")


@pytest.mark.slow
def test_a_film_that_no_browser_plays_is_copied(page: Page) -> None:
    search(page, "walrus")
    page.click(".card")
    page.wait("document.querySelector('#detail .play')")
    page.click(".play")
    page.wait("document.querySelector('video')?.readyState >= 2", 60)
    assert page.evaluate("document.querySelector('video').src").startswith("blob:")
    red, green, _ = colour_shown(page)
    assert green > 150 > red
    page.complaints = [one for one in page.complaints if "/film" not in one]  # it was tried first


def test_an_answer_cites_what_it_shows(page: Page, ollama: OllamaDouble) -> None:
    ollama.script("The sea is deep and blue [1].")
    page.wait(
        "!document.querySelector('#talk').hidden || document.querySelector('#talk-switch').click()"
    )
    page.click("#message")
    page.write("where is the deep sea?")
    page.press("Enter")
    page.wait("document.querySelector('.turn .cite')", 60)
    assert page.text(".turn .answer-words") == "The sea is deep and blue [1]."
    assert "scenes.mp4" in page.text(".turn .sources")
    page.wait("document.querySelector('#said').textContent.startsWith('Answer: The sea')")
    page.click(".turn .cite")  # a moment that is cited plays
    page.wait("document.querySelector('video')?.currentTime > 6.4")
    page.press("Escape")
    page.wait("!document.querySelector('#detail').open")
    page.wait("document.activeElement.className === 'cite'")


@pytest.mark.slow
def test_one_can_ask_about_what_one_looks_at(page: Page, ollama: OllamaDouble) -> None:
    search(page, "old barn")
    page.click(".card")
    page.wait("document.querySelector('#about-question')")
    ollama.script("A red barn [1].")
    page.click("#about-question")
    page.write("What colour is it?")
    page.press("Enter")
    page.wait("document.querySelector('.turn .cite')", 60)
    assert not page.evaluate("document.querySelector('#detail').open")
    assert "about barn.jpg" in page.text(".turn .asked")
    seen = ollama.pictures[-1][0].convert("RGB").getpixel((20, 20))
    assert seen[0] > 150 > seen[1]


def test_the_keyboard_alone_is_enough(page: Page, ollama: OllamaDouble) -> None:
    page.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.press("Enter")
    assert page.evaluate("document.activeElement.id") == "results"
    page.press("/")
    assert page.evaluate("document.activeElement.id") == "query"
    page.write("green")
    page.press("Enter")
    page.wait("document.querySelector('#heading').textContent.includes('green')", 60)
    page.wait("document.querySelectorAll('.card').length > 6")
    for _ in range(12):
        if page.evaluate("document.activeElement.className") == "card":
            break
        page.press("Tab")
    here = "[...document.querySelectorAll('.card')].indexOf(document.activeElement)"
    columns = page.evaluate(
        "new Set([...document.querySelectorAll('.card')].map((one) => one.offsetLeft)).size"
    )
    assert page.evaluate(here) == 0
    page.press("ArrowRight", "ArrowDown")
    assert page.evaluate(here) == 1 + columns
    page.press("ArrowUp", "ArrowLeft")
    assert page.evaluate(here) == 0
    page.press("End")
    assert page.evaluate(here) == page.evaluate("document.querySelectorAll('.card').length") - 1
    page.press("Home", "ArrowRight")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    assert page.evaluate("document.querySelectorAll('.card[tabindex=\"0\"]').length") == 1
    page.press("Enter")
    page.wait("document.querySelector('#detail').open")
    name = page.text("#detail-title")
    page.press("ArrowRight")
    page.wait(f"document.querySelector('#detail-title').textContent !== '{name}'")
    page.press("Escape")
    page.wait(f"{here} === 2")  # the focus is on what was shown last


def test_what_stands_in_names_and_captions_stays_text(page: Page) -> None:
    search(page, "lighthouse")
    assert page.text(".card .name") == HOSTILE_NAME
    assert "<script>alert(2)</script>" in page.text(".card .why")
    page.click(".card")
    page.wait("document.querySelector('#detail .texts')")
    shown = page.text("#detail .texts")
    assert "</p><script>alert(2)</script>" in shown
    assert "<b>bold</b>" in shown
    assert "\u202e" not in shown
    assert page.evaluate("document.querySelectorAll('#detail b, #detail script').length") == 0
    assert page.evaluate("document.querySelectorAll('img[src=\"x\"]').length") == 0


def test_an_answer_can_be_stopped_and_nothing_of_it_is_kept(
    page: Page, ollama: OllamaDouble
) -> None:
    page.click("#message")
    page.write("where is the deep sea?")
    asked = len(ollama.chats)
    ollama.delay_s = 20.0
    try:
        page.press("Enter")
        page.wait("document.querySelector('#send').hidden")
        ends_s = time.monotonic() + 30
        while len(ollama.chats) == asked and time.monotonic() < ends_s:
            time.sleep(0.05)
        page.press("Escape")
        page.wait("document.querySelector('.answer').innerText.includes('stopped')")
        assert ollama.hang_ups.acquire(timeout=10), "the model works on for nobody"
    finally:
        ollama.delay_s = 0.0
    ollama.script("Deep [1].")
    page.write("where is the deep sea?")
    page.press("Enter")
    page.wait("document.querySelector('.turn .cite')?.innerText === '[1]'", 30)


@pytest.mark.slow
def test_real_films_play_as_they_are_or_as_a_copy(
    browser: tuple[Chromium, str, str], shared_data: Path, tmp_path: Path
) -> None:
    """H.264, VP9, HEVC, AV1, MPEG-4 in MP4, QuickTime, Matroska, WebM; turned, damaged, a GIF."""
    with opened(tmp_path / "home") as library:
        library.index([shared_data / "video"])
    command = [*MMRAG, "browse", "--no-open"]
    process = subprocess.Popen(
        command, env=environment(tmp_path / "home"), stdout=subprocess.PIPE, text=True
    )
    page = Page(browser[0], browser[0].context())
    played: dict[str, list[int]] = {}
    try:
        assert process.stdout is not None
        page.goto(process.stdout.readline().strip())
        page.wait("document.querySelectorAll('.card').length > 10")
        for number, name in enumerate(page.texts(".card .name")):
            page.evaluate(f"document.querySelectorAll('.card')[{number}].click()")
            page.wait("document.querySelector('#detail .play')")
            page.evaluate("document.querySelector('#detail .play').click()")
            page.wait(
                "(({ readyState, currentTime }) => readyState >= 2 && currentTime > 0)"
                "(document.querySelector('video'))",
                60,
            )
            played[name] = page.evaluate(
                "(({ videoWidth, videoHeight }) => [videoWidth, videoHeight])"
                "(document.querySelector('video'))"
            )
            page.press("Escape")
            page.wait("!document.querySelector('#detail').open")
    finally:
        page.close()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
        end_owners(tmp_path / "home")
    assert len(played) >= 15
    assert all(all(size) for size in played.values()), played
    wide, high = played["decord_video_0.mov"]
    assert played["decord_video_90.mov"] == [high, wide], "turned films stand upright"
    assert not [one for one in page.complaints if "/film" not in one]


@pytest.mark.slow
def test_axe_finds_nothing_that_shuts_people_out(page: Page, ollama: OllamaDouble) -> None:
    """Runs the rules of axe-core (WCAG A and AA, best practices) over each state of the page."""
    page.evaluate(package_file(AXE, "axe.min.js"))
    found = """axe.run().then(({ violations }) => violations.flatMap(({ id, nodes }) =>
      nodes.map(({ target, failureSummary }) => [id, target, failureSummary])))"""
    ollama.script("The sea is deep and blue [1].")
    for scheme in ("light", "dark"):
        page.prefer(color_scheme=scheme, reduced_motion="reduce")
        search(page, "barn" if scheme == "light" else "deep sea")
        page.wait("document.querySelector('.card .frame').dataset.shown")
        assert page.evaluate(found) == [], scheme
        page.click(".card")
        page.wait("document.querySelectorAll('#detail .alike .tile').length")
        assert page.evaluate(found) == [], scheme
        page.press("Escape")
    page.click("#message")
    page.write("where is the deep sea?")
    page.press("Enter")
    page.wait("document.querySelector('.turn .cite')", 60)
    assert page.evaluate(found) == []
    page.size(360, 740)
    assert page.evaluate(found) == []
    assert page.evaluate("axe.run().then(({ passes }) => passes.length)") > 20
    page.evaluate("document.querySelector('#query').previousElementSibling.remove()")
    page.evaluate("document.querySelector('#query').placeholder = ''")
    assert page.evaluate(found), "a field without a name is found"


def test_it_fits_a_phone_and_follows_what_a_person_prefers(page: Page) -> None:
    page.size(360, 740)
    page.wait("document.querySelector('#talk').hidden")
    page.wait("document.documentElement.scrollWidth <= 360")
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.prefer(color_scheme="dark", reduced_motion="reduce")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light
    assert (
        page.evaluate("getComputedStyle(document.querySelector('.card')).transitionDuration")
        == "0s"
    )
    page.click(".card")
    page.wait("document.querySelector('#detail').open")
    assert page.evaluate("document.querySelector('#detail').scrollWidth <= 360")
