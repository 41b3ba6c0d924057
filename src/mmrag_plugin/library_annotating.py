"""What a person writes about the media of a library, kept and made searchable at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from mmrag_plugin.errors import LibraryBusy, MmragError, NotFound, ServiceError
from mmrag_plugin.ledger import Ledger, MediaRow
from mmrag_plugin.ledger_lease import ANNOTATING

if TYPE_CHECKING:
    from mmrag_plugin.annotating import Annotated, Imported
    from mmrag_plugin.library_models import LibraryModels, Model
    from mmrag_plugin.milvus_store import MediaVectorStore

WAIT_S = 5.0  # for a run that holds the lease, which brings annotations in on the way


class LibraryAnnotating:
    """The part of a library that keeps what the person writes.

    The ledger has it at once, whoever writes to Milvus just then; so filters, counts and hiding
    know it. Its rows of words in Milvus are written by this process if it gets the lease, else by
    the run that has it, which looks for annotations between two media.
    """

    ledger: Ledger
    models: LibraryModels
    whole: Any
    _annotating: threading.Lock

    def recorded(self, name: str) -> Model | None:
        """The model in use; the library knows."""
        raise NotImplementedError

    def stores(self) -> dict[str, MediaVectorStore]:
        """The collections in use; the library knows."""
        raise NotImplementedError

    def annotate(
        self,
        media_id: str,
        *,
        caption: str | Sequence[str] | None = None,
        tags: Iterable[str] = (),
        people: Iterable[str] = (),
        start_s: float | None = None,
        end_s: float | None = None,
        remove: bool = False,
    ) -> Annotated:
        """Note what a person says of a media, or of a part of a film; files are never written to.

        With ``remove`` it is taken back: what is named, or all (of that part) if nothing is. What
        files say of themselves stays. Annotating the same twice changes nothing. Without anything
        it says what is recorded.
        Raises NotFound for an unknown media, UsageError for a text or a time that is none.
        """
        from mmrag_plugin.annotating import Annotated, checked, meant

        row = self._row(media_id)
        captions = [caption] if isinstance(caption, str) else list(caption or ())
        asked = checked(row, captions, tags, people, start_s, end_s)
        ledger: Ledger = self.whole.ledger
        added = removed = 0
        if remove:
            known = ledger.annotations_of(media_id)
            going = meant(known, asked, (start_s, end_s))
            _, removed = ledger.annotate(media_id, (), going)
        elif asked:
            added, _ = ledger.annotate(media_id, asked)
        note = self.whole.write_annotated([media_id]) if added or removed else ""
        return Annotated(media_id, ledger.annotations_of(media_id), added, removed, not note, note)

    def import_annotations(self, lines: Iterable[tuple[str, dict[str, Any]]]) -> Imported:
        """Enter annotations out of records, each with a name for messages (``line 3``).

        A record tells its media by content, id, path or file name, in this order; what it says, as
        ``annotation_files`` writes it or as ``caption``, ``tags`` and ``people``.
        """
        from mmrag_plugin.annotating import Imported
        from mmrag_plugin.annotation_files import annotations_in, media_of

        done, touched = Imported(), list[str]()
        for name, record in lines:
            try:
                row = self._row(media_of(self.ledger, record))
                items = annotations_in(row, record)
                added, _ = self.whole.ledger.annotate(row.media_id, items)
            except MmragError as error:
                done.refused.append(f"{name}: {error.message}")
                continue
            done.added += added
            done.known += len(items) - added
            touched += [row.media_id] * bool(added)
        if touched:
            done.note = self.whole.write_annotated(list(dict.fromkeys(touched)))
            done.searchable = not done.note
        return done

    def write_annotated(self, media_ids: Sequence[str]) -> str:
        """Write the words of annotated media to Milvus; says why they are not there, if so."""
        deadline = time.monotonic() + WAIT_S
        while self.ledger.annotated_marks(media_ids):
            try:
                with self._annotating, self.ledger.writer(ANNOTATING):
                    return self._write_words(media_ids)
            except LibraryBusy as busy:
                if time.monotonic() > deadline:
                    return f"It is recorded; its words are found once this is over: {busy.message}"
                time.sleep(0.2)
            except ServiceError as error:
                return f"It is recorded; its words are found after the next mmrag index: {error}"
        return ""

    def _write_words(self, media_ids: Sequence[str]) -> str:
        from mmrag_plugin.index_run import words_stamp
        from mmrag_plugin.index_words import WordsWriter

        later = "It is recorded; its words are found after the next mmrag index"
        words = self.recorded("words")
        if words is None:
            return f"{later}."
        text = None
        if words.setting != "off":
            try:
                visual, _ = self.models.in_use()
            except MmragError as error:
                return f"{later}: {error}"
            text = self.models.text_in_use(words, visual)
        if words.dim and text is None:
            return f"{later}: its text model {words.setting} is not there."
        owed = set(self.ledger.unwritten_annotations())
        writer = WordsWriter(
            self.ledger, self.stores()["words"], text, words_stamp(text.stamp if text else "")
        )
        writer.write([media_id for media_id in media_ids if media_id in owed])
        return "" if owed.issuperset(media_ids) else f"{later}."

    def _row(self, media_id: str) -> MediaRow:
        row = self.ledger.media_rows([media_id]).get(media_id)
        if row is None:
            raise NotFound(f"There is no media {media_id!r}.", "Take an id that a search showed.")
        return row
