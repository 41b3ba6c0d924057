"""What every recogniser keeps to, wherever its words come from."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from mmrag_plugin.film_sound import RATE_HZ, Sound
from mmrag_plugin.signals import speech_whisper
from mmrag_plugin.signals.speech import SpeechRecogniser
from mmrag_plugin.signals.speech_apart import RecognisesApart
from mmrag_plugin.signals.speech_scripted import ScriptedRecogniser
from mmrag_plugin.signals.speech_whisper import WhisperRecogniser
from sphinx_recogniser import SphinxRecogniser
from spoken import track
from tiny_whisper import tiny_whisper

SAID = {2.0: "the red balloon flies over the bridge", 9.0: "we go home tomorrow"}
SENTENCES = [*SAID.values(), "the old dog sleeps", "my sister sings in the kitchen"]


def script(folder: Path, said: dict[float, str]) -> Path:
    path = folder / "script.srt"
    cues = [
        f"{number}\n00:00:{int(at_s):02},000 --> 00:00:{int(at_s) + 2:02},500\n{text}\n"
        for number, (at_s, text) in enumerate(said.items(), start=1)
    ]
    path.write_text("\n".join(cues))
    return path


def scripted(folder: Path) -> SpeechRecogniser:
    return ScriptedRecogniser(script(folder, SAID))


def sphinx(_folder: Path) -> SpeechRecogniser:
    pytest.importorskip("pocketsphinx")
    return SphinxRecogniser(SENTENCES)


def apart(folder: Path) -> SpeechRecogniser:
    return RecognisesApart(scripted(folder))


def whisper(folder: Path) -> SpeechRecogniser:
    pytest.importorskip("faster_whisper")
    return WhisperRecogniser(tiny_whisper(folder / "whisper"), threads=1)


def whisper_apart(folder: Path) -> SpeechRecogniser:
    return RecognisesApart(whisper(folder))


HEARS = [scripted, sphinx, apart]
MAKERS = [
    *HEARS,
    *(pytest.param(make, marks=pytest.mark.slow) for make in (whisper, whisper_apart)),
]
Make = Callable[[Path], SpeechRecogniser]


@pytest.fixture(scope="module", params=MAKERS)
def recogniser(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SpeechRecogniser]:
    made: SpeechRecogniser = request.param(tmp_path_factory.mktemp("recogniser"))
    yield made
    made.close()


@pytest.fixture(params=HEARS)
def hearing(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SpeechRecogniser]:
    made: SpeechRecogniser = request.param(tmp_path)
    yield made
    made.close()


def piece(seconds: float = 16.0, start_s: float = 0.0) -> Sound:
    return Sound(start_s, track(seconds, SAID))


def test_a_stamp_fits_its_column_and_stays_the_same(recogniser: SpeechRecogniser) -> None:
    assert 0 < len(recogniser.stamp) <= 200
    recogniser.recognise(piece())
    assert recogniser.stamp == recogniser.stamp
    assert recogniser.language == ""


def test_what_is_said_comes_in_order_and_within_the_piece(recogniser: SpeechRecogniser) -> None:
    sound = piece(start_s=2.0)
    found = recogniser.recognise(sound)
    for segment in found:
        assert sound.start_s <= segment.start_s <= segment.end_s <= sound.end_s
        assert segment.text == " ".join(segment.text.split())
    assert all(a.start_s <= b.start_s for a, b in pairwise(found))


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(0, np.float32),
        np.zeros(10, np.float32),
        np.zeros(20 * RATE_HZ, np.float32),
        np.full(5 * RATE_HZ, 0.5, np.float32),
    ],
    ids=["nothing", "ten samples", "silence", "a constant"],
)
def test_where_nobody_speaks_nothing_is_said(
    recogniser: SpeechRecogniser, samples: np.ndarray
) -> None:
    assert recogniser.recognise(Sound(100.0, samples)) == []


def test_noise_as_loud_as_can_be_harms_nothing(recogniser: SpeechRecogniser) -> None:
    noise = np.random.default_rng(0).uniform(-1, 1, 10 * RATE_HZ).astype(np.float32)
    recogniser.recognise(Sound(0.0, np.sign(noise)))
    again = recogniser.recognise(piece())
    assert again == recogniser.recognise(piece())


def test_after_closing_it_listens_again(recogniser: SpeechRecogniser) -> None:
    before = recogniser.recognise(piece())
    recogniser.close()
    recogniser.close()
    assert recogniser.recognise(piece()) == before


def test_the_words_are_heard_when_they_are_said(hearing: SpeechRecogniser) -> None:
    found = hearing.recognise(piece())
    assert [segment.text for segment in found] == list(SAID.values())
    for segment, at_s in zip(found, SAID, strict=True):
        assert segment.start_s == pytest.approx(at_s, abs=0.4)
        assert at_s + 1 < segment.end_s < at_s + 4
        assert segment.language == "en"


@pytest.mark.parametrize("make", [scripted, sphinx, pytest.param(whisper, marks=pytest.mark.slow)])
def test_it_can_be_sent_to_another_process(make: Make, tmp_path: Path) -> None:
    made = make(tmp_path)
    sent = pickle.loads(pickle.dumps(made))
    assert sent.stamp == made.stamp
    assert sent.recognise(piece()) == made.recognise(piece())


# -- Whisper --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("faster_whisper")
    return tiny_whisper(tmp_path_factory.mktemp("models") / "whisper")


@pytest.mark.slow
def test_whisper_believes_what_it_made_up_only_when_told_to(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recogniser = WhisperRecogniser(folder)
    assert recogniser.recognise(piece()) == []  # random weights: no word of it is likely
    monkeypatch.setattr(speech_whisper, "MIN_LOGPROB", -100.0)
    monkeypatch.setattr(speech_whisper, "MAX_COMPRESSION", 1000.0)
    monkeypatch.setattr(speech_whisper, "MAX_NO_SPEECH", 2.0)
    found = recogniser.recognise(piece())
    assert found
    assert {segment.language for segment in found} <= {"en", "de", "fr"}
