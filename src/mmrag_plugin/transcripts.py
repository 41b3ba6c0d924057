"""What is said in a film as a file of its own: SubRip, WebVTT or plain text."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Literal, get_args

from mmrag_plugin.errors import NotFound, UsageError
from mmrag_plugin.media import Signal
from mmrag_plugin.pieces import span_of

TranscriptFormat = Literal["srt", "vtt", "txt"]
FORMATS: tuple[TranscriptFormat, ...] = get_args(TranscriptFormat)


def said_in(signals: Iterable[Signal], name: str) -> list[Signal]:
    """The subtitles of a film, or what was heard in it if that is more, in order.

    Raises NotFound without any.
    """
    timed = [signal for signal in signals if signal.start_s is not None]
    shown = [signal for signal in timed if signal.source == "subtitle"]
    spoken = [signal for signal in timed if signal.source == "speech"]
    if found := max(shown, spoken, key=lambda cues: sum(len(cue.text) for cue in cues)):
        return sorted(found, key=span_of)
    raise NotFound(
        f"Nothing that is said in {name} is known.",
        "It has no subtitles. mmrag doctor says who listens to films; mmrag index does it.",
    )


def transcript(cues: Sequence[Signal], form: str) -> str:
    """Write cues down. Raises UsageError for a format that is not known."""
    if form == "txt":
        return "".join(f"{' '.join(cue.text.split())}\n" for cue in cues)
    if form == "srt":
        blocks = (
            f"{number}\n{_span(cue, ',')}\n{_lines(cue)}\n" for number, cue in enumerate(cues, 1)
        )
        return "\n".join(blocks)
    if form == "vtt":
        said = (f"{_span(cue, '.')}\n{html.escape(_lines(cue), quote=False)}\n" for cue in cues)
        return "\n".join(["WEBVTT\n", *said])
    raise UsageError(f"{form} is no format of transcripts.", f"Choose among {', '.join(FORMATS)}.")


def _lines(cue: Signal) -> str:
    """The text without what would end a cue or begin another: blank lines and arrows."""
    lines = (" ".join(line.split()) for line in cue.text.splitlines())
    return "\n".join(line for line in lines if line).replace("-->", "→")


def _span(cue: Signal, point: str) -> str:
    start_s = cue.start_s or 0.0
    end_s = start_s if cue.end_s is None else cue.end_s
    return f"{_clock(start_s, point)} --> {_clock(end_s, point)}"


def _clock(time_s: float, point: str) -> str:
    seconds, milliseconds = divmod(round(time_s * 1000), 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{point}{milliseconds:03}"
