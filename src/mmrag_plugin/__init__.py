"""mmrag: talk to your own images and videos, as a LlamaIndex plugin and an MCP server.

Names are loaded when they are first used, so ``import mmrag_plugin`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the same door for type checkers, which don't run __getattr__
    from mmrag_plugin.agent_tools import media_tools
    from mmrag_plugin.answering import MediaQueryEngine, build_query_engine
    from mmrag_plugin.chatting import MediaChatEngine, build_chat_engine
    from mmrag_plugin.errors import MmragError
    from mmrag_plugin.filters import Filters
    from mmrag_plugin.library import MediaLibrary
    from mmrag_plugin.media import Hit, Moment
    from mmrag_plugin.readers.photo import PhotoReader
    from mmrag_plugin.readers.video import VideoReader
    from mmrag_plugin.retrieval import MediaRetriever
    from mmrag_plugin.settings import Settings, load_settings

__version__ = "0.1.0"

_DOOR = {
    "MediaLibrary": "library",
    "MediaRetriever": "retrieval",
    "MediaQueryEngine": "answering",
    "build_query_engine": "answering",
    "MediaChatEngine": "chatting",
    "build_chat_engine": "chatting",
    "media_tools": "agent_tools",
    "PhotoReader": "readers.photo",
    "VideoReader": "readers.video",
    "Filters": "filters",
    "Hit": "media",
    "Moment": "media",
    "Settings": "settings",
    "load_settings": "settings",
    "MmragError": "errors",
}
__all__ = [
    "Filters",
    "Hit",
    "MediaChatEngine",
    "MediaLibrary",
    "MediaQueryEngine",
    "MediaRetriever",
    "MmragError",
    "Moment",
    "PhotoReader",
    "Settings",
    "VideoReader",
    "__version__",
    "build_chat_engine",
    "build_query_engine",
    "load_settings",
    "media_tools",
]


def __getattr__(name: str) -> Any:
    if name not in _DOOR:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_DOOR[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
