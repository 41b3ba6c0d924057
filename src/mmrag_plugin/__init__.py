"""mmrag: talk to your own images and videos, as a LlamaIndex plugin and an MCP server.

Names are loaded when they are first used, so ``import mmrag_plugin`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_DOOR = {
    "MediaLibrary": "library",
    "MediaRetriever": "retrieval",
    "MediaQueryEngine": "answering",
    "build_query_engine": "answering",
    "PhotoReader": "readers.photo",
    "VideoReader": "readers.video",
    "Filters": "retrieval",
    "Hit": "media",
    "Moment": "media",
    "Settings": "settings",
    "load_settings": "settings",
    "MmragError": "errors",
}
__all__ = ["__version__", *_DOOR]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name not in _DOOR:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_DOOR[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
