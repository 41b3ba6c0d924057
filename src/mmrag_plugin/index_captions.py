"""The caption stage: a VLM says of each picture, and of each shot of a film, what it shows.

It comes last and holds up nothing that needs no VLM. Each answer is kept by the pixels that it is
about, so nothing is asked twice, and what is captioned can be searched within seconds. Requests run
side by side; what they bring is entered in the order of the media, so that the end is the same
however many there are.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from mmrag_plugin.errors import MmragError
from mmrag_plugin.index_doubt import Doubt
from mmrag_plugin.index_personal import Personal, beside, picture_stamp, without_examples
from mmrag_plugin.index_requests import COMMIT_S, Asking, Requests, StoppedError, at_hand
from mmrag_plugin.index_run import Run
from mmrag_plugin.index_shots import Picture, pictures_of
from mmrag_plugin.index_verify import SecondOpinion
from mmrag_plugin.index_words import WordsStage
from mmrag_plugin.ledger import MediaRow, Shot
from mmrag_plugin.media import Kind, Moment, Signal
from mmrag_plugin.neighbours import Neighbour, shown
from mmrag_plugin.terms import terms_of
from mmrag_plugin.words import within

if TYPE_CHECKING:
    from mmrag_plugin.vlm.captions import Caption, Captioner
    from mmrag_plugin.vlm.verifying import Verifier

WhichCaptions = Literal["off", "new", "missing", "all"]

_KINDS: tuple[Kind, ...] = ("image", "video")

_T = TypeVar("_T")


@dataclass(frozen=True)
class CaptionWork:
    """What the stage works with, built by the library; without a captioner nothing is captioned."""

    which: WhichCaptions = "off"
    captioner: Captioner | None = None
    verifier: Verifier | None = None
    personal: bool = False


class CaptionStage:
    """Captions media in one run."""

    def __init__(self, run: Run, words: WordsStage, work: CaptionWork) -> None:
        self.run, self.ledger = run, run.ledger
        self._words, self._work = words, work
        self._doubt = Doubt(run)
        self._personal = Personal(run, wanted=work.personal)
        self._published = time.monotonic()
        self._asking = Asking(run, self._publish_in_time)

    def owe(self) -> None:
        """Note which media are new, before they are read, so that a killed run does not lose it."""
        if self._work.which == "new":
            self.ledger.owe_captions()

    def caption(self) -> None:
        """Caption what is to be captioned; what stops the stage is reported, not raised."""
        self._take_back()
        self._restore()
        work = self._work
        if work.captioner is not None:
            with self.run.timed("caption"):
                work.captioner.identify()
                stamp = stamp_now(work.captioner, self.ledger.fact("caption"))
                self._use_stamp(self._personal.media_stamp(stamp))
                try:
                    self._caption_all(work.captioner, stamp, self._left())
                    if work.verifier is not None:
                        SecondOpinion(
                            self.run, self._asking, work.verifier, self._publish_in_time
                        ).check_all()
                except StoppedError as stopped:
                    self._report_stop(stopped.error)
                self.run.report.stages["caption"].pending = len(self._left())
        self._publish()

    # ---- captioning --------------------------------------------------------------------------

    def _use_stamp(self, stamp: str) -> None:
        parts = self.run.parts
        self.run.parts = replace(parts, stamps=replace(parts.stamps, caption=stamp))

    def _left(self) -> list[str]:
        """What is still to be captioned."""
        which, stamp_of = self._work.which, self.run.parts.stamps.of
        if which == "off":
            return []
        return [
            media_id
            for kind in _KINDS
            for media_id in self.ledger.to_caption(which, stamp_of("caption", kind), kind)
        ]

    def _caption_all(self, captioner: Captioner, stamp: str, pending: Sequence[str]) -> None:
        if not pending:
            return
        self._asking.begin(captioner.check)
        self.ledger.state(caption=stamp)
        self.run.progress.begin("caption", len(pending))
        asked: dict[tuple[str, str], Future[Mapping[str, Any]]] = {}  # by pixels and stamp
        stamps: dict[tuple[str, int], str] = {}  # by media and number
        with Requests(captioner.workers) as requests:

            def ask(picture: Picture) -> Future[Mapping[str, Any]]:
                examples = self._personal.examples_of(picture)
                made = picture_stamp(stamp, examples)
                stamps[picture.media.media_id, picture.number] = made
                key = picture.picture_hash, made
                if key not in asked:
                    known = self.ledger.caption_of(*key)
                    if known is not None and examples:
                        known = {**known, **beside(examples)}
                    asked[key] = (
                        requests.ask(
                            lambda: _captioned(captioner, picture, self._known(picture), examples)
                        )
                        if known is None
                        else at_hand(known)
                    )
                return asked[key]

            found: list[tuple[Shot, Signal]] = []
            for media, picture, answer in self._asking.ahead(pending, captioner.workers, ask):
                if picture is not None and answer is not None:
                    content = self._asking.answer_of(media, answer)
                    made = stamps.pop((media.media_id, picture.number))
                    asked.pop((picture.picture_hash, made), None)
                    if content is not None:
                        self._keep(picture, made, content, found)
                    continue
                self._enter(media, found)
                found = []

    def _keep(
        self,
        picture: Picture,
        stamp: str,
        content: Mapping[str, Any],
        found: list[tuple[Shot, Signal]],
    ) -> None:
        if self.ledger.caption_of(picture.picture_hash, stamp) != content:
            self.ledger.put_caption(picture.picture_hash, stamp, content)
        found.append(self._captioned_shot(picture, stamp, content))

    def _captioned_shot(
        self, picture: Picture, stamp: str, content: Mapping[str, Any]
    ) -> tuple[Shot, Signal]:
        start_s, end_s = picture.start_s, picture.end_s
        shot = Shot(
            picture.number,
            picture.picture_hash,
            stamp,
            picture.span.first,
            picture.span.last,
            start_s,
            end_s,
        )
        read = [signal.text for signal in self._words_of(picture) if signal.source == "ocr"]
        return shot, Signal("caption", caption_text(content, read), start_s, end_s)

    def _enter(self, media: MediaRow, found: Sequence[tuple[Shot, Signal]]) -> None:
        """Enter the captions of a media; after that, that some of its pictures failed."""
        failed = media.media_id in self._asking.broken
        gone = media.media_id in self.run.absent | self.run.unreadable
        if (found or not failed) and not gone:
            stamp = self.run.parts.stamps.of("caption", media.kind)
            self.ledger.put_shots(media.media_id, stamp, found)
        self.run.enter_failures()
        self.run.report.stages["caption"].done += not failed
        self.run.progress.advance("caption", 1)
        self._publish_in_time()

    def _words_of(self, picture: Picture) -> list[Signal]:
        """What is known in words about a picture, but for what a model said of it."""
        media = picture.media
        known = self.ledger.signals_of([media.media_id])[media.media_id]
        moment = Moment(media.media_id, media.kind, picture.start_s, picture.end_s)
        return within([signal for _, signal in known if signal.source != "caption"], moment)

    def _known(self, picture: Picture) -> str:
        return "\n".join(signal.text for signal in self._words_of(picture))

    def _take_back(self) -> None:
        """Drop captions that tell assistants the words of a photo that is hidden by now."""
        hidden = self.ledger.hidden_media_ids()
        for media_id in self.ledger.captioned_beside(hidden) if hidden else ():
            self.ledger.take_captions_back(media_id)

    def _restore(self) -> None:
        """Give media their captions back whose files changed, but not their pixels."""
        for kind in _KINDS:
            changed = self.ledger.changed_after_caption(kind)
            if not changed:
                continue
            embedded = set(self.ledger.to_caption("new", "", kind))
            changed = [media_id for media_id in changed if media_id in embedded]
            before = self.ledger.shots_of(changed)
            for media in self.run.rows(changed):
                known = {shot.picture_hash: shot for shot in before[media.media_id]}
                stamps = {without_examples(shot.stamp) for shot in before[media.media_id]}
                found: list[tuple[Shot, Signal]] = []
                same = len(stamps) == 1
                with self.run.failing("caption", media):
                    for picture in pictures_of(self.run, media):
                        shot = known.get(picture.picture_hash)
                        same = same and shot is not None
                        if shot is None:
                            break
                        found.append(self._captioned_shot(picture, shot.stamp, shot.content))
                    if same:
                        stamp = replace(self.run.parts.stamps, caption=stamps.pop())
                        self.ledger.put_shots(media.media_id, stamp.of("caption", kind), found)
                    else:
                        self.ledger.drop_shots(media.media_id)
                self.run.enter_failures()

    # ---- what others see of it ---------------------------------------------------------------

    def _publish_in_time(self) -> None:
        self.run.between_media()
        if time.monotonic() - self._published > COMMIT_S:
            self._publish()

    def _publish(self) -> None:
        """Make searchable what is captioned, each caption with what is thought of it."""
        self._doubt.judge()
        self._words.project()
        self._published = time.monotonic()

    def _report_stop(self, error: MmragError) -> None:
        self.run.enter_failures()
        report = self.run.report
        report.stopped_by = error
        left = len(self._left())
        report.warnings.append(
            f"Captioning stopped: {error} {left} media wait for the next "
            f"mmrag index --captions {self._work.which}."
        )


def stamp_now(captioner: Captioner, recorded: str | None) -> str:
    """The stamp of captions made now; as it was last, while the server tells no version."""

    def model_of(stamp: str) -> str:
        return stamp.partition("/captions-")[0].partition("@")[0]

    stamp = captioner.stamp
    untold = "@" not in stamp.partition("/captions-")[0]
    return recorded if untold and recorded and model_of(recorded) == model_of(stamp) else stamp


def caption_text(content: Mapping[str, Any], read: Iterable[str]) -> str:
    """The words of a caption that are searched: what it says, then what else it names.

    Nothing stands twice: neither what the sentence names already, nor text that was read off the
    picture itself.
    """
    lines = [str(content["caption"])]
    known = set(terms_of(lines[0]))
    things = [thing for thing in content.get("objects", ()) if set(terms_of(thing)) - known]
    lines.append(", ".join(things))
    known.update(terms_of(lines[-1]))
    setting = str(content.get("setting", ""))
    lines.append(setting if set(terms_of(setting)) - known else "")
    known.update(terms_of(setting), *map(terms_of, read))
    seen = str(content.get("text_seen", ""))
    unread = set(terms_of(seen)) - known
    lines.append(" ".join(word for word in seen.split() if unread.intersection(terms_of(word))))
    return "\n".join(filter(None, lines))


async def _captioned(
    captioner: Captioner, picture: Picture, known: str, neighbours: Sequence[Neighbour]
) -> Mapping[str, Any]:
    examples = await asyncio.to_thread(shown, neighbours) if neighbours else ()
    found: Caption = await captioner.caption(picture.frames, known=known, examples=examples)
    return {**found.model_dump(), **(beside(neighbours) if neighbours else {})}
