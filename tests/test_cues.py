"""Each cue of a subtitled film is found first by its words, in a moment that has its edges."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import pytest
from benchmarks import moments
from benchmarks.moments import Cue

from made_films import BLUE, GREEN, RED, write_film
from media_made import end_owners, opened
from mmrag_plugin.library import MediaLibrary
from mmrag_plugin.media import Channel
from mmrag_plugin.signals.subtitles import parse_subtitles

SHARED = Path(__file__).resolve().parents[2] / "shared"
FRIDAY = SHARED / "data" / "video" / "mdn_friday.mp4"
MINIDUAL = SHARED / "models" / "minidual"
SPANISH = ["¿Dónde está la botella?", "Se cayó de la mesa", "y nadie la recogió"]
GERMAN = ["Wo ist die Flasche?", "Sie fiel vom Tisch", "und niemand hob sie auf"]
JAPANESE = ["瓶はどこですか", "テーブルから落ちた", "誰も拾わなかった"]


@pytest.fixture(autouse=True)
def _gone(tmp_path: Path) -> Iterator[None]:
    yield
    end_owners(tmp_path)


def indexed(home: Path, cues: Sequence[Cue], suffix: str = ".srt", **flags: str) -> MediaLibrary:
    """A library of one film of plain colours with cues in a file beside it."""
    media = home / "media"
    media.mkdir(exist_ok=True)
    length_s = round(cues[-1].end_s) + 2
    shots = [(RED, GREEN, BLUE)[second // 7 % 3] for second in range(length_s)]
    write_film(media / "film.mp4", shots, rate=1, gop=7)
    moments.write_subtitles(cues, media / f"film{suffix}")
    with opened(home, **flags) as library:
        library.index([media])
    return library


def all_found(
    library: MediaLibrary, film: str, cues: Sequence[Cue], channels: Sequence[Channel]
) -> None:
    for planned in (False, True):
        score = moments.measure(library, film, cues, channels, planned)
        assert score.missed == []
        assert max(score.edges_s) <= 0.001


@pytest.mark.parametrize("suffix", [".srt", ".vtt"])
def test_every_cue_is_found_first_with_its_edges(tmp_path: Path, suffix: str) -> None:
    cues = moments.script(24 if suffix == ".srt" else 8, 120, seed=3)
    indexed(tmp_path, cues, suffix)
    with opened(tmp_path) as library:
        all_found(library, "film.mp4", cues, library.searcher().channels)
        score = moments.measure_sentences(library, "film.mp4", cues, ("bm25",))
        assert score.asked > 0, "some sentences run over several cues"
        assert score.missed == []
        assert max(score.edges_s) <= 0.001


@pytest.mark.parametrize(
    "text",
    [
        "No, not the letter from 2019!",
        "-Who is there? -Nobody.",
        'He said "stop it now" and left.',
        "What happens after the storm?",
        "Show me the last two photos of Anna",
        "How many videos are there?",
    ],
)
def test_a_cue_that_reads_like_a_question_to_mmrag_is_found(tmp_path: Path, text: str) -> None:
    others = ["The storm is over.", "Anna has two photos of a letter", "Nobody said anything"]
    cues = [Cue(said, 3.0 * n + 1, 3.0 * n + 3, n) for n, said in enumerate([*others, text])]
    indexed(tmp_path, cues)
    with opened(tmp_path) as library:
        all_found(library, "film.mp4", cues, ("bm25",))


def test_the_cues_of_several_languages_in_one_film_are_found(tmp_path: Path) -> None:
    media = tmp_path / "media"
    media.mkdir()
    spoken = {
        language: [Cue(text, 2.0 * n + 1, 2.0 * n + 2.5, n) for n, text in enumerate(texts)]
        for language, texts in (("es", SPANISH), ("de", GERMAN), ("ja", JAPANESE))
    }
    write_film(media / "film.mp4", [RED] * 10, rate=1)
    for language, cues in spoken.items():
        moments.write_subtitles(cues, media / f"film.{language}.srt")
    with opened(tmp_path) as library:
        library.index([media])
        for cues in spoken.values():
            all_found(library, "film.mp4", cues, ("bm25",))
        [sentence] = library.search("Se cayó de la mesa y nadie la recogió", limit=1).hits
        assert (sentence.moment.start_s, sentence.moment.end_s) == (3.0, 6.5)


def test_the_cues_of_an_embedded_stream_are_found(tmp_path: Path) -> None:
    media = tmp_path / "media"
    media.mkdir()
    cues = moments.script(8, 40, seed=5)
    write_film(tmp_path / "bare.mkv", [RED, GREEN] * 22, rate=1)
    moments.write_subtitles(cues, tmp_path / "cues.srt")
    with (
        av.open(str(tmp_path / "bare.mkv")) as film,
        av.open(str(tmp_path / "cues.srt")) as told,
        av.open(str(media / "film.mkv"), "w") as both,
    ):
        kept = {
            stream: both.add_stream_from_template(stream)
            for stream in (film.streams.video[0], told.streams.subtitles[0])
        }
        for source in (film, told):
            for packet in source.demux():
                if packet.dts is not None and packet.stream in kept:
                    packet.stream = kept[packet.stream]
                    both.mux(packet)
    with opened(tmp_path) as library:
        library.index([media])
        all_found(library, "film.mkv", cues, ("bm25",))


@pytest.mark.skipif(not FRIDAY.exists(), reason="the shared media are not here")
def test_every_cue_of_a_real_film_is_found_first(tmp_path: Path) -> None:
    media = tmp_path / "media"
    media.mkdir()
    shutil.copy(FRIDAY, media)
    shutil.copy(FRIDAY.with_suffix(".vtt"), media)
    read = parse_subtitles(FRIDAY.with_suffix(".vtt").read_text())
    cues = [Cue(one.text, one.start_s or 0, one.end_s or 0, n) for n, one in enumerate(read)]
    with opened(tmp_path) as library:
        library.index([media])
        all_found(library, FRIDAY.name, cues, ("bm25",))
        all_found(library, FRIDAY.name, cues, library.searcher().channels)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not MINIDUAL.exists(), reason="the shared model is not here")
def test_every_one_of_many_alike_cues_is_found_first_in_every_set_of_channels(
    tmp_path: Path,
) -> None:
    cues = moments.script(40, 240, seed=11)
    indexed(tmp_path, cues, visual_model=str(MINIDUAL), text_model="visual")
    with opened(tmp_path, visual_model=str(MINIDUAL), text_model="visual") as library:
        for of_model, channels in moments.MODES:
            if of_model == "visual":
                score = moments.measure(library, "film.mp4", cues, channels, False)
                assert score.missed == [], channels
                assert max(score.edges_s) <= 0.001
