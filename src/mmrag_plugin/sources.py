"""What a model is told about a hit beside its picture: a line of facts, and fenced text."""

from __future__ import annotations

from datetime import datetime
from pathlib import PurePath

from mmrag_plugin.media import Hit
from mmrag_plugin.timecode import format_span
from mmrag_plugin.untrusted import untrusted

SOURCE_TEXT_CHARS = 800


def source_text(number: int, hit: Hit, max_chars: int = SOURCE_TEXT_CHARS) -> str:
    """Introduce a hit as a source that is cited by its number."""
    words = hit_words(hit, f"source {number}", reason=True, max_chars=max_chars)
    return f"\n[{number}] {hit_facts(hit)}\n{words}"


def hit_facts(hit: Hit) -> str:
    """Say what a hit is and when it was; nothing in it comes out of a file."""
    facts = "Photo" if hit.moment.kind == "image" else "Moment of a film"
    if span := format_span(hit.moment.start_s, hit.moment.end_s):
        facts += f", at {span}"
    if taken := readable_date(hit.taken_at):
        facts += f", taken {taken}"
    return facts


def hit_words(hit: Hit, label: str, *, reason: bool, max_chars: int = SOURCE_TEXT_CHARS) -> str:
    """Fence a hit's file name, the text that matched, and perhaps why it was found."""
    name = " ".join(PurePath(hit.path).name.split())
    words = [f"file name: {name}"]
    if reason and hit.reason:
        words.append(f"why it was found: {hit.reason}")
    if hit.text:
        words.append(f"text: {hit.text}")
    return untrusted(label, "\n".join(words), min(max_chars, SOURCE_TEXT_CHARS))


def readable_date(taken_at: str | None) -> str:
    """Only what parses as a date is one; anything else came out of a file and is not for here."""
    try:
        date = datetime.fromisoformat((taken_at or "").replace("Z", "+00:00"))
    except ValueError:
        return ""
    return f"{date:%Y-%m-%d %H:%M}"
