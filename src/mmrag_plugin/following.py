"""What follows or precedes a moment: the next shots of its film, or the next photos by date."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from mmrag_plugin.errors import NotFound
from mmrag_plugin.media import Hit, Moment, Signal
from mmrag_plugin.pieces import span_of
from mmrag_plugin.timecode import format_span
from mmrag_plugin.walking import is_there

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mmrag_plugin.ledger import Ledger
    from mmrag_plugin.milvus_rows import FoundRow
    from mmrag_plugin.plan import Beside

MOMENTS = 2  # that fit a description, of which the neighbours are shown
SHOTS = 3  # beside each
REST_S = 1.0  # what is left of the shot that the moment lies in counts if it is this long
LONGEST_S = 30.0  # of one neighbour: a shot may go on for an hour
SAME_SHOT = 0.85  # cosine of a frame with the first of its shot; over a cut it is far less
_WORDS_CHARS = 400

Span: TypeAlias = tuple[float, float]
ShotsOf: TypeAlias = "Callable[[str], Sequence[Span]]"  # of a film, in order of time, without gaps


@dataclass(frozen=True)
class Following:
    """Finds the neighbours of moments in one library."""

    ledger: Ledger
    shots_of: ShotsOf

    def named(self, media_id: str, at_s: float | None) -> Hit:
        """The moment of a media that somebody names, as a hit. Raises NotFound."""
        row = self.ledger.media_rows([media_id]).get(media_id)
        if row is None:
            raise NotFound(f"There is no media {media_id!r}.", "Take an id that a search showed.")
        at_s = (at_s or 0.0) if row.kind == "video" else None
        return Hit(
            rank=1,
            moment=Moment(media_id, row.kind, at_s, at_s),
            path=self._path(media_id, row.path),
            score=0.0,
            confidence="strong",
            reason="the moment that was named",
            taken_at=row.taken_at,
            at_s=at_s,
        )

    def beside(self, hits: Sequence[Hit], which: Beside) -> list[Hit]:
        """The shots after, or before, some moments of films; those of the first moment first.

        They stand in order of nearness; none is there twice, and none is one of the moments.
        """
        found: list[Hit] = []
        signals = self._timed(hit.moment.media_id for hit in hits)
        for hit in hits:
            for start_s, end_s in self._neighbours(hit.moment, which):
                moment = replace(hit.moment, start_s=start_s, end_s=end_s)
                if not any(_same(moment, other.moment) for other in (*hits, *found)):
                    beside = f"comes {which} {format_span(hit.moment.start_s, hit.moment.end_s)}"
                    reason = f"{beside}: {hit.reason}" if hit.reason else beside
                    known = signals[moment.media_id]
                    found.append(_hit(hit, moment, known, reason, len(found) + 1))
        return found

    def all_of(self, media_id: str) -> list[Hit]:
        """All shots of a film in order, with what is said in each. Raises NotFound."""
        film = self.named(media_id, None)
        shots, known = self.shots_of(media_id), self._timed([media_id])[media_id]
        moments = [replace(film.moment, start_s=start_s, end_s=end_s) for start_s, end_s in shots]
        return [
            _hit(film, moment, known, f"shot {rank} of {len(shots)}", rank)
            for rank, moment in enumerate(moments, 1)
        ]

    def _neighbours(self, moment: Moment, which: Beside) -> Iterator[Span]:
        shots = self.shots_of(moment.media_id)
        begin_s = moment.start_s or 0.0
        end_s = begin_s if moment.end_s is None else moment.end_s
        if which == "after":
            spans = [(max(start, end_s), end) for start, end in shots if end > end_s]
        else:
            spans = [(start, min(end, begin_s)) for start, end in shots if start < begin_s][::-1]
        if spans and spans[0][1] - spans[0][0] < REST_S and spans[0] not in shots:
            spans = spans[1:]
        for start, end in spans[:SHOTS]:
            if which == "after":
                yield start, min(end, start + LONGEST_S)
            else:
                yield max(start, end - LONGEST_S), end

    def _timed(self, media_ids: Iterable[str]) -> dict[str, list[Signal]]:
        """What is believed of media at their times."""
        return {
            media_id: [one for _, one in signals if one.start_s is not None and not one.doubtful]
            for media_id, signals in self.ledger.signals_of(list(dict.fromkeys(media_ids))).items()
        }

    def _path(self, media_id: str, known: str) -> str:
        copies = self.ledger.paths_of([media_id]).get(media_id, [])
        return next((path for path in copies if is_there(path)), known)


def shots_in(
    frames: Sequence[FoundRow], vectors: Callable[[], Mapping[str, NDArray[np.float32]]]
) -> list[Span]:
    """The shots of a film by its frames, in order of time.

    Frames that say nothing of shots are joined by how alike they look, as their vectors tell.
    """
    if all(row.shot_start_s is not None for row in frames):
        known = {(row.shot_start_s or 0.0, row.shot_end_s or 0.0) for row in frames}
        return sorted(known)
    shots: list[Span] = []
    looks = vectors()
    first: NDArray[np.float32] | None = None  # frame of the shot
    for row in frames:
        if row.start_s is None or row.row_id not in looks:
            continue
        end_s, vector = row.start_s if row.end_s is None else row.end_s, looks[row.row_id]
        if shots and first is not None and float(first @ vector) >= SAME_SHOT:
            shots[-1] = shots[-1][0], max(end_s, shots[-1][1])
        else:
            shots.append((row.start_s, end_s))
            first = vector
    return shots


def nothing_beside(hit: Hit, which: Beside) -> str:
    """Say that a moment is the last or the first of its film."""
    span = format_span(hit.moment.start_s, hit.moment.end_s)
    return f"Nothing comes {which} {span} in {Path(hit.path).name}."


def in_time(hits: Sequence[Hit]) -> list[Hit]:
    """Hits in order of time within each film; films and photos in the order of their best."""
    first: dict[str, int] = {}
    for hit in hits:
        first.setdefault(hit.moment.media_id, len(first))
    return sorted(hits, key=lambda hit: (first[hit.moment.media_id], hit.moment.start_s or 0.0))


def _hit(hit: Hit, moment: Moment, timed: Sequence[Signal], reason: str, rank: int) -> Hit:
    """A moment of the film of a hit, with what is said or shown in it."""
    said = [signal.text for signal in timed if _is_inside(signal, moment)]
    return replace(
        hit,
        rank=rank,
        moment=moment,
        why={},
        reason=reason,
        text=" ".join(dict.fromkeys(said))[:_WORDS_CHARS] or None,
        at_s=((moment.start_s or 0.0) + (moment.end_s or 0.0)) / 2,
        alike=(),
    )


def _is_inside(signal: Signal, moment: Moment) -> bool:
    middle = sum(span_of(signal)) / 2
    return (moment.start_s or 0.0) <= middle <= (moment.end_s or 0.0)


def _same(one: Moment, other: Moment) -> bool:
    if one.media_id != other.media_id or one.start_s is None or other.start_s is None:
        return False
    middle = (one.start_s + (one.end_s or one.start_s)) / 2
    return other.start_s <= middle <= (other.end_s or other.start_s)
