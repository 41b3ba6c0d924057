"""The sound of films: whatever it is encoded in, damaged or missing, in pieces that join."""

from __future__ import annotations

import subprocess
import tracemalloc
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from made_films import RED, write_film, write_sound
from mmrag_plugin.errors import MediaError
from mmrag_plugin.film_sound import (
    PIECE_S,
    RATE_HZ,
    WINDOW_S,
    Sound,
    levels_of,
    sound_of,
    sounds_alike,
)
from mmrag_plugin.index_speech import joined_levels
from mmrag_plugin.readers.decoding import HERE
from mmrag_plugin.readers.video import VideoReader
from mmrag_plugin.readers.workers import DecodesInWorkers
from spoken import track, write_spoken

TONES = [3.0, 9.0]


def loud_at(pieces: list[Sound]) -> list[float]:
    """The seconds in which it gets loud."""
    loud = [level > -35 for level in joined_levels([levels_of(piece) for piece in pieces])]
    begins = [at for at, (before, now) in enumerate(pairwise([False, *loud])) if now > before]
    return [round(at * WINDOW_S) for at in begins]


def levels(path: Path) -> list[int]:
    return joined_levels([levels_of(piece) for piece in sound_of(path)])


@pytest.mark.parametrize(
    ("codec", "rate_hz", "layout", "suffix"),
    [
        ("aac", 48000, "stereo", ".mp4"),
        ("pcm_s16le", 8000, "mono", ".avi"),
        ("ac3", 48000, "5.1", ".mkv"),
        ("libopus", 48000, "stereo", ".mkv"),
        ("libmp3lame", 44100, "stereo", ".mp4"),
        ("flac", 96000, "mono", ".mkv"),
        ("aac", 22050, "mono", ".ts"),
    ],
)
def test_every_encoding_sounds_when_it_should(
    codec: str, rate_hz: int, layout: str, suffix: str, tmp_path: Path
) -> None:
    film = write_spoken(
        tmp_path / f"film{suffix}",
        track(13, TONES),
        codec=codec,
        rate_hz=rate_hz,
        layout=layout,
    )
    (piece,) = sound_of(film)
    assert piece.samples.dtype == np.float32
    assert np.abs(piece.samples).max() <= 1
    assert piece.end_s == pytest.approx(13, abs=0.2)
    assert loud_at([piece]) == TONES
    assert VideoReader().facts(film).has_sound


def test_a_film_without_sound_has_none(tmp_path: Path) -> None:
    film = write_film(tmp_path / "silent.mp4", [RED] * 20)
    assert list(sound_of(film)) == []
    assert not VideoReader().facts(film).has_sound


def test_a_sound_file_is_no_film(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="no moving picture"):
        list(sound_of(write_sound(tmp_path / "sound.mp4")))


def test_an_animated_picture_has_no_sound(shared_data: Path) -> None:
    animation = next((shared_data / "video").glob("*.gif"))
    assert list(sound_of(animation)) == []


def test_of_several_tracks_the_one_in_the_language_is_heard_else_the_default(
    tmp_path: Path,
) -> None:
    tracks = [track(6, [0.0]), track(6, [2.0]), track(6, [4.0])]
    film = write_spoken(tmp_path / "f.mkv", *tracks, languages=["eng", "ger", "fra"], default=1)
    heard = {code: loud_at(list(sound_of(film, language=code))) for code in ("", "en", "de", "fr")}
    assert heard == {"": [2], "en": [0], "de": [2], "fr": [4]}
    assert loud_at(list(sound_of(film, language="ja"))) == [2]


def test_a_language_is_not_another_one_that_begins_like_it(tmp_path: Path) -> None:
    spoken = ["est", "swe", "spa", "ind", "ukr"]
    tracks = [track(6, [float(number)]) for number in range(5)]
    film = write_spoken(tmp_path / "f.mkv", *tracks, languages=spoken, default=0)
    heard = {
        code: loud_at(list(sound_of(film, language=code))) for code in ("es", "sw", "id", "uk")
    }
    assert heard == {"es": [2], "sw": [0], "id": [3], "uk": [4]}


@pytest.fixture(scope="module")
def long_film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some minutes with a tone every ten seconds."""
    path = tmp_path_factory.mktemp("films") / "long.mp4"
    return write_spoken(path, track(150, list(range(0, 150, 10))))


def test_pieces_join_and_are_cut_where_it_is_quiet(long_film: Path) -> None:
    pieces = list(sound_of(long_film))
    assert len(pieces) == 2
    for piece, following in pairwise(pieces):
        assert piece.end_s == pytest.approx(following.start_s, abs=1e-6)
        assert piece.end_s - piece.start_s <= PIECE_S
        assert np.abs(piece.samples[-1600:]).max() < 0.05
    assert loud_at(pieces) == list(range(0, 150, 10))


def test_what_begins_later_is_the_same_sound(long_film: Path) -> None:
    pieces = list(sound_of(long_film))
    (again,) = sound_of(long_film, from_s=pieces[1].start_s)
    assert again.start_s == pytest.approx(pieces[1].start_s, abs=1e-6)
    assert len(again.samples) == len(pieces[1].samples)
    assert np.abs(again.samples - pieces[1].samples).mean() < 1e-3


def test_a_process_of_its_own_hears_the_same(long_film: Path) -> None:
    here = list(HERE.sound(long_film, from_s=100.0))
    there = list(DecodesInWorkers().sound(long_film, from_s=100.0))
    assert [(p.start_s, len(p.samples)) for p in there] == [
        (p.start_s, len(p.samples)) for p in here
    ]
    assert all(np.array_equal(a.samples, b.samples) for a, b in zip(here, there, strict=True))


def test_memory_holds_a_piece_and_not_the_film(long_film: Path) -> None:
    tracemalloc.start()
    for piece in sound_of(long_film):
        assert len(piece.samples) <= PIECE_S * RATE_HZ
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 6 * PIECE_S * RATE_HZ * 4


def test_a_film_that_breaks_off_is_heard_up_to_there(tmp_path: Path) -> None:
    film = write_spoken(tmp_path / "film.mkv", track(60, list(range(0, 60, 10))))
    film.write_bytes(film.read_bytes()[: film.stat().st_size * 2 // 3])
    heard = loud_at(list(sound_of(film)))
    assert heard[:2] == [0, 10]
    assert heard == [at for at in range(0, 60, 10) if at <= heard[-1]]


GAP_CLOSED = "damaged times may close a gap of seconds: what follows is heard too early"


@pytest.mark.parametrize(
    "seed",
    [
        0,
        *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 7)),
        pytest.param(7, marks=[pytest.mark.slow, pytest.mark.xfail(reason=GAP_CLOSED)]),
    ],
)
def test_damage_inside_costs_what_is_damaged(seed: int, tmp_path: Path) -> None:
    film = write_spoken(tmp_path / "film.ts", track(60, list(range(0, 60, 10))))
    data = bytearray(film.read_bytes())
    chance = np.random.default_rng(seed)
    for at in chance.integers(2000, len(data), 40):
        data[at] ^= int(chance.integers(1, 255))
    film.write_bytes(data)
    pieces = list(sound_of(film))
    assert all(np.isfinite(piece.samples).all() for piece in pieces)
    assert 50 < pieces[-1].end_s < 70
    assert len(set(loud_at(pieces)) & set(range(0, 60, 10))) >= 4


def test_sound_of_which_nothing_can_be_decoded_is_reported(tmp_path: Path) -> None:
    film = write_spoken(tmp_path / "film.mkv", track(5, [1.0]), codec="flac")
    data = film.read_bytes()
    broken = data.replace(b"\xff\xf8", b"\x00\x00")  # every frame of FLAC begins with this
    film.write_bytes(broken)
    with pytest.raises(MediaError, match="nothing can be decoded"):
        list(sound_of(film))


def test_a_hole_in_the_sound_is_no_sound_and_moves_nothing(tmp_path: Path) -> None:
    film = write_spoken(tmp_path / "film.mkv", track(30, [2.0, 25.0]))
    holed = tmp_path / "holed.mkv"
    subprocess.run(
        ["ffmpeg", "-v", "error", "-i", film, "-af", "aselect='not(between(t,8,20))'", holed],
        check=True,
    )
    pieces = list(sound_of(holed))
    assert [round(piece.start_s) for piece in pieces] == [0, 20]
    assert loud_at(pieces) == [2, 25]


# -- the same sound -------------------------------------------------------------------------------

SAID = {at: f"{word} comes home" for at, word in ((1, "anna"), (7, "peter"), (14, "the dog"))}


@pytest.mark.parametrize(
    ("codec", "bit_rate", "rate_hz"),
    [
        ("aac", 48_000, 44100),
        pytest.param("libmp3lame", 64_000, 44100, marks=pytest.mark.slow),
        pytest.param("libopus", 24_000, 48000, marks=pytest.mark.slow),
    ],
)
def test_a_film_that_is_encoded_anew_sounds_the_same(
    codec: str, bit_rate: int, rate_hz: int, tmp_path: Path
) -> None:
    samples = track(20, {float(at): text for at, text in SAID.items()})
    one = levels(write_spoken(tmp_path / "one.mp4", samples))
    other = write_spoken(
        tmp_path / "two.mkv", samples, codec=codec, bit_rate=bit_rate, rate_hz=rate_hz
    )
    assert sounds_alike(one, levels(other), [(1, 3), (7, 9), (14, 16)])


def test_a_dubbed_film_is_another_one(tmp_path: Path) -> None:
    at_s = np.arange(200 * RATE_HZ) / RATE_HZ
    music = (0.05 * np.sin(at_s * 1778) * (1.1 + np.sin(at_s))).astype(np.float32)
    one, other = (
        levels(
            write_spoken(
                tmp_path / f"{name}.mkv", music + track(200, {30.0: text}), codec="pcm_s16le"
            )
        )
        for name, text in (("one", SAID[1] * 2), ("two", "quel beau voyage, mon ami, quel voyage"))
    )
    spoken = [(30.0, 34.0)]
    assert sounds_alike(one, other)  # minutes of music are the same
    assert not sounds_alike(one, other, spoken)


def test_two_films_with_the_same_wind_are_not_one() -> None:
    one, other = (np.random.default_rng(seed).normal(-22, 1.2, 300) for seed in (1, 2))
    assert not sounds_alike([round(level) for level in one], [round(level) for level in other])
    assert not sounds_alike([-22] * 300, [-22] * 300)  # nothing tells them apart
    encoded = one + np.random.default_rng(3).normal(0, 0.2, 300)
    assert sounds_alike([round(level) for level in one], [round(level) for level in encoded])


def test_films_of_other_lengths_or_without_sound_are_not_compared() -> None:
    assert not sounds_alike([-20] * 100, [-20] * 200)
    assert not sounds_alike([-90] * 100, [-90] * 100)
    assert not sounds_alike([], [])
