"""What is in a library: its media by name, and their pictures and words."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mmrag_plugin.errors import NotFound
from mmrag_plugin.ledger import Ledger, MediaRow
from mmrag_plugin.media import Hit, Moment
from mmrag_plugin.walking import expand, is_encodable, is_there, real_path

if TYPE_CHECKING:
    from PIL.Image import Image

    from mmrag_plugin.duplicates import DuplicateGroup
    from mmrag_plugin.library_thumbnails import Thumbnails
    from mmrag_plugin.media import Kind
    from mmrag_plugin.readers.decoding import Decoder

SHOWN_PX = 1024  # the short side that is enough to look at
_DECODING = threading.BoundedSemaphore(4)  # others wait
APART_S = 0.5  # pictures of a film that lie closer show the same


class LibraryMedia:
    """The part of a library that looks at single media."""

    ledger: Ledger
    directory: Path

    def find(self, target: str) -> MediaRow | None:
        """A media by its id or by a path of it."""
        if not is_encodable(target):
            return None
        row = self.ledger.media_rows([target]).get(target)
        if row is not None:
            return row
        path = str(expand(target).absolute())
        ids = self.ledger.media_ids_under(path) or self.ledger.media_ids_under(real_path(path))
        if len(ids) != 1 or (is_there(path) and Path(path).is_dir()):
            return None
        return self.ledger.media_rows(sorted(ids)).get(next(iter(ids)))

    def paths_now(self, media_ids: Sequence[str]) -> dict[str, str]:
        """A path of each media that the library knows, one that is there where there is one."""
        copies = self.ledger.paths_of(media_ids)
        return {
            media_id: next(filter(is_there, paths), paths[0])
            for media_id, paths in copies.items()
            if paths
        }

    def duplicates(self) -> list[DuplicateGroup]:
        """Files that are the same or nearly the same, in groups, as of the last index."""
        from mmrag_plugin.duplicates import listed

        return listed([*self.ledger.copied(), *self.ledger.group_members()])

    def file_of(self, media_id: str) -> Path:
        """A file of a media that is there, inside the library's folders. Raises NotFound."""
        row = self.ledger.media_rows([media_id]).get(media_id)
        if row is None:
            raise NotFound(f"There is no media {media_id!r}.", "Search for it first.")
        return self._path_there(row)

    def words_of(self, moment: Moment) -> str:
        """What is known about a moment in words, each piece with its time where it has one.

        It comes out of media and is not to be trusted.
        """
        from mmrag_plugin.reasons import label_of
        from mmrag_plugin.timecode import format_time
        from mmrag_plugin.words import within

        known = self.ledger.signals_of([moment.media_id]).get(moment.media_id, [])
        lines = []
        for signal in within([signal for _, signal in known], moment):
            begins = "" if signal.start_s is None else f"{format_time(signal.start_s)} "
            by = f"({label_of(signal)}) " if signal.source == "caption" else ""
            lines.append(f"{begins}{by}{signal.text}")
        return "\n".join(lines)

    def picture_of(self, hit: Hit) -> Image | None:
        """The picture of a hit, a film's at its best frame; None when the file is gone.

        Raises MediaError for a file that is there and can't be read.
        """
        row = self.ledger.media_rows([hit.moment.media_id]).get(hit.moment.media_id)
        try:
            return None if row is None else self._picture(row, hit.at_s)
        except NotFound:
            return None

    def pictures_of(self, hit: Hit, count: int) -> list[tuple[float | None, Image]]:
        """Up to so many pictures of a hit with their times, in order; none when the file is gone.

        There are several of a moment of a film alone. Raises MediaError for a file that is there
        and can't be read.
        """
        if count > 1 and hit.moment.kind == "video":
            try:
                return self.moment_pictures(hit.moment, count)
            except NotFound:
                return []
        picture = self.picture_of(hit)
        return [] if picture is None else [(hit.at_s, picture)]

    def thumbnail(
        self, media_id: str, at_s: float | None = None, *, long_side_px: int = 320
    ) -> bytes:
        """A small JPEG of a media, of a film at a time: upright, sRGB, without metadata.

        It is decoded in a process of its own, within limits, and kept on disk. Raises NotFound for
        what is gone, MediaError for what can't be decoded, UsageError for a size that is none.
        """
        row = self.ledger.media_rows([media_id]).get(media_id)
        if row is None:
            raise NotFound(f"There is no media {media_id!r}.", "Search for it first.")
        if at_s is None and row.kind == "video":
            at_s = (row.duration_s or 0.0) / 3
        path = self._path_there(row)
        known = self.ledger.known_files([str(path)]).get(str(path))
        return self._thumbnails.of(row.kind, path, known, at_s, long_side_px)

    @cached_property
    def _thumbnails(self) -> Thumbnails:
        from mmrag_plugin.kept_files import THUMBNAILS
        from mmrag_plugin.library_thumbnails import Thumbnails

        return Thumbnails(self.directory / THUMBNAILS)

    def picture_at(
        self, media_id: str, at_s: float | None = None, *, at_least_px: int = SHOWN_PX
    ) -> Image:
        """The upright RGB picture of a media, of a film at a time; a large one scaled down.

        Raises NotFound for what is gone, MediaError for what can't be decoded.
        """
        row = self.ledger.media_rows([media_id]).get(media_id)
        if row is None:
            raise NotFound(f"There is no media {media_id!r}.", "Search for it first.")
        return self._picture(row, at_s, at_least_px)

    def _picture(self, row: MediaRow, at_s: float | None, at_least_px: int = SHOWN_PX) -> Image:
        if row.kind == "video" and at_s is None:
            at_s = (row.duration_s or 0) / 3
        return decoded_picture(row.kind, self._path_there(row), at_s, at_least_px)

    def moment_pictures(self, moment: Moment, count: int = 6) -> list[tuple[float | None, Image]]:
        """Pictures of a moment with their times: one of an image, several of a film, in order.

        They are spread over the shots of a film; there are fewer where more would show the same.
        Raises NotFound for what is gone, MediaError for what can't be read.
        """
        row = self.ledger.media_rows([moment.media_id]).get(moment.media_id)
        if row is None:
            raise NotFound(f"There is no media {moment.media_id!r}.", "Search for it first.")
        if row.kind == "image":
            at_s = None if moment.end_s is None else ((moment.start_s or 0.0) + moment.end_s) / 2
            return [(at_s, self._picture(row, at_s))]
        start_s = moment.start_s or 0.0
        end_s = moment.end_s if moment.end_s is not None else row.duration_s or start_s
        return list(film_pictures(self._path_there(row), start_s, end_s, count))

    def _path_there(self, row: MediaRow) -> Path:
        roots: list[str] | None = None
        for path in self.ledger.paths_of([row.media_id]).get(row.media_id, []):
            if is_there(path):
                roots = self.ledger.roots() if roots is None else roots
                if any(Path(real_path(path)).is_relative_to(root) for root in roots):
                    return Path(path)
        if roots is not None:  # what was a file is a link by now
            raise NotFound(
                f"{row.path} leads out of the library's folders.",
                "Put the file there instead of the link, then run mmrag index.",
            )
        raise NotFound(
            f"{row.path} is not there any more.",
            "Mount its drive, or run mmrag index, or mmrag relocate OLD NEW if it moved.",
        )


def decoded_picture(
    kind: Kind, path: Path, at_s: float | None, at_least_px: int = SHOWN_PX
) -> Image:
    """The picture of a file, of a film at a time; see ``Decoder.picture``."""
    with _DECODING:
        return _decoder().picture(kind, path, at_s, at_least_px=at_least_px)


def film_pictures(
    path: Path, start_s: float, end_s: float, count: int
) -> list[tuple[float, Image]]:
    """Up to ``count`` pictures of a part of a film with their times: of its shots, else evenly."""
    from mmrag_plugin.keyframes.spread import Spread

    spread = Spread(start_s, end_s, max(1, min(count, round((end_s - start_s) / APART_S))))
    with _DECODING:
        frames = _decoder().frames("video", path, at_least_px=SHOWN_PX, selector=spread)
        return [(frame.time_s or 0.0, frame.picture) for frame in frames]


def _decoder() -> Decoder:
    """Decodes in processes of its own: a file that makes a decoder crash ends none that shows it.

    Somebody waits, so the limits are tighter than those of indexing.
    """
    from mmrag_plugin.readers.worker_process import Limits
    from mmrag_plugin.readers.workers import DecodesInWorkers

    return DecodesInWorkers(Limits(step_s=30.0, film_s=90.0, film_s_for_each_mb=0.0))
