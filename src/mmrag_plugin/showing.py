"""Show sources to a model: number, facts, fenced text and pictures of each stand together.

A moment of a film is shown in several pictures with their times, in order, as far as the number of
pictures allows: what happens in it, and in which order, no single picture tells.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from llama_index.core.base.llms.types import ContentBlock, TextBlock
from llama_index.core.schema import NodeWithScore
from PIL.Image import Image

from mmrag_plugin.errors import MediaError
from mmrag_plugin.media import Hit
from mmrag_plugin.retrieval import hit_node
from mmrag_plugin.sources import source_text
from mmrag_plugin.timecode import format_instant
from mmrag_plugin.vlm.base import picture_block

ALL_TEXT_CHARS = 8_000  # this much in any script and six pictures fit 16,384 tokens
FIRST_FRAMES = 3  # of the first source, if it is a moment of a film
FRAMES = 4  # of any moment
MOVES_S = 0.8  # a shorter moment is shown in one picture

TimedPicture: TypeAlias = "tuple[float | None, Image]"
PictureOf = Callable[[Hit], "Image | None"]
PicturesOf = Callable[[Hit, int], "list[TimedPicture]"]


@dataclass
class Shown:
    """Sources as a model gets them (``blocks``) and as LlamaIndex gets them (``nodes``)."""

    blocks: list[ContentBlock] = field(default_factory=list)
    nodes: list[NodeWithScore] = field(default_factory=list)
    pictures: int = 0


def show(
    sources: Sequence[tuple[int, Hit]],
    pictures_of: PicturesOf,
    warnings: list[str],
    *,
    max_pictures: int,
    max_chars: int,
) -> Shown:
    """Write down numbered sources; the first of them show their pictures, ``max_pictures`` in all.

    ``pictures_of`` opens up to so many pictures of a hit with their times, in order, and gives none
    when its file is gone: such a source has words only, and ``warnings`` says so. ``max_chars``
    bounds the text of each.
    """
    shown = Shown()
    left = max_pictures
    for place, (number, hit) in enumerate(sources):
        after = [hit for _, hit in sources[place:]]
        wanted = shares(after, left, first=FIRST_FRAMES if place == 0 else 1)[0]
        pictures = _opened(hit, wanted, pictures_of, warnings) if wanted else []
        left -= len(pictures)
        text = source_text(number, hit, max_chars)
        if not pictures:
            shown.blocks.append(TextBlock(text=f"{text}\n(Its picture is not shown.)\n"))
            shown.nodes.append(hit_node(hit, has_photo=False, number=number))
            continue
        shown.pictures += len(pictures)
        blocks = [picture_block(picture) for _, picture in pictures]
        for title, block in zip(_titles(number, pictures), blocks, strict=True):
            shown.blocks += [TextBlock(text=f"{text}\n{title}:\n"), block]
            text = ""
        jpeg = blocks[_best(hit, pictures)].resolve_image(as_base64=True).read().decode()
        shown.nodes.append(hit_node(hit, jpeg=jpeg, number=number))
    return shown


def shares(hits: Sequence[Hit], pictures: int, *, first: int = FIRST_FRAMES) -> list[int]:
    """How many of so many pictures each hit gets.

    The first gets ``first`` if it is a moment of a film, then each gets one, and what is left goes
    round among the moments of films.
    """
    counts = [0] * len(hits)
    if hits and _moves(hits[0]):
        counts[0] = min(first, pictures)
    for place, count in enumerate(counts):
        if not count and sum(counts) < pictures:
            counts[place] = 1
    for _ in range(FRAMES):
        for place, hit in enumerate(hits):
            if 0 < counts[place] < FRAMES and _moves(hit) and sum(counts) < pictures:
                counts[place] += 1
    return counts


def one_picture(picture_of: PictureOf) -> PicturesOf:
    """Show each hit in one picture, that which stands for it."""

    def pictures_of(hit: Hit, _: int) -> list[TimedPicture]:
        picture = picture_of(hit)
        return [] if picture is None else [(hit.at_s, picture)]

    return pictures_of


def _moves(hit: Hit) -> bool:
    start_s, end_s = hit.moment.start_s, hit.moment.end_s
    if hit.moment.kind == "video" and start_s is None:
        return True  # all of it
    return start_s is not None and end_s is not None and end_s - start_s >= MOVES_S


def _titles(number: int, pictures: Sequence[TimedPicture]) -> list[str]:
    if len(pictures) == 1:
        return [f"The picture of [{number}]"]
    return [
        f"Picture {place} of {len(pictures)} of [{number}]"
        + ("" if time_s is None else f", at {format_instant(time_s)}")
        for place, (time_s, _) in enumerate(pictures, 1)
    ]


def _best(hit: Hit, pictures: Sequence[TimedPicture]) -> int:
    """Which of the pictures stands for the hit."""
    at_s = hit.at_s or 0.0
    return min(range(len(pictures)), key=lambda place: abs((pictures[place][0] or 0.0) - at_s))


def _opened(
    hit: Hit, count: int, pictures_of: PicturesOf, warnings: list[str]
) -> list[TimedPicture]:
    try:
        pictures = pictures_of(hit, count)
    except MediaError as error:
        warnings.append(str(error))
        return []
    if not pictures:
        warnings.append(f"{hit.path} is gone; its source has words only.")
    return pictures[:count]
