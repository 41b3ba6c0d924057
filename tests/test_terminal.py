"""What reaches a terminal: nothing that it would obey, and a sentence where nothing can."""

from __future__ import annotations

import io
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from rich.console import Console

from commands import MMRAG, environment, mmrag, mmrag_here
from media_made import end_owners, picture
from mmrag_plugin.cli.console import output
from mmrag_plugin.cli.hits import print_hits
from mmrag_plugin.cli.progress import IndexBars
from mmrag_plugin.media import Hit, Moment
from ollama_double import OllamaDouble

OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
EVIL = "evil\x1b]0;owned\x07\nname\x9b31m"
SPELLED = r"evil\x1b]0;owned\x07\nname\x9b31m"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A library of a photo and a file that is none, with names and words that command terminals."""
    place, folder = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("media")
    picture(folder / f"{EVIL}.jpg", "red")
    (folder / f"{EVIL}.txt").write_text("a red\x1b[2J barn \x9b31m")
    (folder / f"no {EVIL}.jpg").write_text("no picture")
    report = mmrag(place, "index", folder, "--no-ocr", COLUMNS="300")
    assert report.returncode == 1
    assert f"no {SPELLED}.jpg\n" in report.stdout
    assert not OBEYED.search(report.stdout + report.stderr)
    yield place
    end_owners(place)


@pytest.mark.parametrize(
    "arguments",
    [
        ["search", "red barn", "--explain"],
        ["ask", "red barn"],
        ["status"],
        ["open", EVIL],
        ["similar", f"/nowhere/{EVIL}.jpg"],
        ["similar", f"/nowhere/{EVIL}.jpg", "--json"],
        ["search", "red barn", "--json"],
        ["search", "red", "--folder", EVIL],
    ],
)
def test_no_name_and_no_text_commands_the_terminal(home: Path, arguments: list[str]) -> None:
    with OllamaDouble() as ollama:
        ollama.script("It is \x1b]52;c;cm0gLXJm\x07 red [1].")
        more = {"OLLAMA_HOST": ollama.url, "MMRAG_VLM": "eye", "COLUMNS": "300"}
        done = mmrag_here(home, *arguments, **more)
    assert done.stdout + done.stderr
    assert not OBEYED.search(done.stdout + done.stderr)
    if "--json" not in arguments:
        assert SPELLED in done.stdout + done.stderr


def test_a_name_that_looks_like_markup_is_shown_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hit = Hit(1, Moment("m", "image"), "/photos/[red]:cat:/a.jpg", 1.0, "weak", reason="[bold]x")
    print_hits(output, [hit])
    shown = capsys.readouterr().out
    assert "[red]:cat:/a.jpg" in shown
    assert "[bold]x" in shown


def test_sources_are_numbered_as_the_answer_cites_them(capsys: pytest.CaptureFixture[str]) -> None:
    hits = [
        Hit(rank, Moment(f"m{rank}", "image"), f"/photos/{rank}.jpg", 1.0, "weak")
        for rank in (2, 5)
    ]
    print_hits(output, hits, cited=True)
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("[1] photos/2.jpg")
    assert second.startswith("[2] photos/5.jpg")


def test_hits_of_one_name_are_told_apart_by_their_folders(
    capsys: pytest.CaptureFixture[str],
) -> None:
    paths = ["/a/2019/trip/1.jpg", "/a/2020/trip/1.jpg", "/b/trip/2.jpg", "/b/trip/2.jpg"]
    hits = [
        Hit(rank, Moment(f"m{rank}", "image"), path, 1.0, "weak")
        for rank, path in enumerate(paths, start=1)
    ]
    print_hits(output, hits)
    shown = [line.split()[1] for line in capsys.readouterr().out.splitlines()]
    assert shown == ["2019/trip/1.jpg", "2020/trip/1.jpg", "trip/2.jpg", "trip/2.jpg"]
    print_hits(output, hits, explain=True)
    assert "    /a/2019/trip/1.jpg" in capsys.readouterr().out


@pytest.mark.parametrize("columns", [40, 80])
@pytest.mark.parametrize("broken_off", [True, False])
def test_bars_of_a_run_that_was_broken_off_do_not_stay(broken_off: bool, columns: int) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=columns, color_system=None)
    with suppress(KeyboardInterrupt), IndexBars(console) as bars:
        bars.begin("read", 123456)
        if broken_off:
            raise KeyboardInterrupt
    shown = re.sub(r"\x1b\[[^A-Za-z]*[A-Za-z]", "", screen.getvalue())
    lines = re.split(r"[\r\n]+", shown)
    assert max(map(len, lines)) <= columns - 2, "there is room for the ^C that a terminal echoes"
    assert any("0/123456" in line for line in lines)
    erase_line = "\x1b[2K"
    assert screen.getvalue().endswith(erase_line) == broken_off


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("json_flag", [[], ["--json"]])
def test_output_that_cannot_be_written_is_one_sentence(
    tmp_path: Path, json_flag: list[str]
) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*MMRAG, "models", "list", *json_flag],
            env=environment(tmp_path),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.startswith("The output can't be written: No space left on device.")
    assert len(done.stderr.splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [
        (["models", "list"], 0),
        (["models", "list", "--json"], 0),
        (["models", "pull", "foo", "--json"], 2),
    ],
)
def test_a_reader_that_has_had_enough_is_no_failure(
    tmp_path: Path, arguments: list[str], exit_code: int
) -> None:
    unread, written = os.pipe()
    os.close(unread)
    done = subprocess.run(
        [*MMRAG, *arguments],
        env=environment(tmp_path),
        stdout=written,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(written)
    assert (done.returncode, done.stderr) == (exit_code, "")
