"""The contract of what stands beside each vector in Milvus, and of what can be filtered.

Both collections carry the same flat, typed columns. Milvus refuses nulls in typed fields, so each
column has a sentinel. Times inside a media are milliseconds; ``taken_at`` is the camera's wall
clock as seconds since 1970, whatever its offset: "photos from the evening" means the evening there.

``start_ms`` and ``end_ms`` of a frame are the span that it stands for; ``shot_start_ms`` and
``shot_end_ms`` are the edges of the shot that it is of, and ``shot`` is that shot's number in its
film, from 0. Collections that are older than these three have no such columns: what is written into
them keeps the same keys, and rows from before say nothing of shots.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Literal

from mmrag_plugin.media import FilmShot, Kind

METADATA_VERSION = 1

NO_TIME_MS = -1
NO_SHOT = -1
NO_DATE_S = -(2**62)
COMBINED = "combined"  # the source of a row that holds all the words of a media or moment together
DOUBTFUL = "doubtful"  # the source of a row with a caption that was contradicted
FRAME = "frame"  # the source of a row in the frames collection


@dataclass(frozen=True)
class Column:
    """One typed scalar column; ``max_bytes`` bounds strings."""

    name: str
    type: Literal["str", "int"]
    sentinel: str | int
    max_bytes: int = 0


COLUMNS = (
    Column("media_id", "str", "", 32),
    Column("kind", "str", "", 8),
    Column("stage", "str", "", 16),  # the stage that wrote the row
    Column("source", "str", "", 16),  # FRAME, COMBINED, or a signal source
    Column("start_ms", "int", NO_TIME_MS),
    Column("end_ms", "int", NO_TIME_MS),
    Column("taken_at", "int", NO_DATE_S),
    Column("camera", "str", "", 128),
    Column("shot", "int", NO_SHOT),
    Column("shot_start_ms", "int", NO_TIME_MS),
    Column("shot_end_ms", "int", NO_TIME_MS),
)


def frame_row_id(media_id: str, index: int) -> str:
    """The id of a frame's row."""
    return f"{media_id}:{index}"


def words_row_id(media_id: str, part: str = COMBINED) -> str:
    """The id of a row of words: all of a media's together, or a part of them."""
    return f"{media_id}:{part}"


def is_run(row_id: str) -> bool:
    """Whether a row of words holds pieces that follow each other, which have rows of their own."""
    return row_id.rpartition(":")[2].startswith("j")


def to_ms(time_s: float | None) -> int:
    """Turn seconds into the milliseconds of a column; None becomes the sentinel."""
    return NO_TIME_MS if time_s is None else round(time_s * 1000)


def from_ms(time_ms: int) -> float | None:
    """Turn a column's milliseconds into seconds; the sentinel becomes None."""
    return None if time_ms == NO_TIME_MS else time_ms / 1000


def wall_clock_s(taken_at: str | None) -> int:
    """Turn ISO 8601 into the ``taken_at`` column: its wall clock, the offset dropped."""
    if not taken_at:
        return NO_DATE_S
    try:
        moment = datetime.fromisoformat(taken_at.replace("Z", "+00:00"))
    except ValueError:
        return NO_DATE_S
    return int(moment.replace(tzinfo=timezone.utc).timestamp())


def camera_column(camera: str) -> str:
    """Cut a camera's name to what its column holds."""
    return camera.encode(errors="replace")[:128].decode(errors="ignore")


def row_metadata(
    *,
    media_id: str,
    kind: Kind,
    stage: str,
    source: str,
    start_s: float | None,
    end_s: float | None,
    taken_at: str | None,
    camera: str,
    shot: FilmShot | None = None,
) -> dict[str, str | int]:
    """Build the flat metadata of one row, sentinels filled in and strings cut to their column."""
    return {
        "media_id": media_id,
        "kind": kind,
        "stage": stage,
        "source": source,
        "start_ms": to_ms(start_s),
        "end_ms": to_ms(end_s),
        "taken_at": wall_clock_s(taken_at),
        "camera": camera_column(camera),
        "shot": NO_SHOT if shot is None else shot.number,
        "shot_start_ms": to_ms(shot.start_s if shot else None),
        "shot_end_ms": to_ms(shot.end_s if shot else None),
    }


@dataclass(frozen=True)
class RowFilter:
    """What a search in Milvus is restricted to; every field that is set must hold.

    ``taken_from_s`` and ``taken_to_s`` are inclusive wall-clock seconds and leave out rows without
    a date. An empty ``media_ids`` or ``cameras`` matches nothing; None means no restriction.
    """

    kind: Kind | None = None
    taken_from_s: int | None = None
    taken_to_s: int | None = None
    cameras: tuple[str, ...] | None = None
    media_ids: frozenset[str] | None = None
    not_media_ids: frozenset[str] | None = None
    sources: tuple[str, ...] | None = None
    stages: tuple[str, ...] | None = None
