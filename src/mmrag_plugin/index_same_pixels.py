"""Changed files that show what they showed: a rating in a photo gives nothing new to look at."""

from __future__ import annotations

from pathlib import Path

from mmrag_plugin.index_run import Run
from mmrag_plugin.ledger_database import batches

_BATCH = 64


class SamePixelsStage:
    """Finds out which changed media need not be embedded and read again."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def take_up(self) -> None:
        """Decode what changed, and keep what was seen before where the pixels are the same."""
        stamp_of = self.run.parts.stamps.of
        before = {
            found.media_id: found.pixels_hash
            for found in self.run.ledger.set_aside()
            if found.stamp == stamp_of("embed", found.kind)
        }
        if not before:
            return
        visual = self.run.parts.visual
        at_least_px = visual.decoded_px
        with self.run.timed("embed", len(before), part="same_pixels"):
            for batch in batches(before, _BATCH):
                same = []
                for media in self.run.rows(batch):
                    self.run.between_media()
                    with self.run.failing("embed", media):
                        pixels = ""
                        for frame in self.run.parts.readers[media.kind].frames(
                            Path(media.path), at_least_px=at_least_px, model_takes=visual.takes
                        ):
                            pixels = frame.pixels
                        if pixels == before[media.media_id]:
                            same.append(media.media_id)
                self.run.drop_failures()  # they are told by the stages themselves
                self.run.ledger.take_up(same)
                self.run.progress.advance("embed", len(batch))
