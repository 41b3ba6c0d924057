"""The last part of looking at photos: which of them are much alike."""

from __future__ import annotations

from pathlib import Path

from mmrag_plugin.duplicates import Looked, grouped
from mmrag_plugin.index_run import Run
from mmrag_plugin.ledger_database import batches
from mmrag_plugin.looks import LOOK_STAMP, SEEN_PX, look_of
from mmrag_plugin.tracing import span

_BATCH = 64


class LookStage:
    """Keeps the groups of photos that are much alike up to date."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def group(self) -> None:
        """Look at photos whose look is not known, and group anew if anything has changed.

        The ledger knows whether it has, so that a run that was killed before this is made good.
        """
        with span("index.looks"):
            self._group()

    def _group(self) -> None:
        ledger = self.run.ledger
        missing = []
        if ledger.fact("looks") != LOOK_STAMP:  # a library that is older than looks
            missing = ledger.without_look(LOOK_STAMP)
        for batch in batches(missing, _BATCH):
            found: dict[str, str] = {}
            for media in self.run.rows(batch):
                with self.run.failing("embed", media):
                    reader = self.run.parts.readers["image"]
                    frame = next(iter(reader.frames(Path(media.path), at_least_px=SEEN_PX)))
                    found[media.media_id] = look_of(frame.picture)
            self.run.drop_failures()  # what embeds and then can't be decoded is told by its stages
            ledger.put_looks(LOOK_STAMP, found)
        ledger.state(looks=LOOK_STAMP)  # what is embedded from now on is looked at then
        if not ledger.is_grouped():
            photos = [Looked(*row) for row in ledger.looks()]
            ledger.put_groups(grouped(photos))
