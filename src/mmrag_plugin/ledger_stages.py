"""The ledger's lines about work: which stage is done with which media, and what it found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mmrag_plugin.ledger_database import LedgerDatabase, batches
from mmrag_plugin.ledger_looks import outdate_groups
from mmrag_plugin.ledger_marks import enter_signals
from mmrag_plugin.ledger_tables import (
    PASSED,
    WRITING,
    bad_sidecars,
    captioned_by_signals,
    date_sources,
    is_doubtful,
    left_out,
    media,
    not_taken_in,
    paths,
    places,
    read_anew,
    roots,
    shots,
    signals,
    sounding,
    stages,
)
from mmrag_plugin.media import Kind, MediaFacts, Signal, Stage

_FACT_COLUMNS = "width_px height_px duration_s taken_at camera latitude longitude".split()
_FACTS = (  # put together once, which takes longer than to execute it
    media.update()
    .where(media.c.media_id == sa.bindparam("of"))
    .values({name: sa.bindparam(name) for name in _FACT_COLUMNS})
)


@dataclass(frozen=True)
class Failure:
    """A file that a stage could not deal with."""

    path: str
    stage: str
    reason: str
    remedy: str


@dataclass(frozen=True)
class BadSidecar:
    """A file beside media that could not be read whole, and what it held then."""

    path: str
    content_hash: str
    reason: str
    remedy: str


class StageLines:
    """What stages have done, found and left to do; every method is one short transaction."""

    _database: LedgerDatabase

    def pending(
        self, stage: Stage, stamp: str, *, kind: Kind | None = None, after: Stage | None = None
    ) -> list[str]:
        """Media that a stage has still to do, oldest path first.

        Done, failed and passed over count only with the same stamp; with ``after`` only media with
        which that stage is done are named.
        """
        finished = sa.and_(stages.c.state.in_(["done", "failed", PASSED]), stages.c.stamp == stamp)
        first_path = sa.func.min(paths.c.path)
        query = (
            sa.select(media.c.media_id)
            .join_from(media, paths)
            .where(
                ~sa.exists().where(
                    stages.c.media_id == media.c.media_id, stages.c.stage == stage, finished
                )
            )
            .group_by(media.c.media_id)
            .order_by(first_path)
        )
        if kind:
            query = query.where(media.c.kind == kind)
        if after:
            earlier = stages.alias()
            query = query.where(
                sa.exists().where(
                    earlier.c.media_id == media.c.media_id,
                    earlier.c.stage == after,
                    earlier.c.state == "done",
                )
            )
        with self._database.reading() as connection:
            return list(connection.scalars(query))

    def touched(self, stage: Stage, media_ids: Sequence[str]) -> set[str]:
        """Those of the media for which a stage may have left rows in Milvus."""
        found: set[str] = set()
        with self._database.reading() as connection:
            for batch in batches(media_ids):
                query = sa.select(stages.c.media_id).where(
                    stages.c.media_id.in_(batch), stages.c.stage == stage
                )
                found.update(connection.scalars(query))
        return found

    def made(self, stage: Stage, media_id: str) -> int:
        """How many items (rows, frames) a stage made of a media."""
        query = sa.select(stages.c.made).where(
            stages.c.media_id == media_id, stages.c.stage == stage
        )
        with self._database.reading() as connection:
            return connection.scalar(query) or 0

    def begin(self, stage: Stage, media_ids: Sequence[str]) -> None:
        """Say that rows of these media are about to be written."""
        self._mark(stage, [{"media_id": m, "state": WRITING, "stamp": ""} for m in media_ids])

    def outdate(self, stage: Stage, media_ids: Iterable[str]) -> None:
        """Say that what stands beside the vectors of media is no longer true, as the date.

        Rows and vectors are whole: a stage that is being written under a stamp says just that.
        """
        with self._database.writing() as connection:
            for batch in batches(media_ids):
                connection.execute(
                    stages.update()
                    .where(
                        stages.c.media_id.in_(batch),
                        stages.c.stage == stage,
                        stages.c.state == "done",
                    )
                    .values(state=WRITING)
                )

    def outdated(self, stage: Stage, stamp: str, kind: Kind) -> dict[str, int]:
        """Media whose rows are whole but outdated, with how many rows each has."""
        query = (
            sa.select(stages.c.media_id, stages.c.made)
            .join_from(stages, media)
            .where(
                stages.c.stage == stage,
                stages.c.state == WRITING,
                stages.c.stamp == stamp,
                media.c.kind == kind,
            )
            .order_by(stages.c.media_id)
        )
        with self._database.reading() as connection:
            return {media_id: made for media_id, made in connection.execute(query)}

    def done(self, stage: Stage, stamp: str, made: Mapping[str, int]) -> None:
        """Say that a stage is done with media, and how many items (rows, frames) it made."""
        self._mark(
            stage,
            [
                {"media_id": m, "state": "done", "stamp": stamp, "made": made[m]}
                for m in sorted(made)
            ],
        )

    def pass_over(self, stage: Stage, stamp: str, media_ids: Sequence[str]) -> None:
        """Say that a stage does not look at media as long as nobody asks for it."""
        with self._database.writing() as connection:
            self._replace_signals(connection, stage, dict.fromkeys(media_ids, ()))
        self._mark(stage, [{"media_id": m, "state": PASSED, "stamp": stamp} for m in media_ids])

    def redo_passed_over(self, stage: Stage) -> None:
        """Have a stage look at what it passed over."""
        with self._database.writing() as connection:
            connection.execute(
                stages.update()
                .where(stages.c.stage == stage, stages.c.state == PASSED)
                .values(state=WRITING, stamp="")
            )

    def passed_over(self, stage: Stage) -> int:
        """How many media a stage passed over."""
        query = sa.select(sa.func.count()).where(stages.c.stage == stage, stages.c.state == PASSED)
        with self._database.reading() as connection:
            return connection.scalar(query) or 0

    def failed(self, stage: Stage, stamp: str, media_id: str, reason: str, remedy: str) -> None:
        """Say that a stage can't deal with a media as it is; a change of the file tries again.

        What it found before is dropped, but for a caption: it is still true of the picture.
        """
        row = {"media_id": media_id, "state": "failed", "stamp": stamp}
        if stage != "caption":
            with self._database.writing() as connection:
                self._replace_signals(connection, stage, {media_id: ()})
        self._mark(stage, [{**row, "reason": reason, "remedy": remedy}])

    def retry_failed(self) -> None:
        """Have failed stages try again although nothing changed."""
        with self._database.writing() as connection:
            connection.execute(
                stages.update().where(stages.c.state == "failed").values(state=WRITING, stamp="")
            )
            connection.execute(bad_sidecars.update().values(content_hash=""))
            connection.execute(not_taken_in.delete())

    def failures(self) -> list[Failure]:
        """What could not be taken in, and what failed since, the first failing stage of each path.

        Nothing of it has changed since.
        """
        query = (
            sa.select(
                paths.c.path, stages.c.stage, stages.c.reason, stages.c.remedy, stages.c.media_id
            )
            .join_from(stages, paths, stages.c.media_id == paths.c.media_id)
            .where(stages.c.state == "failed")
            .order_by(paths.c.path)
        )
        order = ["scan", "read", "embed", "ocr", "caption", "speech"]
        first = {failure.path: failure for failure in self._not_taken_in()}
        with self._database.reading() as connection:
            rows = list(connection.execute(query))
            looked_at = {  # of copies, the one that the reason names
                (row.media_id, row.stage): row.path
                for row in rows
                if row.reason.startswith(f"{row.path} ")
            }
            for row in rows:
                named = looked_at.get((row.media_id, row.stage), row.path)
                reason = row.reason.replace(f"{named} ", f"{row.path} ", 1)
                failure = Failure(row.path, row.stage, reason, row.remedy)
                known = first.get(failure.path)
                if known is None or order.index(failure.stage) < order.index(known.stage):
                    first[failure.path] = failure
        return list(first.values())

    def put_not_taken_in(self, places: Iterable[str], found: Iterable[Failure]) -> None:
        """Enter what could not be taken in; places that were scanned hold nothing else of this."""
        scanned = set(places)
        with self._database.writing() as connection:
            for path in list(connection.scalars(sa.select(not_taken_in.c.path))):
                if path in scanned or not scanned.isdisjoint(_above(path)):
                    connection.execute(not_taken_in.delete().where(not_taken_in.c.path == path))
            for failure in found:
                row = {
                    "path": failure.path,
                    "reason": failure.reason,
                    "remedy": failure.remedy,
                }
                self._database.upsert(connection, not_taken_in, row, ["path"])

    def _not_taken_in(self) -> Iterator[Failure]:
        """What could not be taken in, of what still belongs to the library."""
        with self._database.reading() as connection:
            inside = set(connection.scalars(sa.select(roots.c.path)))
            outside = set(connection.scalars(sa.select(left_out.c.path)))
            for row in connection.execute(sa.select(not_taken_in).order_by(not_taken_in.c.path)):
                places = {row.path, *_above(row.path)}
                if places & inside and not places & outside:
                    yield Failure(row.path, "scan", row.reason, row.remedy)

    def put_bad_sidecars(self, found: Iterable[BadSidecar]) -> None:
        """Enter sidecars that could not be read."""
        with self._database.writing() as connection:
            for bad in found:
                self._database.upsert(connection, bad_sidecars, vars(bad), ["path"])

    def bad_sidecars(self) -> list[BadSidecar]:
        """The sidecars that could not be read."""
        with self._database.reading() as connection:
            rows = connection.execute(sa.select(bad_sidecars).order_by(bad_sidecars.c.path))
            return [BadSidecar(*row) for row in rows]

    def drop_bad_sidecar(self, path: str, *, read_again: Iterable[str] = ()) -> None:
        """Forget that a sidecar is bad, and have media read again of which it may speak."""
        with self._database.writing() as connection:
            connection.execute(bad_sidecars.delete().where(bad_sidecars.c.path == path))
            for batch in batches(read_again):
                connection.execute(read_anew().where(stages.c.media_id.in_(batch)))

    def drop_lone_bad_sidecars(self) -> None:
        """Forget bad sidecars of which no media lie in their folder or below."""
        known = self.bad_sidecars()
        if not known:
            return
        folders = set[str]()
        with self._database.reading() as connection:
            for path in connection.scalars(sa.select(paths.c.path)):
                folders.update(takewhile(lambda folder: folder not in folders, _above(path)))
        for bad in known:
            if next(_above(bad.path)) not in folders:
                self.drop_bad_sidecar(bad.path)

    def put_read(self, stamp: str, read: Mapping[str, tuple[MediaFacts, Sequence[Signal]]]) -> None:
        """Enter what the read stage found: facts and signals, and that it is done."""
        with self._database.writing() as connection:
            outdate_groups(connection)  # which go by dates and cameras, too
            if not read:
                return
            connection.execute(_FACTS, [_facts_of(m, found) for m, (found, _) in read.items()])
            said = {media_id: words for media_id, (_, words) in read.items()}
            self._replace_signals(connection, "read", said)
            for batch in batches(read):
                for table in (sounding, places, date_sources):
                    connection.execute(table.delete().where(table.c.media_id.in_(batch)))
            with_sound = [{"media_id": m} for m, (found, _) in read.items() if found.has_sound]
            dated = [
                {"media_id": media_id, "source": found.dated_by}
                for media_id, (found, _) in read.items()
                if found.dated_by
            ]
            for table, rows in ((sounding, with_sound), (date_sources, dated)):
                if rows:
                    connection.execute(table.insert(), rows)
        self.done("read", stamp, {media_id: len(words) for media_id, (_, words) in read.items()})

    def put_signals(self, stage: Stage, stamp: str, found: Mapping[str, Sequence[Signal]]) -> None:
        """Enter the signals that a later stage found, and that it is done."""
        with self._database.writing() as connection:
            self._replace_signals(connection, stage, found)
        self.done(stage, stamp, {media_id: len(words) for media_id, words in found.items()})

    def signals_of(self, media_ids: Sequence[str]) -> dict[str, list[tuple[str, Signal]]]:
        """The signals of media, each with the stage that found it, in the order they were found."""
        found: dict[str, list[tuple[str, Signal]]] = {media_id: [] for media_id in media_ids}
        with self._database.reading() as connection:
            for batch in batches(media_ids):
                query = (
                    sa.select(
                        signals.c.media_id,
                        signals.c.stage,
                        signals.c.source,
                        signals.c.text,
                        signals.c.start_s,
                        signals.c.end_s,
                        is_doubtful().label("doubtful"),
                    )
                    .outerjoin_from(signals, shots, captioned_by_signals())
                    .where(signals.c.media_id.in_(batch))
                    .order_by(signals.c.media_id, signals.c.stage.desc(), signals.c.number)
                )
                for media_id, stage, *rest in connection.execute(query):
                    found[media_id].append((stage, Signal(*rest)))
        return found

    def _mark(self, stage: Stage, rows: Iterable[Mapping[str, Any]]) -> None:
        blank = {"stage": stage, "made": 0, "reason": "", "remedy": ""}
        with self._database.writing() as connection:
            marked = [{**blank, **row} for row in rows]
            self._database.upsert_all(connection, stages, marked, ["media_id", "stage"])

    def _replace_signals(
        self, connection: Connection, stage: Stage, found: Mapping[str, Sequence[Signal]]
    ) -> None:
        enter_signals(connection, stage, found)
        # what stands in Milvus about these media is outdated from here on
        for batch in batches(found):
            connection.execute(
                media.update()
                .where(media.c.media_id.in_(batch), media.c.words_stamp != "")
                .values(words_stamp=WRITING)
            )


def _facts_of(media_id: str, found: MediaFacts) -> dict[str, Any]:
    return {"of": media_id, **{name: getattr(found, name) for name in _FACT_COLUMNS}}


def _above(path: str) -> Iterator[str]:
    """The folders over a path, the nearest first."""
    return map(str, Path(path).parents)
