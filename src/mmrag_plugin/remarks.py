"""What is said of a media beside what it shows: who took it, and how somebody rated it."""

from __future__ import annotations

from collections.abc import Iterator

from mmrag_plugin.media import Signal

_MAX_CREATOR_CHARS = 200


def remark_signals(creator: str, stars: int) -> Iterator[Signal]:
    """Give ``exif`` signals, ``by Dorothea Lange`` and ``4 stars``: facts, no annotations.

    ``stars`` is -1 for rejected, 0 for not rated.
    """
    if creator:
        yield Signal("exif", f"by {creator[:_MAX_CREATOR_CHARS]}")
    if stars:
        yield Signal("exif", "rejected" if stars < 0 else f"{stars} star{'s' * (stars > 1)}")
