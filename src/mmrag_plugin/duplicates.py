"""Which photos are nearly the same: smaller or recompressed twins, and bursts.

Nothing here grows with the square of the library: twins are looked for among photos whose hashes
agree in two of eight bytes, bursts among photos that follow each other in time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations, pairwise
from typing import TYPE_CHECKING, Literal

from mmrag_plugin.looks import COLOUR_BYTES, HASH_BYTES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mmrag_plugin.ledger_looks import GroupMember

# Of 1,290 different photos, pairs within these bounds are the same scene a moment later, and no
# other is; a photo of a quarter of the size, or saved with quality 30, differs by at most 2 bits.
TWIN_BITS = 6  # of 64 that may differ
TWIN_COLOUR = 24  # of 255 by which the colour of a quarter may differ
BURST_BITS = 22  # unrelated photos differ by 32
BURST_COLOUR = 64
BURST_GAP_S = 2.0
_COMPARED = 32  # with how many followers among those whose two bytes agree: a bound for odd sets

GroupKind = Literal["twins", "burst"]
_ORDER = ("copies", "twins", "burst")


@dataclass(frozen=True)
class Looked:
    """A photo as far as its twins and bursts go; ``look`` as ``looks.look_of`` has it."""

    media_id: str
    look: str
    taken_at: str | None
    camera: str


@dataclass(frozen=True)
class DuplicateFile:
    """One file of a group."""

    path: str
    media_id: str
    width_px: int
    height_px: int
    size_bytes: int
    taken_at: str | None


@dataclass(frozen=True)
class DuplicateGroup:
    """Files that are the same (``copies``) or nearly the same, the one to keep first.

    That is the one with most pixels, then with most bytes, then with the shortest path.
    """

    kind: str
    files: tuple[DuplicateFile, ...]

    @property
    def spare_bytes(self) -> int:
        """What all files but the first take up."""
        return sum(file.size_bytes for file in self.files[1:])

    def as_dict(self) -> dict[str, object]:
        """The shape that ``--json`` prints."""
        return {"kind": self.kind, "files": [vars(file) for file in self.files]}


def listed(members: Iterable[GroupMember]) -> list[DuplicateGroup]:
    """Put the members of groups together; copies first, then what takes up most."""
    files: dict[tuple[str, str], list[DuplicateFile]] = {}
    for member in members:
        file = DuplicateFile(
            member.path,
            member.media_id,
            member.width_px,
            member.height_px,
            member.size_bytes,
            member.taken_at,
        )
        files.setdefault((member.kind, member.group_id), []).append(file)
    groups = [
        DuplicateGroup(kind, tuple(sorted(of_group, key=_worth)))
        for (kind, _), of_group in files.items()
    ]
    return sorted(groups, key=lambda group: (_ORDER.index(group.kind), -group.spare_bytes))


def _worth(file: DuplicateFile) -> tuple[int, int, int, str]:
    return -file.width_px * file.height_px, -file.size_bytes, len(file.path), file.path


def grouped(photos: Sequence[Looked]) -> dict[str, tuple[str, GroupKind]]:
    """The group and its kind, by media, of photos that have others much like them.

    A group is named by its smallest media id. It is a burst if any two of it are of one.
    """
    groups = _Groups()
    if not photos:
        return {}
    looks = _looks(photos)
    for first, second in _equal(looks):
        groups.join(photos[first].media_id, photos[second].media_id, "twins")
    for first, second in _near(looks):
        groups.join(photos[first].media_id, photos[second].media_id, "twins")
    for first, second in _following(photos):
        if _alike(looks[first], looks[second], BURST_BITS, BURST_COLOUR).all():
            groups.join(photos[first].media_id, photos[second].media_id, "burst")
    return groups.by_media()


def _looks(photos: Sequence[Looked]) -> NDArray[np.uint8]:
    """The looks as bytes, one row each."""
    import numpy as np

    digits = bytes.fromhex("".join(photo.look for photo in photos))
    return np.frombuffer(digits, np.uint8).reshape(len(photos), HASH_BYTES + COLOUR_BYTES)


def _alike(
    some: NDArray[np.uint8], others: NDArray[np.uint8], bits: int, colour: int
) -> NDArray[np.bool_]:
    """Whether looks are within bounds of others, row by row."""
    import numpy as np

    apart = np.bitwise_count(some[..., :HASH_BYTES] ^ others[..., :HASH_BYTES]).sum(axis=-1)
    colours = some[..., HASH_BYTES:].astype(np.int16) - others[..., HASH_BYTES:]
    close: NDArray[np.bool_] = (apart <= bits) & (np.abs(colours).max(axis=-1) <= colour)
    return np.atleast_1d(close)


def _equal(looks: NDArray[np.uint8]) -> Iterator[tuple[int, int]]:
    """Photos with the very same look, each with the first of them: black ones are many."""
    import numpy as np

    _, first, which = np.unique(looks, axis=0, return_index=True, return_inverse=True)
    of_first = first[which.ravel()]
    others = np.flatnonzero(of_first != np.arange(len(looks)))
    return zip(of_first[others].tolist(), others.tolist(), strict=True)


def _near(looks: NDArray[np.uint8]) -> Iterator[tuple[int, int]]:
    """Pairs of twins with different looks.

    With at most 6 bits in other bytes, two of the eight of a hash are as they were: twins stand
    close together when the hashes are sorted by these two.
    """
    import numpy as np

    unique, first = np.unique(looks, axis=0, return_index=True)
    for one, other in combinations(range(HASH_BYTES), 2):
        key = unique[:, one].astype(np.uint32) << 8 | unique[:, other]
        order = np.argsort(key, kind="stable")  # by the whole look, where the key is the same
        ranked = key[order]
        for step in range(1, _COMPARED + 1):
            same = np.flatnonzero(ranked[step:] == ranked[:-step])
            if not same.size:
                break
            some, others = order[same], order[same + step]
            close = _alike(unique[some], unique[others], TWIN_BITS, TWIN_COLOUR)
            yield from zip(first[some[close]].tolist(), first[others[close]].tolist(), strict=True)


def _following(photos: Sequence[Looked]) -> Iterator[tuple[int, int]]:
    """Pairs of photos that one camera took one right after the other."""
    timed = sorted(
        (photo.camera, at, number)
        for number, photo in enumerate(photos)
        if (at := _second(photo.taken_at)) is not None
    )
    for (camera, before, first), (same_camera, after, second) in pairwise(timed):
        if camera == same_camera and (after - before).total_seconds() <= BURST_GAP_S:
            yield first, second


def _second(taken_at: str | None) -> datetime | None:
    """When a photo was taken, on its camera's clock; None where only the day is known."""
    if taken_at is None or "T" not in taken_at:
        return None
    try:
        return datetime.fromisoformat(taken_at.replace("Z", "+00:00")).replace(tzinfo=None)
    except ValueError:
        return None


class _Groups:
    """Sets of media that grow together (union-find)."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}
        self._bursts: set[str] = set()

    def join(self, first: str, second: str, kind: GroupKind) -> None:
        roots = sorted((self._root(first), self._root(second)))
        self._parent[roots[1]] = roots[0]
        if kind == "burst":
            self._bursts.add(first)

    def by_media(self) -> dict[str, tuple[str, GroupKind]]:
        bursts = {self._root(media_id) for media_id in self._bursts}
        return {
            media_id: (root, "burst" if root in bursts else "twins")
            for media_id in self._parent
            for root in (self._root(media_id),)
        }

    def _root(self, media_id: str) -> str:
        self._parent.setdefault(media_id, media_id)
        while (parent := self._parent[media_id]) != media_id:
            self._parent[media_id] = self._parent[parent]  # halve the way for the next
            media_id = parent
        return media_id
