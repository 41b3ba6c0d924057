"""Show sources to a model: number, facts, fenced text and picture of each stand together."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from llama_index.core.base.llms.types import ContentBlock, TextBlock
from llama_index.core.schema import NodeWithScore
from PIL.Image import Image

from mmrag_plugin.errors import MediaError
from mmrag_plugin.media import Hit
from mmrag_plugin.retrieval import hit_node
from mmrag_plugin.sources import source_text
from mmrag_plugin.vlm.base import picture_block

ALL_TEXT_CHARS = 8_000  # this much in any script and six pictures fit 16,384 tokens

PictureOf = Callable[[Hit], "Image | None"]


@dataclass
class Shown:
    """Sources as a model gets them (``blocks``) and as LlamaIndex gets them (``nodes``)."""

    blocks: list[ContentBlock] = field(default_factory=list)
    nodes: list[NodeWithScore] = field(default_factory=list)
    pictures: int = 0


def show(
    sources: Iterable[tuple[int, Hit]],
    picture_of: PictureOf,
    warnings: list[str],
    *,
    max_pictures: int,
    max_chars: int,
) -> Shown:
    """Write down numbered sources; the first ``max_pictures`` that have one show their picture.

    ``picture_of`` opens what a hit shows, and gives None when its file is gone: such a source has
    words only, and ``warnings`` says so. ``max_chars`` bounds the text of each.
    """
    shown = Shown()
    for number, hit in sources:
        wanted = shown.pictures < max_pictures
        picture = _opened(hit, picture_of, warnings) if wanted else None
        text = source_text(number, hit, max_chars)
        if picture is None:
            shown.blocks.append(TextBlock(text=f"{text}\n(Its picture is not shown.)\n"))
            shown.nodes.append(hit_node(hit, has_photo=False, number=number))
            continue
        shown.pictures += 1
        block = picture_block(picture)
        shown.blocks += [TextBlock(text=f"{text}\nThe picture of [{number}]:\n"), block]
        jpeg = block.resolve_image(as_base64=True).read().decode()
        shown.nodes.append(hit_node(hit, jpeg=jpeg, number=number))
    return shown


def _opened(hit: Hit, picture_of: PictureOf, warnings: list[str]) -> Image | None:
    try:
        picture = picture_of(hit)
    except MediaError as error:
        warnings.append(str(error))
        return None
    if picture is None:
        warnings.append(f"{hit.path} is gone; its source has words only.")
    return picture
