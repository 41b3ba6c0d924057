"""What the readers share: the facts of a file, its frames, and LlamaIndex documents of both."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any, ClassVar

from llama_index.core.readers.base import BaseReader
from llama_index.core.schema import Document, ImageDocument, MediaResource

from mmrag_plugin.content_hash import content_hash_of
from mmrag_plugin.media import Frame, Kind, MediaFacts, Signal
from mmrag_plugin.model_input import ModelInput
from mmrag_plugin.pictures import require_file, to_jpeg

KEYFRAME_LONG_SIDE_PX = 1024  # of a film's frame inside a document; a VLM sees no more

# What is of no use to a text embedding, and to a language model. The kind stays: LlamaIndex drops
# nodes whose text and embedded metadata are both empty, picture or not.
_NOT_EMBEDDED = "file_path time_s end_s width_px height_px content_hash".split()
_NOT_SHOWN = "file_path width_px height_px content_hash".split()


class MediaReader(BaseReader, ABC):
    """Reads one kind of media: its facts, its frames, and documents for LlamaIndex.

    Works alone and in ``SimpleDirectoryReader(file_extractor={".jpg": PhotoReader()})``.
    """

    kind: ClassVar[Kind]

    @abstractmethod
    def facts(self, path: Path) -> MediaFacts:
        """Collect what the file says about itself. Raises MediaError for no media of this kind."""

    @abstractmethod
    def frames(
        self,
        path: Path,
        *,
        at_least_px: int | None = None,
        model_takes: ModelInput | None = None,
    ) -> Iterator[Frame]:
        """Yield the frames lazily, upright RGB. Raises MediaError where nothing can be decoded.

        ``at_least_px``: the short side that the caller needs; a frame may be larger. With
        ``model_takes`` it is made ready for a model after that; see ``Frame``.
        """

    @abstractmethod
    def _documents(
        self, path: Path, facts: MediaFacts, metadata: dict[str, Any], *, keep_path: bool
    ) -> Iterator[Document]:
        """Yield the documents; ``keep_path``: whether the path outlives them."""

    def lazy_load_data(
        self,
        file: str | PurePath,
        extra_info: dict[str, Any] | None = None,
        fs: Any | None = None,
    ) -> Iterator[Document]:
        """Yield ImageDocuments: the picture (or a keyframe), with what is known as text beside it.

        The text holds the embedded annotations (and the subtitles of a keyframe's span), so caption
        and picture stay together. ``content_hash`` in the metadata lets upserts notice a change.
        ``extra_info`` is laid over the metadata; ``fs`` is an fsspec file system to read from.
        Raises MediaError.
        """
        with _local(file, fs) as path:
            facts = self.facts(path)
            known = {
                "file_path": str(file),
                "file_name": PurePath(file).name,
                "kind": self.kind,
                "width_px": facts.width_px,
                "height_px": facts.height_px,
                "taken_at": facts.taken_at,
                "camera": facts.camera,
                "content_hash": content_hash_of(path),
            }
            metadata = {key: value for key, value in known.items() if value not in (None, "")}
            yield from self._documents(
                path, facts, metadata | (extra_info or {}), keep_path=fs is None
            )

    def load_data(
        self,
        file: str | PurePath,
        extra_info: dict[str, Any] | None = None,
        fs: Any | None = None,
    ) -> list[Document]:
        """Load all documents of a file; see ``lazy_load_data``."""
        return list(self.lazy_load_data(file, extra_info, fs))

    async def alazy_load_data(
        self,
        file: str | PurePath,
        extra_info: dict[str, Any] | None = None,
        fs: Any | None = None,
    ) -> list[Document]:
        """Load all documents in a worker thread: an iterator would decode in the event loop."""
        return await asyncio.to_thread(self.load_data, file, extra_info, fs)

    async def aload_data(
        self,
        file: str | PurePath,
        extra_info: dict[str, Any] | None = None,
        fs: Any | None = None,
    ) -> list[Document]:
        """Load all documents of a file in a worker thread."""
        return await asyncio.to_thread(self.load_data, file, extra_info, fs)


def image_document(
    metadata: dict[str, Any], text: str, *, path: Path | None = None, frame: Frame | None = None
) -> ImageDocument:
    """Build a document that keeps its picture through LlamaIndex's node parsers.

    ImageDocument is the one document class that they turn into ImageNodes; a plain Document with an
    image becomes a TextNode without. The text is given even when it is empty: without one the
    document's content is empty too, metadata and all, and the ingestion cache takes every picture
    for the same one. The id is derived from path and time, so that upserts find the old document.
    """
    identity = f"{metadata['file_path']}@{metadata.get('time_s', '')}"
    picture: dict[str, Any] = {"image_path": str(path)}
    if frame is not None:
        jpeg = to_jpeg(frame.picture, long_side_px=KEYFRAME_LONG_SIDE_PX)
        picture = {"image": base64.b64encode(jpeg), "image_mimetype": "image/jpeg"}
    return ImageDocument(
        id_=hashlib.sha256(identity.encode(errors="surrogatepass")).hexdigest()[:32],
        metadata=metadata,
        text_resource=MediaResource(text=text),
        excluded_embed_metadata_keys=list(_NOT_EMBEDDED),
        excluded_llm_metadata_keys=list(_NOT_SHOWN),
        **picture,
    )


def caption(signals: tuple[Signal, ...], start_s: float | None, end_s: float | None) -> str:
    """Join what was written about a media, or about the part of it between two times."""
    return "\n".join(
        signal.text
        for signal in signals
        if signal.start_s is None
        or start_s is None
        or end_s is None
        or (signal.start_s < end_s and (signal.end_s or signal.start_s) >= start_s)
    )


@contextmanager
def _local(file: str | PurePath, fs: Any | None) -> Iterator[Path]:
    """Give the path of the file, copied to this machine if it lies in another file system."""
    if fs is None:
        require_file(str(file))
        yield Path(file)
        return
    with tempfile.TemporaryDirectory(prefix="mmrag-") as folder:
        path = Path(folder) / f"media{PurePath(file).suffix}"
        with fs.open(str(file), "rb") as remote, path.open("wb") as copy:
            shutil.copyfileobj(remote, copy)
        yield path
