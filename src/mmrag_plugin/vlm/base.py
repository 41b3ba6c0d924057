"""What every VLM is given, and what it says: pictures, fenced media text, answers.

Any LlamaIndex ``LLM`` that takes ``ImageBlock``s is a VLM here; this module holds what is the same
for all of them. Text that comes out of media (OCR, subtitles, names, captions) is data: it goes
through ``untrusted`` before a model reads it.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

from llama_index.core.base.llms.types import ContentBlock, ThinkingBlock
from llama_index.core.llms import ChatMessage, ChatResponse, ImageBlock, MessageRole, TextBlock
from llama_index.core.schema import ImageDocument, ImageNode

from mmrag_plugin.errors import ServiceError, UsageError
from mmrag_plugin.picture_check import is_clean
from mmrag_plugin.pictures import open_picture, to_jpeg
from mmrag_plugin.untrusted import escape_picture_tags

if TYPE_CHECKING:
    from llama_index.core.llms import LLM
    from PIL.Image import Image

LONG_SIDE_PX = 1024  # beyond it most VLMs scale down themselves, or spend thousands of tokens

PICTURE_TAG = "[img]"  # Ollama replaces it, in order, by the message's pictures
# LlamaIndex's Ollama client joins a message's texts and sends its pictures apart from them
_FLATTENING_LLMS = frozenset({"Ollama_llm", "Ollama_multi_modal_llm"})

AnyPicture: TypeAlias = ImageBlock | ImageNode | ImageDocument


def picture_block(picture: Image) -> ImageBlock:
    """Turn a picture into a block of JPEG bytes: at most LONG_SIDE_PX wide or high, no metadata."""
    jpeg = to_jpeg(picture, long_side_px=LONG_SIDE_PX)
    return ImageBlock(image=jpeg, image_mimetype="image/jpeg")


def normal_picture(item: AnyPicture) -> ImageBlock:
    """Turn anybody's picture into what ``picture_block`` makes: upright sRGB, small, JPEG.

    A JPEG or PNG that already is all that, and says nothing beside its pixels, stays as it is.
    Raises MediaError if it can't be read, UsageError if it would have to be fetched from a URL.
    """
    path, url = (
        (item.path, item.url) if isinstance(item, ImageBlock) else (item.image_path, item.image_url)
    )
    if item.image is None and path is None:
        raise UsageError(
            f"The picture {url!s:.200} would have to be fetched from the network.",
            "Download it and pass its path or its bytes.",
        )
    source = item.resolve_image()
    readable = source if isinstance(source, str) else source.read()
    if isinstance(readable, bytes) and is_clean(readable, long_side_px=LONG_SIDE_PX):
        return item if isinstance(item, ImageBlock) and item.image else ImageBlock(image=readable)
    return picture_block(open_picture(readable, at_least_px=LONG_SIDE_PX))


def sendable(content: Iterable[Any]) -> list[ContentBlock]:
    """The blocks of a message that a VLM takes: texts, and pictures made small and upright.

    What a model thought earlier is left out. Raises UsageError for anything else, and what
    ``normal_picture`` raises.
    """
    blocks: list[ContentBlock] = []
    for item in content:
        if isinstance(item, AnyPicture):
            blocks.append(normal_picture(item))
        elif isinstance(item, TextBlock):
            blocks.append(item)
        elif not isinstance(item, ThinkingBlock):
            raise UsageError(
                f"A vision model takes no {type(item).__name__}.", "Pass texts and pictures only."
            )
    return blocks


def tag_pictures(blocks: Iterable[ContentBlock]) -> list[ContentBlock]:
    """Write down in the text where each picture stands, for a client that sends them apart.

    Each ImageBlock is preceded by a text of its own, ``[img]``; literal ``[img`` in other texts is
    escaped, so the number of tags is the number of pictures. Neighbouring texts get a line break.
    """
    tagged: list[ContentBlock] = []
    for block in blocks:
        if isinstance(block, TextBlock):
            joint = "\n" if tagged and isinstance(tagged[-1], TextBlock) else ""
            tagged.append(TextBlock(text=joint + escape_picture_tags(block.text)))
        elif isinstance(block, ImageBlock):
            tagged += [TextBlock(text=f"\n{PICTURE_TAG}\n"), block]
        else:
            tagged.append(block)
    return tagged


def user_message(llm: LLM, blocks: list[ContentBlock]) -> ChatMessage:
    """Build the user's message, its texts and pictures in this order whatever the client does."""
    if llm.class_name() in _FLATTENING_LLMS:
        blocks = tag_pictures(blocks)
    return ChatMessage(role=MessageRole.USER, blocks=blocks)


def said(response: ChatResponse) -> str:
    """What a model answered; ServiceError if that is nothing."""
    text = (response.message.content or "").strip()
    if not text:
        raise _silent()
    return text


def spoken(pieces: Iterable[ChatResponse]) -> Iterator[str]:
    """What a model answers, piece by piece; ServiceError at the end if that was nothing."""
    silent = True
    for piece in pieces:
        if piece.delta:
            silent = silent and not piece.delta.strip()
            yield piece.delta
    if silent:
        raise _silent()


async def aspoken(pieces: AsyncIterable[ChatResponse]) -> AsyncIterator[str]:
    """What a model answers, piece by piece, without holding up the event loop."""
    silent = True
    async for piece in pieces:
        if piece.delta:
            silent = silent and not piece.delta.strip()
            yield piece.delta
    if silent:
        raise _silent()


def _silent() -> ServiceError:
    return ServiceError("The model gave an empty answer.", "Try again, or name another model.")
