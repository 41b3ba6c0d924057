"""Real-time factors of listening: python -m benchmarks speech [--model FOLDER] [--minutes N].

Of a film with a synthetic voice: how long decoding takes, finding out that two encodings sound the
same, a recogniser of a few known sentences (PocketSphinx), and, with ``--model``, Whisper in a
folder. A factor is seconds of work for each second of sound.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from mmrag_plugin.film_sound import levels_of, sound_of, sounds_alike
from mmrag_plugin.index_speech import joined_levels
from mmrag_plugin.signals.speech import SpeechRecogniser
from mmrag_plugin.signals.speech_whisper import WhisperRecogniser
from sphinx_recogniser import SphinxRecogniser
from spoken import track, write_spoken

SENTENCES = (
    "the red balloon flies over the bridge",
    "my sister sings in the kitchen",
    "the old dog sleeps",
)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=10.0, help="of film")
    parser.add_argument("--model", type=Path, help="a Whisper in the form of CTranslate2")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        found = dict(_figures(Path(folder), options.minutes * 60, options.model))
    if options.json:
        print(json.dumps(found))
        return
    for name, figure in found.items():
        print(f"{name:>44}: {figure:.4g}")


def _figures(folder: Path, length_s: float, model: Path | None) -> Iterator[tuple[str, float]]:
    said = {float(at): SENTENCES[at // 20 % 3] for at in range(2, int(length_s) - 5, 20)}
    samples = track(length_s, said)
    film = write_spoken(folder / "film.mp4", samples)
    other = write_spoken(folder / "other.mkv", samples, codec="libmp3lame", rate_hz=44100)
    yield "minutes of film", length_s / 60
    yield (
        "real-time factor, decoding",
        _factor(lambda: list(map(levels_of, sound_of(film))), length_s),
    )
    one, two = (joined_levels([levels_of(s) for s in sound_of(path)]) for path in (film, other))
    yield "real-time factor, comparing levels", _factor(lambda: sounds_alike(one, two), length_s)
    yield "encoded anew, known as the same", float(sounds_alike(one, two))
    yield "MB held at most while decoding", _held_mb(film)
    recognisers: dict[str, SpeechRecogniser] = {}
    if find_spec("pocketsphinx"):
        recognisers["PocketSphinx, 3 known sentences"] = SphinxRecogniser(SENTENCES)
    if model is not None:
        recognisers[f"Whisper in {model.name}"] = WhisperRecogniser(model)
    for name, recogniser in recognisers.items():
        right = 0

        def listen(recogniser: SpeechRecogniser = recogniser) -> None:
            nonlocal right
            for sound in sound_of(film):
                for segment in recogniser.recognise(sound):
                    text = segment.text.lower().strip(" .,!?")
                    right += any(
                        text == words and abs(segment.start_s - at_s) < 1
                        for at_s, words in said.items()
                    )

        yield f"real-time factor, {name}", _factor(listen, length_s)
        yield f"% of sentences right, {name}", 100 * right / len(said)


def _factor(work: Callable[[], object], sound_s: float) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) / sound_s


def _held_mb(film: Path) -> float:
    tracemalloc.start()
    for _ in sound_of(film):
        pass
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak_bytes / 1e6


if __name__ == "__main__":
    main()
