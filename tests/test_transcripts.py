"""What is said in a film, written into a file that players and we ourselves can read."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands import mmrag_here, refused, told
from made_films import GREEN, RED, write_film
from media_made import end_owners
from mmrag_plugin.errors import NotFound, UsageError
from mmrag_plugin.media import Signal
from mmrag_plugin.signals.subtitles import parse_subtitles
from mmrag_plugin.transcripts import said_in, transcript

CUES = [
    Signal("subtitle", "Hello <b>there</b> & you", 0.5, 2.0),
    Signal("subtitle", "two\nlines", 3661.042, 3662.0),
]


@pytest.mark.parametrize("form", ["srt", "vtt"])
def test_what_is_written_is_read_again(form: str) -> None:
    found = parse_subtitles(transcript(CUES, form))
    assert [(cue.start_s, cue.end_s) for cue in found] == [(0.5, 2.0), (3661.042, 3662.0)]
    assert found[1].text == "two\nlines"
    assert found[0].text.startswith("Hello")


@given(st.text(max_size=60), st.floats(0, 1e5), st.sampled_from(["srt", "vtt"]))
def test_no_text_becomes_another_cue(text: str, at_s: float, form: str) -> None:
    cues = [Signal("speech", f"a {text}", at_s, at_s + 1), Signal("speech", "end", at_s + 2)]
    found = parse_subtitles(transcript(cues, form))
    assert len(found) == 2
    assert found[0].start_s == pytest.approx(at_s, abs=1e-3)


def test_text_alone_has_a_line_for_each_cue() -> None:
    assert transcript(CUES, "txt") == "Hello <b>there</b> & you\ntwo lines\n"
    with pytest.raises(UsageError, match="doc is no format"):
        transcript([], "doc")


def test_subtitles_come_before_speech() -> None:
    speech = Signal("speech", "heard", 1.0, 2.0)
    assert said_in([speech, *CUES], "film.mp4") == CUES
    assert said_in([speech, Signal("path", "film")], "film.mp4") == [speech]


def test_what_was_heard_comes_before_subtitles_of_a_few_signs() -> None:
    sign = Signal("subtitle", "POLICE", 7.0, 9.0)
    spoken = [Signal("speech", f"sentence {number}", number, number + 1.0) for number in range(9)]
    assert said_in([sign, *spoken], "film.mp4") == spoken
    with pytest.raises(NotFound, match=r"said in film\.mp4"):
        said_in([Signal("annotation", "a film")], "film.mp4")


def test_the_command_writes_a_new_file_and_over_no_other(tmp_path: Path) -> None:
    folder, home = tmp_path / "films", tmp_path / "home"
    folder.mkdir()
    film = write_film(folder / "film.mp4", [RED] * 20 + [GREEN] * 20)
    write_film(folder / "mute.mp4", [GREEN] * 20)
    (folder / "film.srt").write_text("1\n00:00:00,500 --> 00:00:02,000\nhere we are\n")
    target = tmp_path / "said.vtt"
    try:
        assert mmrag_here(home, "index", folder, "--no-ocr").returncode == 0
        done = mmrag_here(home, "transcript", film, "--output", target)
        assert done.returncode == 0, done.stderr
        assert target.read_text() == "WEBVTT\n\n00:00:00.500 --> 00:00:02.000\nhere we are\n"
        kind, message, _ = refused(mmrag_here(home, "transcript", film, "-o", target, "--json"), 2)
        assert (kind, "exists already" in message) == ("usage", True)
        again = ["transcript", film, "-o", target, "--force", "--format", "txt"]
        assert mmrag_here(home, *again).returncode == 0
        assert target.read_text() == "here we are\n"
        assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
        before = film.read_bytes()
        over = ["transcript", film, "-o", film, "--force", "--format", "txt", "--json"]
        kind, message, _ = refused(mmrag_here(home, *over), 2)
        assert (kind, "the film itself" in message) == ("usage", True)
        assert film.read_bytes() == before
        found = told(mmrag_here(home, "transcript", film, "--json"), 0)
        assert found["source"] == "subtitle"
        assert found["cues"] == [{"start_s": 0.5, "end_s": 2.0, "text": "here we are"}]
        shown = mmrag_here(home, "transcript", film).stdout
        assert shown.splitlines()[2] == "here we are"
        refused(mmrag_here(home, "transcript", folder / "mute.mp4", "--json"), 1)
        refused(mmrag_here(home, "transcript", "nowhere.mp4", "--json"), 2)
        refused(mmrag_here(home, "transcript", film, "-o", tmp_path / "said.doc", "--json"), 2)
    finally:
        end_owners(home)
