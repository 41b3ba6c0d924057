"""How well the words of a film find the moment in which they are said.

Each cue of a subtitled film is searched for by its own words, by half of them and, for information,
by a few others that mean much the same. Counted is whether the first hit overlaps the cue (of equal
cues any), and how far its edges lie from the cue's. Shown for every set of channels that a library
may have. The films: ``mdn_friday.mp4`` where the shared media are there, and one that is generated,
of 20 minutes and 200 cues by default: sentences out of few words, a tenth of them said more than
once, a quarter of them running over two or three cues.
"""

from __future__ import annotations

import argparse
import random
import shutil
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from mmrag_plugin import load_settings
from mmrag_plugin.library import MediaLibrary
from mmrag_plugin.media import Signal
from mmrag_plugin.signals.subtitles import parse_subtitles
from mmrag_plugin.timecode import format_time

if TYPE_CHECKING:
    import numpy as np

    from mmrag_plugin.media import Channel, Hit

SHARED = Path(__file__).resolve().parents[2] / "shared"
MODES: list[tuple[str, tuple[Channel, ...]]] = [
    ("off", ("bm25",)),
    ("off", ("visual", "bm25")),
    ("visual", ("text",)),
    ("visual", ("text", "bm25")),
    ("visual", ("visual", "text")),
    ("visual", ("visual", "text", "bm25")),
]
NAMES = "Anna Bob Clara Rex Oma Victor Maria Paul".split()
THINGS = (
    "bottle door letter train river garden table window car kitchen picture key boat bridge coat "
    "market piano candle hammer ladder basket mirror engine tower ticket"
).split()
MADE = "old red broken small heavy empty green silver wooden quiet dusty blue".split()
DOES = (
    "opened closed found lost carried painted sold repaired dropped followed watched hid "
    "cleaned borrowed"
).split()
PLACES = "under behind near inside beside above".split()
TIMES = ("yesterday", "tonight", "again", "before breakfast", "after the storm", "in May")
LIKE = {
    "bottle": "flask",
    "door": "gate",
    "letter": "message",
    "train": "railway",
    "car": "automobile",
    "picture": "photo",
    "boat": "ship",
    "coat": "jacket",
    "window": "pane",
    "broken": "damaged",
    "small": "little",
    "old": "ancient",
    "repaired": "fixed",
    "found": "discovered",
    "watched": "looked at",
    "dropped": "let fall",
    "cleaned": "washed",
    "closed": "shut",
}


@dataclass(frozen=True)
class Cue:
    """What is said from when to when; ``sentence`` is the whole of which it is a part."""

    text: str
    start_s: float
    end_s: float
    sentence: int


@dataclass
class Score:
    """How the cues of one film fared in one mode."""

    asked: int = 0
    first: int = 0
    edges_s: list[float] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)


def sentence(pick: Callable[[Sequence[str]], str]) -> str:
    """One sentence out of few words."""
    who, does, thing, other = pick(NAMES), pick(DOES), pick(THINGS), pick(THINGS)
    shapes = (
        f"{who} {does} the {pick(MADE)} {thing}.",
        f"The {pick(MADE)} {thing} is {pick(PLACES)} the {pick(MADE)} {other}.",
        f"Who {does} the {thing} {pick(PLACES)} the {other}?",
        f"{who} and {pick(NAMES)} {does} the {thing} {pick(PLACES)} the {pick(MADE)} {other}, "
        f"and nobody {pick(DOES)} the {pick(THINGS)}.",
        f"No, the {thing}!",
        f"{who} {does} the {other} {pick(TIMES)}.",
        f"I {does} it {pick(PLACES)} the {other}, {who}.",
    )
    return pick(shapes)


def script(count: int, length_s: float, seed: int) -> list[Cue]:
    """So many cues spread over a length: some sentences come again, some run over cues."""
    random_of = random.Random(seed)  # noqa: S311
    told: list[list[str]] = []
    while sum(map(len, told)) < count:
        if told and random_of.random() < 0.1:
            told.append([" ".join(random_of.choice(told))])
            continue
        words = sentence(random_of.choice).split()
        parts = random_of.choice((2, 3)) if len(words) > 7 and random_of.random() < 0.7 else 1
        size = -(-len(words) // parts)
        told.append([" ".join(words[at : at + size]) for at in range(0, len(words), size)])
    slot_s = length_s / count
    cues: list[Cue] = []
    at_s = 0.5
    for number, parts in enumerate(told):
        for part in parts:
            long_s = round(min(0.9 + 0.25 * len(part.split()), slot_s * 0.95), 3)
            cues.append(Cue(part, round(at_s, 3), round(at_s + long_s, 3), number))
            at_s += long_s + 0.04  # the next part of a sentence follows at once
        slots_s = len(cues) * slot_s
        at_s = max(at_s, slots_s + random_of.uniform(0, 0.3) * slot_s)
    return cues[:count]


def write_subtitles(cues: Sequence[Cue], path: Path) -> None:
    """Write cues as SubRip or, by the suffix, as WebVTT."""
    is_vtt = path.suffix == ".vtt"
    lines = ["WEBVTT", ""] if is_vtt else []
    for number, cue in enumerate(cues, 1):
        times = f"{_stamp(cue.start_s)} --> {_stamp(cue.end_s)}"
        lines += [str(number), times if is_vtt else times.replace(".", ","), cue.text, ""]
    path.write_text("\n".join(lines))


def write_film(path: Path, length_s: float, shot_s: float, seed: int) -> None:
    """Write a film of photos (else of coloured noise), one after the other, in H.264."""
    import av
    import numpy as np
    import PIL.Image

    chosen = random.Random(seed)  # noqa: S311
    photos = sorted((SHARED / "data" / "flickr8k_dev").rglob("*.jpg"))
    chosen.shuffle(photos)
    rate = 4
    noise = np.random.default_rng(seed)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 224, 224, "yuv420p"
        stream.codec_context.options = {"preset": "ultrafast", "crf": "30"}
        stream.codec_context.time_base = Fraction(1, rate)
        still: np.ndarray | None = None
        for number in range(round(length_s * rate)):
            if number % round(shot_s * rate) == 0:
                if photos:
                    with PIL.Image.open(
                        photos[(number // round(shot_s * rate)) % len(photos)]
                    ) as p:
                        still = np.asarray(p.convert("RGB").resize((224, 224)))
                else:
                    small = noise.integers(0, 255, (7, 7, 3), dtype=np.uint8)
                    still = np.kron(small, np.ones((32, 32, 1), np.uint8))
            frame = av.VideoFrame.from_ndarray(np.roll(still, number % 8, axis=1), "rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _stamp(time_s: float) -> str:
    whole, thousandth = divmod(round(time_s * 1000), 1000)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}.{thousandth:03}"


def half(text: str) -> str:
    """Every second word, and one word of one."""
    return " ".join(text.split()[::2])


def paraphrase(text: str) -> str:
    """Some of the words replaced by others that mean much the same."""
    return " ".join(
        LIKE.get(bare, bare) + word[len(bare) :]
        for word in text.split()
        for bare in [word.rstrip(".,!?")]
    )


def judge(score: Score, hits: Sequence[Hit], film: str, cue: Cue, cues: Sequence[Cue]) -> None:
    """Count whether the first hit overlaps the cue, or one that says the same."""
    score.asked += 1
    right = [other for other in cues if other.text.casefold() == cue.text.casefold()]
    hit = hits[0] if hits else None
    errors = [
        max(abs(hit.moment.start_s - one.start_s), abs(hit.moment.end_s - one.end_s))
        for one in right
        if hit is not None
        and Path(hit.path).name == film
        and hit.moment.start_s is not None
        and hit.moment.end_s is not None
        and hit.moment.start_s < one.end_s
        and hit.moment.end_s > one.start_s
    ]
    if errors:
        score.first += 1
        score.edges_s.append(min(errors))
    else:
        found = "nothing" if hit is None else f"{hit.moment.start_s} {hit.reason}"
        score.missed.append(f"{format_time(cue.start_s)} {cue.text!r}: {found}")


def measure(
    library: MediaLibrary,
    film: str,
    cues: Sequence[Cue],
    channels: Sequence[Channel],
    planned: bool,
    ask: str = "cue",
) -> Score:
    """Search for every cue of a film, by its words or what ``ask`` makes of them."""
    score = Score()
    make = {"cue": str, "half": half, "paraphrase": paraphrase}[ask]
    search = library.search_question if planned else library.search
    for cue in cues:
        hits = search(make(cue.text), channels=list(channels), limit=3).hits
        judge(score, hits, film, cue, cues)
    return score


def measure_sentences(
    library: MediaLibrary, film: str, cues: Sequence[Cue], channels: Sequence[Channel]
) -> Score:
    """Search for every sentence that runs over several cues: its edges are theirs."""
    score = Score()
    whole: list[Cue] = []
    for number in dict.fromkeys(cue.sentence for cue in cues):
        parts = [cue for cue in cues if cue.sentence == number]
        text = " ".join(part.text for part in parts)
        whole.append(Cue(text, parts[0].start_s, parts[-1].end_s, len(parts)))
    for cue in whole:
        if cue.sentence > 1:
            hits = library.search(cue.text, channels=list(channels), limit=3).hits
            judge(score, hits, film, cue, whole)
    return score


def gather(media: Path, options: argparse.Namespace) -> dict[str, list[Cue]]:
    """Put the films with their subtitles into a folder; returns the cues of each."""
    films: dict[str, list[Cue]] = {}
    friday = SHARED / "data" / "video" / "mdn_friday.mp4"
    if friday.exists():
        shutil.copy(friday, media)
        shutil.copy(friday.with_suffix(".vtt"), media)
        read: list[Signal] = parse_subtitles(friday.with_suffix(".vtt").read_text())
        films[friday.name] = [
            Cue(one.text, one.start_s or 0.0, one.end_s or 0.0, number)
            for number, one in enumerate(read)
        ]
    cues = script(options.cues, options.minutes * 60, options.seed)
    write_film(media / "generated.mp4", options.minutes * 60, options.shot, options.seed)
    write_subtitles(cues, media / f"generated{options.sidecar}")
    films["generated.mp4"] = cues
    return films


def main() -> None:
    """Measure the films in every mode."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cues", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--shot", type=float, default=7.0, help="seconds of a shot")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--sidecar", choices=[".srt", ".vtt"], default=".srt")
    parser.add_argument("--visual-model", default=str(SHARED / "models" / "minidual"))
    parser.add_argument("--missed", action="store_true", help="name what was not found")
    parser.add_argument("--only", help="one set of channels: bm25, visual+bm25, text, ...")
    parser.add_argument("--exact-only", action="store_true", help="only the cues' own words")
    options = parser.parse_args()
    visual = options.visual_model
    if not Path(visual).exists():
        visual = "palette"
    console = Console(width=110)
    table = Table("film", "channels", "asked", "cues", "first", "edges p50", "edges max")
    with tempfile.TemporaryDirectory() as home:
        media = Path(home) / "media"
        media.mkdir()
        films = gather(media, options)
        for text_model in ("off", "visual"):
            modes = [channels for of, channels in MODES if of == text_model]
            modes = [one for one in modes if options.only in (None, "+".join(one))]
            if not modes or (text_model == "visual" and visual == "palette"):
                continue
            settings = load_settings(
                home=Path(home) / text_model, visual_model=visual, text_model=text_model, ocr="off"
            )
            with MediaLibrary.open(settings, create=True) as library:
                library.index([media])
                for film, cues in films.items():
                    for channels in modes:
                        for name, score in _all(library, film, cues, channels, options):
                            _enter(table, film, channels, name, score)
                            if options.missed:
                                console.print(*score.missed, sep="\n", markup=False)
    console.print(table)


def _all(
    library: MediaLibrary,
    film: str,
    cues: Sequence[Cue],
    channels: Sequence[Channel],
    options: argparse.Namespace,
) -> Iterator[tuple[str, Score]]:
    yield "its words", measure(library, film, cues, channels, False)
    yield "its words, planned", measure(library, film, cues, channels, True)
    if not options.exact_only:
        yield "sentence over cues", measure_sentences(library, film, cues, channels)
        yield "half its words", measure(library, film, cues, channels, False, "half")
        yield "other words", measure(library, film, cues, channels, False, "paraphrase")


def _enter(table: Table, film: str, channels: Sequence[Channel], name: str, score: Score) -> None:
    if not score.asked:
        return
    edges = score.edges_s
    table.add_row(
        film,
        "+".join(channels),
        name,
        str(score.asked),
        f"{100 * score.first / score.asked:.1f} %",
        f"{statistics.median(edges):.2f} s" if edges else "",
        f"{max(edges):.2f} s" if edges else "",
    )


if __name__ == "__main__":
    main()
