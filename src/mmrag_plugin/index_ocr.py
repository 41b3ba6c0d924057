"""The stage that reads the text in pictures and films, where text is likely first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from mmrag_plugin.errors import IndexStopped
from mmrag_plugin.index_run import Run
from mmrag_plugin.index_seeing import FoundText, TextWanted
from mmrag_plugin.ledger import MediaRow
from mmrag_plugin.ledger_database import batches

SMALL_PX = 1280  # the long side of a picture that is read without a look before
MAX_FRAMES = 60  # of one film, spread over all of it
_PASSED_OVER_AT_ONCE = 64


class OcrStage:
    """Reads text off the frames of media in one run."""

    def __init__(self, run: Run) -> None:
        self._run, self._ledger = run, run.ledger
        self._passed_over = 0

    def read(self) -> None:
        """Read the text in the frames of media where nobody has looked for any yet.

        In a large library pictures are only read where a quick look finds something like writing.
        """
        run = self._run
        if run.parts.text_reader is None:
            return
        most, pictures = run.parts.read_all_below, self._ledger.counts()["kinds"].get("image", 0)
        glances = most is not None and pictures >= most
        if not glances:
            self._ledger.redo_passed_over("ocr")
        pending = run.pending("ocr", after="embed")
        with run.timed("ocr", sum(map(len, pending.values()))):
            for media_ids in batches(self._likely_first(pending["image"])):
                self._texts_of(media_ids, glances=glances)
            self._texts_of(pending["video"], glances=glances)
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

    def _texts_of(self, media_ids: Sequence[str], *, glances: bool) -> None:
        """Have media looked at for text, and write down what is found."""
        wanted = (
            TextWanted(media, glances and self._may_be_passed_over(media), self._every(media))
            for media in self._run.rows(media_ids)
        )
        passed = list[str]()
        with closing(self._run.parts.seer.read_text(wanted)) as found_texts:
            try:
                for found in found_texts:
                    if found.passed_over:
                        passed.append(found.media.media_id)
                    else:
                        self._enter(found)
                    if len(passed) == _PASSED_OVER_AT_ONCE:
                        self._pass_over(passed)
                        passed = []
                    self._run.progress.advance("ocr", 1)
                    self._run.between_media()
            except IndexStopped:
                self._pass_over(passed)
                raise
        self._pass_over(passed)

    def _enter(self, found: FoundText) -> None:
        media = found.media
        with self._run.failing("ocr", media):
            if found.error is not None:
                raise found.error
            stamp = self._run.parts.stamps.of("ocr", media.kind)
            self._ledger.put_signals("ocr", stamp, {media.media_id: list(found.signals)})
            self._run.report.stages["ocr"].done += 1
        self._run.enter_failures()

    def _pass_over(self, media_ids: Sequence[str]) -> None:
        self._ledger.pass_over("ocr", self._run.parts.stamps.of("ocr", "image"), media_ids)
        self._passed_over += len(media_ids)

    def _may_be_passed_over(self, media: MediaRow) -> bool:
        """Screenshots are read, and small pictures: a look at them takes as long as reading them.

        Films are looked at frame by frame.
        """
        is_small = 0 < max(media.width_px, media.height_px) <= SMALL_PX
        return media.kind == "video" or not (_is_screenshot(media) or is_small)

    def _every(self, media: MediaRow) -> int:
        """Of how many frames one is read."""
        if media.kind == "image":
            return 1
        made = self._ledger.made("embed", media.media_id)
        return max(math.ceil(made / MAX_FRAMES), 1)


def _is_screenshot(media: MediaRow) -> bool:
    """Whether nobody photographed it and it is kept without loss, or called so."""
    path = Path(media.path)
    return not media.camera and (path.suffix.lower() == ".png" or "screen" in path.stem.lower())
