"""A second opinion on captions: another VLM is asked whether they are true of their pictures."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING

from mmrag_plugin.errors import MediaError
from mmrag_plugin.index_requests import Asking, Requests, at_hand
from mmrag_plugin.index_run import Run
from mmrag_plugin.index_shots import Picture
from mmrag_plugin.ledger import Shot

if TYPE_CHECKING:
    from mmrag_plugin.vlm.verifying import Verifier


class SecondOpinion:
    """Has captions checked in one run; ``entered`` is called after each media."""

    def __init__(
        self, run: Run, asking: Asking, verifier: Verifier, entered: Callable[[], None]
    ) -> None:
        self.run, self.ledger = run, run.ledger
        self._asking, self._verifier, self._entered = asking, verifier, entered

    def check_all(self) -> None:
        """Ask about every caption that the model has not seen yet. Raises StoppedError."""
        verifier = self._verifier
        verifier.identify()
        pending = self.ledger.unchecked("denial", verifier.stamp)
        if not pending:
            return
        self._asking.begin(verifier.check)
        unchecked: list[str] = []
        reasons: dict[int, str] = {}
        shots: dict[tuple[str, int], Shot] = {}
        with Requests(verifier.workers) as requests:

            def ask(picture: Picture) -> Future[str] | None:
                shot = self._shot_of(picture)
                if shot is None:  # the film has other key frames now
                    return None
                shots[picture.media.media_id, picture.number] = shot
                known = shot.content.get("verdicts", {}).get(verifier.stamp)
                if known is not None:
                    return at_hand(known)
                return requests.ask(lambda: _denied(verifier, picture, shot.content["caption"]))

            for media, picture, answer in self._asking.ahead(pending, verifier.workers, ask):
                if picture is None:
                    self.ledger.put_check("denial", verifier.stamp, {media.media_id: reasons})
                    reasons = {}
                    self._entered()
                elif answer is not None:
                    try:
                        denial = self._asking.wait(answer)
                    except MediaError as error:
                        unchecked.append(f"{media.path}: {error.message}")
                        continue
                    shot = shots.pop((media.media_id, picture.number))
                    reasons[shot.number] = denial
                    verdicts = {**shot.content.get("verdicts", {}), verifier.stamp: denial}
                    content = {**shot.content, "verdicts": verdicts}
                    self.ledger.put_caption(shot.picture_hash, shot.stamp, content)
        self.run.drop_failures()  # a caption that nobody could check is none that failed
        if unchecked:
            self.run.report.warnings.append(
                f"{verifier.model} could not check {len(unchecked)} captions, which count as they "
                f"are until the next run; the first is of {unchecked[0]}"
            )

    def _shot_of(self, picture: Picture) -> Shot | None:
        shots = self.ledger.shots_of([picture.media.media_id])[picture.media.media_id]
        wanted = picture.number, picture.picture_hash
        return next((shot for shot in shots if (shot.number, shot.picture_hash) == wanted), None)


async def _denied(verifier: Verifier, picture: Picture, caption: str) -> str:
    """What the model finds wrong with a caption; empty if nothing."""
    verdict = await verifier.verify(picture.frames, caption)
    return "" if verdict.is_true else f"{verifier.model}: {verdict.wrong or 'not true'}"
