"""The stage that reads the text in pictures and films, where text is likely first."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from mmrag_plugin.index_pixels import frames_in_groups
from mmrag_plugin.index_run import Run
from mmrag_plugin.ledger import MediaRow
from mmrag_plugin.ledger_database import batches
from mmrag_plugin.media import Frame, Signal
from mmrag_plugin.tracing import span

if TYPE_CHECKING:
    from PIL.Image import Image

    from mmrag_plugin.signals.ocr import TextReader

READ_AT_LEAST_PX = 2400  # a photo of 12 megapixels comes as it is, with its smallest letters
GLANCE_AT_LEAST_PX = 640
SMALL_PX = 1280  # the long side of a picture that is read without a look before
MAX_FRAMES = 60  # of one film, spread over all of it
_GROUP = 2  # large pictures that are held at once, and as many ahead
_GLANCED_AT = 64
_SEEN = (160, 90)  # at which two frames are compared
_SAME = 16  # of 255: no pixel differs by more in two frames that show the same


class OcrStage:
    """Reads text off the frames of media in one run."""

    def __init__(self, run: Run) -> None:
        self._run, self._ledger = run, run.ledger
        self._passed_over = 0

    def read(self) -> None:
        """Read the text in the frames of media where nobody has looked for any yet.

        In a large library pictures are only read where a quick look finds something like writing.
        """
        run, reader = self._run, self._run.parts.text_reader
        if reader is None:
            return
        most, pictures = run.parts.read_all_below, self._ledger.counts()["kinds"].get("image", 0)
        glances = most is not None and pictures >= most
        if not glances:
            self._ledger.redo_passed_over("ocr")
        pending = run.pending("ocr", after="embed")
        with run.timed("ocr", sum(map(len, pending.values()))):
            for media_ids in batches(self._likely_first(pending["image"]), _GLANCED_AT):
                self._pictures(reader, media_ids, glances=glances)
            self._films(reader, pending["video"], glances=glances)
        if self._passed_over:
            run.report.warnings.append(
                f"{self._passed_over} pictures were not read for text, as a quick look found "
                "nothing like writing in them. To have them read: mmrag index --ocr-all"
            )

    def _likely_first(self, media_ids: Sequence[str]) -> list[str]:
        """Screenshots come first, then what no camera took: scans, what others sent."""
        rows = self._ledger.media_rows(media_ids)

        def how_unlikely(media_id: str) -> int:
            row = rows.get(media_id)
            return 2 if row is None or row.camera else 0 if _is_screenshot(row) else 1

        return sorted(media_ids, key=how_unlikely)

    def _pictures(self, reader: TextReader, media_ids: Sequence[str], *, glances: bool) -> None:
        stamp = self._run.parts.stamps.of("ocr", "image")
        if glances:
            likely = self._glanced_at(reader, media_ids)
            passed = [media_id for media_id, worth in likely.items() if not worth]
            self._ledger.pass_over("ocr", stamp, passed)
            self._passed_over += len(passed)
            self._run.progress.advance("ocr", len(media_ids) - sum(likely.values()))
            media_ids = [media_id for media_id in media_ids if likely.get(media_id)]
        for group in frames_in_groups(self._run, "image", media_ids, READ_AT_LEAST_PX, _GROUP):
            self._run.between_media()
            read: dict[str, list[Signal]] = {}
            for media, frames in group:
                with self._run.failing("ocr", media):
                    # what moves in a photo is read in the photo
                    shown = [frame for frame in frames() if frame.time_s is None]
                    read[media.media_id] = read_text(reader, shown)
            self._enter(stamp, read)
            self._run.progress.advance("ocr", len(group))

    def _glanced_at(self, reader: TextReader, media_ids: Sequence[str]) -> dict[str, bool]:
        """Whether a picture is worth reading, of those that could be looked at.

        Screenshots are, and small pictures: a look at them takes as long as reading them.
        """
        rows = self._ledger.media_rows(media_ids)
        likely = {
            media_id: True
            for media_id, row in rows.items()
            if _is_screenshot(row) or 0 < max(row.width_px, row.height_px) <= SMALL_PX
        }
        media_ids = [media_id for media_id in media_ids if media_id not in likely]
        for group in frames_in_groups(self._run, "image", media_ids, GLANCE_AT_LEAST_PX, 8):
            self._run.between_media()
            for media, frames in group:
                with self._run.failing("ocr", media):
                    shown = [frame.picture for frame in frames() if frame.time_s is None]
                    with span("ocr.glance"):
                        likely[media.media_id] = any(map(reader.may_hold_text, shown))
            self._run.enter_failures()
        return likely

    def _films(self, reader: TextReader, media_ids: Sequence[str], *, glances: bool) -> None:
        stamp = self._run.parts.stamps.of("ocr", "video")
        for group in frames_in_groups(self._run, "video", media_ids, READ_AT_LEAST_PX, _GROUP):
            self._run.between_media()
            for media, frames in group:
                with self._run.failing("ocr", media):
                    spread = islice(frames(), 0, None, self._every(media))
                    self._enter(stamp, {media.media_id: read_text(reader, spread, glances=glances)})
            self._run.enter_failures()
            self._run.progress.advance("ocr", len(group))

    def _every(self, media: MediaRow) -> int:
        """Of how many frames one is read."""
        made = self._ledger.made("embed", media.media_id)
        return max(math.ceil(made / MAX_FRAMES), 1)

    def _enter(self, stamp: str, read: dict[str, list[Signal]]) -> None:
        self._run.enter_failures()
        self._ledger.put_signals("ocr", stamp, read)
        self._run.report.stages["ocr"].done += len(read)


def _is_screenshot(media: MediaRow) -> bool:
    """Whether nobody photographed it and it is kept without loss, or called so."""
    path = Path(media.path)
    return not media.camera and (path.suffix.lower() == ".png" or "screen" in path.stem.lower())


def read_text(
    reader: TextReader, frames: Iterable[Frame], *, glances: bool = False
) -> list[Signal]:
    """Read text off frames; what stays on the screen over several frames is one signal.

    A frame that shows what the one read before shows is not read again. With ``glances`` frames are
    only read where a quick look finds something like writing.
    """
    signals: list[Signal] = []
    before: Frame | None = None
    read: Image | None = None
    text = ""
    for frame in frames:
        seen = None if frame.time_s is None else frame.picture.convert("L").resize(_SEEN)
        if read is None or seen is None or not _is_same(read, seen):
            read = seen
            worth = not glances or frame.time_s is None or reader.may_hold_text(frame.picture)
            text = ""
            if worth:
                with span("ocr.read"):
                    text = reader.read(frame.picture).strip()
        last = signals[-1] if signals else None
        stays = last and before and last.end_s == before.end_s
        if text and last and stays and _letters(last.text) == _letters(text):
            signals[-1] = Signal("ocr", last.text, last.start_s, frame.end_s)
        elif text:
            signals.append(Signal("ocr", text, frame.time_s, frame.end_s))
        before = frame
    return signals


def _is_same(one: Image, other: Image) -> bool:
    from PIL.ImageChops import difference

    brightest: tuple[int, int] = difference(one, other).getextrema()  # type: ignore[assignment]
    return brightest[1] <= _SAME


def _letters(text: str) -> str:
    """A text without spaces and signs, which a reader sees now and then."""
    return "".join(char for char in text if char.isalnum()).casefold()
