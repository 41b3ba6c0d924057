"""`mmrag chat` in a terminal and on a pipe, and thumbnails where a terminal shows pictures."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from commands import MMRAG, environment, mmrag_here, told
from media_made import describe, end_owners, picture
from ollama_double import OllamaDouble, Reply

CONVERSATIONS = Path("default", "conversations")
OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
EVIL = "evil\x1b]0;owned\x07name"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A library of four barns, one of them with a name that commands terminals."""
    place, folder = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("media")
    for number, (name, colour) in enumerate(
        (("one", "red"), ("two", "blue"), ("three", "green"), (EVIL, "yellow"))
    ):
        taken_at = f"2024:05:0{number + 1} 12:00:00"
        photo = picture(folder / f"{name}.jpg", colour, number=number, taken_at=taken_at)
        describe(photo, f"a barn, {colour}")
    told(mmrag_here(place, "index", folder, "--no-ocr", "--json"), 0)
    yield place
    end_owners(place)


@pytest.fixture
def double(home: Path) -> Iterator[OllamaDouble]:
    with OllamaDouble() as double:
        yield double
    for path in (home / CONVERSATIONS).glob("*"):
        path.unlink()


def where(double: OllamaDouble) -> dict[str, str]:
    return {"OLLAMA_HOST": double.url, "MMRAG_VLM": "eye"}


def turns(home: Path, double: OllamaDouble, *messages: str, flags: tuple[str, ...] = ()) -> Any:
    """The JSON objects of piped messages."""
    text = "".join(f"{message}\n" for message in messages)
    done = mmrag_here(home, "chat", "--json", *flags, stdin=text, **where(double))
    assert "Traceback" not in done.stderr
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


# -- on a pipe ------------------------------------------------------------------------------------


def test_piped_messages_are_answered_one_after_the_other(home: Path, double: OllamaDouble) -> None:
    code, (first, second, third) = turns(
        home, double, "show me a red barn", "", "what does 1 say?", "only videos"
    )
    assert code == 0
    assert first["sources"][0]["number"] == 1
    assert first["answer"].startswith("I see")
    assert first["plan"]["visual"] == "a red barn" or first["plan"]["visual"] == "red barn"
    assert (first["model"], first["cited"][0]) == ("eye", 1)
    assert [source["number"] for source in second["sources"]] == [1]
    assert second["plan"] is None
    assert third["plan"]["filters"] == {"kind": "video"}


def test_a_turn_that_fails_is_an_object_too_and_the_next_ones_go_on(
    home: Path, double: OllamaDouble
) -> None:
    double.script(Reply(status=500, error="out of memory"))
    code, (failed, after) = turns(home, double, "show me a red barn", "show me a blue barn")
    assert code == 3
    assert failed["message"] == "show me a red barn"
    assert failed["error"].keys() == {"kind", "message", "remedy"}
    assert after["answer"].startswith("I see")


def test_a_conversation_is_kept_listed_and_gone_on_with(home: Path, double: OllamaDouble) -> None:
    assert told(mmrag_here(home, "chat", "--list", "--json"), 0) == []
    assert mmrag_here(home, "chat", "--resume", **where(double)).returncode == 1
    turns(home, double, "show me a red barn", "/save my barns")
    turns(home, double, "show me a blue barn")
    listed = told(mmrag_here(home, "chat", "--list", "--json"), 0)
    assert [one["begins"] for one in listed] == ["show me a blue barn", "show me a red barn"]
    assert [one["turns"] for one in listed] == [1, 1]
    assert listed[1]["name"] == "my barns"
    kept = home / CONVERSATIONS / "my barns.json"
    assert kept.stat().st_mode & 0o777 == 0o600
    _, (last,) = turns(home, double, "what does 1 show?", flags=("--resume",))
    assert "mostly blue" in last["answer"]
    _, (named,) = turns(home, double, "what does 1 show?", flags=("--resume", "my barns"))
    assert "mostly red" in named["answer"]
    shown = mmrag_here(home, "chat", "--list").stdout
    assert "my barns" in shown
    assert "2 turns" in shown


@pytest.mark.parametrize("name", ["../x", ".hidden", "a/b", "a\nb", "", "x" * 81])
def test_a_name_that_leads_elsewhere_is_refused(
    name: str, home: Path, double: OllamaDouble
) -> None:
    done = mmrag_here(home, "chat", "--resume", name, "--json", **where(double))
    assert told(done, 2)["error"]["kind"] == "usage"
    one_line = name.replace("\n", "/")
    _, (_, said) = turns(home, double, "show me a red barn", f"/save {one_line}")
    assert said["error"]["kind"] == "usage"
    assert [path.name[:2] for path in (home / CONVERSATIONS).iterdir()] == ["20"]


def test_a_damaged_conversation_is_an_error_and_stays_as_it_is(
    home: Path, double: OllamaDouble
) -> None:
    turns(home, double, "show me a red barn", "/save broken")
    path = home / CONVERSATIONS / "broken.json"
    path.write_text(path.read_text()[:-30])
    before = path.read_bytes()
    done = mmrag_here(home, "chat", "--resume", "broken", "--json", **where(double))
    assert "broken.json" in told(done, 2)["error"]["message"]
    code, (_, said) = turns(home, double, "show me a red barn", "/save broken")
    assert (code, said["error"]["kind"]) == (2, "usage")
    assert path.read_bytes() == before
    assert "damaged" in mmrag_here(home, "chat", "--list").stdout


def test_commands_do_what_they_say(home: Path, double: OllamaDouble) -> None:
    text = "/sources\n/filters\nshow me a barn from 2024\n/sources\n/filters\n/open 99\n/bogus\n"
    text += "/help\n/new\n/sources\n/quit\nshow me a red barn\n"
    done = mmrag_here(home, "chat", "--kind", "image", stdin=text, **where(double))
    assert done.returncode == 2
    assert "There is no source yet." in done.stdout
    assert "taken in 2024" in done.stdout
    assert "always: kind image" in done.stdout
    assert "There is no source 99." in done.stderr
    assert "There is no command /bogus." in done.stderr
    assert "/save NAME" in done.stdout
    assert done.stdout.rstrip().endswith("There is no source yet.")
    assert len(double.chats) == 1
    assert not OBEYED.search(done.stdout + done.stderr)


def test_more_before_any_search_is_an_error_and_no_turn(home: Path, double: OllamaDouble) -> None:
    code, (said,) = turns(home, double, "/more")
    assert (code, said["error"]["message"]) == (2, "Nothing has been searched for yet.")
    assert not list((home / CONVERSATIONS).glob("*"))


def test_a_name_without_resume_and_a_filter_that_nothing_passes_are_refused(
    home: Path, double: OllamaDouble
) -> None:
    assert told(mmrag_here(home, "chat", "hello", "--json"), 2)["error"]["kind"] == "usage"
    done = mmrag_here(home, "chat", "--folder", "Nowhere", "--json", **where(double))
    assert told(done, 2)["error"]["kind"] == "usage"


def test_sources_whose_files_are_gone_are_said_when_it_goes_on(
    home: Path, double: OllamaDouble, tmp_path: Path
) -> None:
    turns(home, double, "show me a red barn", "/save gone")
    path = home / CONVERSATIONS / "gone.json"
    content = json.loads(path.read_text())
    content["sources"][0]["moment"]["media_id"] = "forgotten"
    path.write_text(json.dumps(content))
    done = mmrag_here(home, "chat", "--resume", "gone", stdin="what does 1 say?\n", **where(double))
    assert done.returncode == 0
    assert "sources are gone" in done.stderr


# -- in a terminal --------------------------------------------------------------------------------


class Terminal:
    """A terminal that a command runs in; ``kitty`` answers as one that shows pictures does."""

    def __init__(
        self,
        home: Path,
        *arguments: str,
        command: Sequence[str] = MMRAG,
        kitty: bool = False,
        columns: int = 80,
        **more: str,
    ) -> None:
        self._kitty = kitty
        self.seen = ""
        self._answered = 0
        self._ours, theirs = pty.openpty()
        size = struct.pack("HHHH", 40, columns, columns * 10, 40 * 20)
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, size)
        variables = environment(home, **{"TERM": "xterm-256color", **more})
        self.process = subprocess.Popen(
            [*command, *arguments],
            env=variables,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509
        )
        os.close(theirs)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def wait_for(self, text: str, seconds: float = 90, *, pressing: str = "") -> str:
        """Read until a text is seen after what was waited for last; what came until then.

        ``pressing`` is a key that is pressed every 2 s until then: Python misses a Ctrl-C that
        comes between the prompt and its listening for keys.
        """
        ends_at = time.monotonic() + seconds
        press_at = time.monotonic()
        begin = len(self.seen)
        while text not in self.seen[self._answered :]:
            assert time.monotonic() < ends_at, f"no {text!r} in {self.seen[begin:]!r}"
            if pressing and time.monotonic() >= press_at:
                self.type(pressing)
                press_at = time.monotonic() + 2
            if not self._read(0.2) and self.process.poll() is not None:
                raise AssertionError(f"it ended without {text!r}: {self.seen!r}")
        at = self.seen.index(text, self._answered) + len(text)
        found, self._answered = self.seen[self._answered : at], at
        return found

    def end(self) -> tuple[int, str]:
        """Wait for the end; the exit code and all that was seen."""
        ends_at = time.monotonic() + 90
        while self.process.poll() is None:
            assert time.monotonic() < ends_at, self.seen
            self._read(0.1)
        while self._read(0.1):
            pass
        return self.process.returncode, self.seen

    def _read(self, seconds: float) -> bool:
        ready, _, _ = select.select([self._ours], [], [], seconds)
        if not ready:
            return False
        try:
            piece = os.read(self._ours, 65536).decode(errors="replace")
        except OSError:
            return False
        if self._kitty:
            for asked in re.findall(r"\x1b_Gi=(\d+),[^\x1b]*a=q[^\x1b]*\x1b\\", piece):
                os.write(self._ours, f"\x1b_Gi={asked};OK\x1b\\".encode())
            if "\x1b[c" in piece:
                os.write(self._ours, b"\x1b[?62c")
        self.seen += piece
        return bool(piece)


def in_terminal(home: Path, double: OllamaDouble, *arguments: str, **more: Any) -> Terminal:
    return Terminal(home, *arguments, **{**where(double), **more})


PLACEHOLDER = "\U0010eeee"  # where kitty draws
OURS = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|\]8;[^\x1b]*\x1b\\|_G[^\x1b]*\x1b\\)")


@pytest.mark.slow
def test_a_conversation_in_a_narrow_terminal_and_ctrl_c_stops_only_the_answer(
    home: Path, double: OllamaDouble
) -> None:
    with in_terminal(home, double, "chat", columns=40) as terminal:
        assert "A new conversation" in terminal.wait_for("> ")
        terminal.type("show me a red barn\n")
        assert "I see" in terminal.wait_for("[1] ")
        terminal.wait_for("\n> ")
        double.script("considerable " * 8 + "[1]")
        terminal.type("show me a green barn\n")
        answered = OURS.sub("", terminal.wait_for("[1] ")).splitlines()
        words = [line.count("considerable") for line in answered if "considerable" in line]
        assert words == [3, 3, 2], "broken between words"
        terminal.wait_for("\n> ")
        double.script(Reply("one two three four five", break_after=3, how="stall"))
        terminal.type("show me a blue barn\n")
        terminal.wait_for("one two")
        terminal.type("\x03")
        assert "stopped" in terminal.wait_for("\n> ")
        terminal.wait_for("\n> ", pressing="\x03")  # at the prompt: a new line
        double.script(Reply(status=500, error="out of memory"))
        terminal.type("show me a green barn\n")
        terminal.wait_for("out of memory")
        terminal.wait_for("\n> ")
        terminal.type("/sources\n")
        terminal.wait_for("one.jpg")
        terminal.wait_for("\n> ")
        terminal.type("\x04")
        code, seen = terminal.end()
    assert code == 0
    assert PLACEHOLDER not in seen
    plain = OURS.sub("", seen)
    assert "\x1b" not in plain
    assert "owned\x07" not in plain
    (kept,) = (home / CONVERSATIONS).glob("*.json")
    assert len(json.loads(kept.read_text())["turns"]) == 2


@pytest.mark.slow
def test_thumbnails_are_shown_with_the_sources_of_a_conversation(
    home: Path, double: OllamaDouble
) -> None:
    with in_terminal(home, double, "chat", kitty=True, columns=120) as terminal:
        terminal.wait_for("> ")
        terminal.type("show me a red barn\n")
        terminal.wait_for(PLACEHOLDER)
        terminal.wait_for("one.jpg")
        terminal.wait_for("\n> ")
        terminal.type("/quit\n")
        assert terminal.end()[0] == 0


def test_an_answer_streams(home: Path, double: OllamaDouble) -> None:
    double.script(Reply("begun and never ended", break_after=2, how="stall"))
    with in_terminal(home, double, "ask", "which barn is red?") as terminal:
        terminal.wait_for("begun")
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.end()[0] == 130


# -- thumbnails, without a library ----------------------------------------------------------------

DRAWING = """
import sys
from PIL import Image
from rich.console import Console
from mmrag_plugin.cli.console import output
from mmrag_plugin.cli.thumbnails import Thumbnails
from mmrag_plugin.errors import MediaError
from mmrag_plugin.media import Hit, Moment

def picture_of(hit):
    if hit.rank == 2:
        raise MediaError("broken")
    return None if hit.rank == 3 else Image.new("RGB", (300, 200), "red")

wanted = {"auto": None, "yes": True, "no": False}[sys.argv[1]]
hits = [(f"[{n}]", Hit(n, Moment(f"m{n}", "image"), "x", 1.0, "weak")) for n in range(1, 9)]
Thumbnails(wanted).show(output, hits, picture_of)
print("ready", flush=True)
print("typed:", input(), flush=True)
"""


def drawn(home: Path, wanted: str, *, kitty: bool, columns: int = 80, **more: str) -> str:
    """What a terminal gets to see; what is typed afterwards arrives as it was typed."""
    command = [sys.executable, "-c", DRAWING, wanted]
    with Terminal(home, command=command, kitty=kitty, columns=columns, **more) as terminal:
        terminal.wait_for("ready")
        terminal.type("hello\n")
        terminal.wait_for("typed: hello")
        return terminal.seen


@pytest.mark.parametrize(("columns", "rows"), [(160, 1), (60, 2), (15, 6)])
def test_a_terminal_that_says_that_it_shows_pictures_gets_them(
    columns: int, rows: int, tmp_path: Path
) -> None:
    seen = drawn(tmp_path, "auto", kitty=True, columns=columns)
    assert len(re.findall(r"\x1b_Ga=p", seen)) == rows, "one picture for each row of thumbnails"
    labels = re.findall(r"\[(\d)\]", OURS.sub("", seen))
    assert labels == ["1", "4", "5", "6", "7", "8"], "what can't be opened is left out"
    lines = OURS.sub("", seen).replace("\r", "").split("\n")
    assert max(line.count(PLACEHOLDER) for line in lines) <= columns


@pytest.mark.parametrize(
    ("wanted", "kitty", "more"),
    [
        ("auto", False, {}),
        ("no", True, {}),
        ("auto", True, {"NO_COLOR": "1"}),
        ("yes", True, {"TERM": "dumb"}),
        ("yes", True, {"CI": "true"}),
    ],
)
def test_nothing_is_drawn_elsewhere(
    wanted: str, kitty: bool, more: dict[str, str], tmp_path: Path
) -> None:
    seen = drawn(tmp_path, wanted, kitty=kitty, **more)
    assert PLACEHOLDER not in seen
    assert not re.search("[\u2580\u2584]", seen)
    if kitty:
        assert "\x1b_G" not in seen, "it is not even asked"


def test_half_blocks_are_drawn_where_they_are_asked_for(tmp_path: Path) -> None:
    assert re.search("[\u2580\u2584]", drawn(tmp_path, "yes", kitty=False, columns=50))


def test_nothing_is_drawn_on_a_pipe(home: Path) -> None:
    piped = mmrag_here(home, "search", "red barn", "--pictures")
    assert not re.search("[\u2580\u2584]", piped.stdout)
