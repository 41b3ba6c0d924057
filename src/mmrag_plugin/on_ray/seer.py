"""Who has media looked at on a Ray cluster, for the process that holds ledger and stores."""

from __future__ import annotations

import math
import os
import pickle
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from mmrag_plugin.child_process import start_child
from mmrag_plugin.content_hash import content_hash_of
from mmrag_plugin.errors import IndexStopped, MissingExtra, MmragError, ServiceError
from mmrag_plugin.index_seeing import FoundText, ReadMedia, SeenMedia, Seer, TextWanted
from mmrag_plugin.ledger_database import batches
from mmrag_plugin.on_ray.conductor import (
    Do,
    Done,
    Open,
    Opened,
    require_listener,
    require_ray,
)
from mmrag_plugin.on_ray.orders import (
    Answer,
    Equipment,
    Refused,
    Task,
    Wanted,
    Work,
    media_of,
)

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from mmrag_plugin.ledger import MediaRow

_BOOTSTRAP = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from mmrag_plugin.on_ray.conductor import main; main()"
)
_OPENS_WITHIN_S = 120.0  # importing Ray, joining the cluster, and an answer of each node
_LOOK_S = 0.2  # between two looks whether the run shall stop
_GRACE_S = 5.0
_AT_ONCE = 20_000  # media that are handed to the cluster together; workers load models for each lot
_GROUPS = {"read": 64, "see": 256, "read_text": 16}  # pictures that a worker is given together
_GROUPS_EACH = 4  # at least, for each worker, so that all have something to do to the end
_FEW = 8  # pictures are looked at here before a cluster has started a worker
_TRIES = 3  # of a media that workers end over
_SAMPLES = 3  # entries of a folder that a node must see

_F = TypeVar("_F", ReadMedia, SeenMedia, FoundText)


class SeesOnRay(Seer):
    """Looks at media on the nodes of a Ray cluster that see them at the same paths.

    What no node can look at is looked at ``here``, and so are a few pictures alone. The cluster is
    joined with the first media for it, in whichever method: that raises ServiceError when it does
    not answer, or none of its nodes can work. Raises MissingExtra without Ray, UsageError for what
    is no address, ServiceError when nothing listens there.
    """

    def __init__(
        self,
        address: str,
        equipment: Equipment,
        here: Seer,
        roots: Iterable[Path],
        stop: threading.Event | None = None,
    ) -> None:
        self.equipment = pickle.dumps(equipment)
        self._here, self._stop = here, stop
        self._open = Open(address, tuple(_places(roots)))
        self._child: tuple[subprocess.Popen[bytes], Connection] | None = None
        self._opened: Opened | None = None
        self._unseen: dict[str, list[str]] = {}  # why, by node
        require_ray()
        require_listener(address)

    @property
    def warnings(self) -> list[str]:
        """What the person should know of the cluster."""
        done_here = [
            f"The node {node} {whys[0]}"
            + (f", and {len(whys) - 1} more such" if len(whys) > 1 else "")
            + ". What it could not look at was looked at here."
            for node, whys in self._unseen.items()
        ]
        left_out = () if self._opened is None else self._opened.warnings
        return [*left_out, *done_here]

    def note_unseen(self, node: str, why: str) -> None:
        """Keep in mind what a node could not look at."""
        self._unseen.setdefault(node, []).append(why)

    def close(self) -> None:
        """Leave the cluster; workers that are at something end."""
        if self._child is None:
            return
        (process, connection), self._child = self._child, None
        connection.close()  # that ends it
        try:
            process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def read(self, media: Iterable[MediaRow]) -> Generator[ReadMedia, None, None]:
        """Collect what files say about themselves, in any order."""
        return self._found("read", media, self._here.read)

    def see(self, media: Iterable[MediaRow]) -> Generator[SeenMedia, None, None]:
        """Decode and embed, in any order; the pieces of a film come in theirs."""
        return self._found("see", media, self._here.see)

    def read_text(self, wanted: Iterable[TextWanted]) -> Generator[FoundText, None, None]:
        """Read the text in pictures and films, in any order."""
        return self._found("read_text", wanted, self._here.read_text)

    def _found(
        self, work: Work, wanted: Iterable[Any], here: Callable[..., Generator[_F, None, None]]
    ) -> Generator[_F, None, None]:
        lots = iter(wanted)
        while lot := list(islice(lots, _AT_ONCE)):
            if len(lot) <= _FEW and all(media_of(one).kind == "image" for one in lot):
                with closing(here(lot)) as found:
                    yield from found
                continue
            yield from _Lot(self, work, lot, here).found()

    def joined(self) -> Opened:
        """Join the cluster, in a process that talks to Ray, unless that was done."""
        if self._child is None:
            self._child = start_child(_BOOTSTRAP)
            self.send(self._open)
            heard = self.hear(_OPENS_WITHIN_S)
            if not isinstance(heard, Opened):
                self.close()
                raise heard
            self._opened = heard
        assert self._opened is not None
        return self._opened

    def send(self, request: Open | Do) -> None:
        """Ask for something; what comes of it is heard one by one."""
        assert self._child is not None
        try:
            self._child[1].send(request)
        except OSError:
            raise self._gone() from None

    def hear(self, within_s: float = math.inf) -> Any:
        """Wait for what comes next. Raises IndexStopped when the run shall stop."""
        assert self._child is not None
        connection = self._child[1]
        waited_s = 0.0
        try:
            while not connection.poll(_LOOK_S):
                waited_s += _LOOK_S
                if self._stop is not None and self._stop.is_set():
                    raise IndexStopped(
                        "Stopped before the end.", "The next run goes on; nothing is lost."
                    )
                if waited_s > within_s:
                    self.close()
                    raise ServiceError(
                        f"The Ray cluster {self._open.address} did not answer within "
                        f"{within_s:g} s.",
                        "See whether it is well: ray status",
                    )
            return connection.recv()
        except (EOFError, OSError):
            raise self._gone() from None
        except MmragError:
            raise
        except Exception as error:  # what can't be unpickled raises nearly anything
            self.close()
            raise ServiceError(
                f"What came from the Ray cluster {self._open.address} can't be understood "
                f"({type(error).__name__}: {error}).",
                "Install the same versions of mmrag and its packages on all nodes.",
            ) from error

    def _gone(self) -> ServiceError:
        self.close()
        return ServiceError(
            f"The connection to the Ray cluster {self._open.address} is lost.",
            "Nothing else is: run mmrag index again when it is there.",
        )


class _Lot(Generic[_F]):
    """Media that are handed to the cluster together, until each of them has its answer."""

    def __init__(
        self,
        seer: SeesOnRay,
        work: Work,
        lot: Sequence[Wanted],
        here: Callable[..., Generator[_F, None, None]],
    ) -> None:
        self._seer, self._work = seer, work
        self._look_here: Callable[..., Generator[_F, None, None]] = here
        self._owed = {media_of(wanted).media_id: wanted for wanted in lot}
        self._given = Counter[str]()  # pieces that came, of each media
        self._unseen = list[Wanted]()

    def found(self) -> Generator[_F, None, None]:
        """Yield what is found, whoever finds it."""
        heard = False
        try:
            for _ in range(_TRIES):
                lost = yield from self._tried()
                if not self._owed:
                    break
            heard = True
        finally:
            if not heard:
                self._seer.close()  # what workers are at is of no use to anybody
        yield from self._seen_here()
        if self._owed:
            some = ", ".join(media_of(wanted).path for wanted in islice(self._owed.values(), 3))
            raise ServiceError(
                f"Workers of the Ray cluster ended over {len(self._owed)} media, {_TRIES} times "
                f"(such as {some}){f': {lost}' if lost else '.'}",
                "What is done is kept. They may have too little memory; without --ray these are "
                "done here.",
            )

    def _tried(self) -> Generator[_F, None, str]:
        """Hand out once what is still owed; returns why some of it was lost."""
        groups = self._groups(self._seer.joined().workers)
        self._seer.send(Do(self._work, self._seer.equipment, groups))
        heard = self._seer.hear()
        while not isinstance(heard, Done):
            if isinstance(heard, Refused):
                raise heard.error
            if isinstance(heard, MmragError):
                raise heard
            yield from self._taken(heard)
            heard = self._seer.hear()
        return heard.lost

    def _groups(self, workers: int) -> list[bytes]:
        """What is still owed, as workers are given it: some pictures together, films alone."""
        pictures, groups = list[Task](), list[list[Task]]()
        for wanted in self._owed.values():
            task = _task(wanted)
            if media_of(wanted).kind == "image":
                pictures.append(task)
            else:
                groups.append([task])
        each = -(-len(pictures) // (workers * _GROUPS_EACH))
        groups += batches(pictures, max(min(each, _GROUPS[self._work]), 1))
        return [pickle.dumps(group) for group in groups]

    def _taken(self, answer: Answer) -> Iterator[_F]:
        """Take in one answer: yield what it brings, once, or note that no node can look."""
        media_id = answer.media_id
        wanted = self._owed.get(media_id)
        if wanted is None or answer.number != self._given[media_id]:
            return  # it came before the worker that was at it ended
        if why := self._why_unseen(answer, media_of(wanted).path):
            del self._owed[media_id]
            self._unseen.append(wanted)
            self._seer.note_unseen(answer.node, why)
            return
        self._given[media_id] += 1
        if answer.ends:
            del self._owed[media_id]
        found = cast("_F", answer.found)
        yield replace(found, media=media_of(wanted))  # as it was asked, whatever came back

    def _why_unseen(self, answer: Answer, path: str) -> str:
        """Why what a node says about a file counts for nothing; empty when it counts."""
        if answer.found is None:
            return answer.unseen
        if isinstance(answer.found.error, MissingExtra):
            return f"can't read {path}: {answer.found.error.message}"
        if answer.content_hash and answer.content_hash != _content_hash(path):
            return f"sees another file at {path}"
        return ""

    def _seen_here(self) -> Iterator[_F]:
        """Look here at what nodes could not look at; pieces that they gave before are left out."""
        with closing(self._look_here(self._unseen)) as results:
            numbers = Counter[str]()
            for found in results:
                media_id = found.media.media_id
                if found.error is not None or numbers[media_id] >= self._given[media_id]:
                    yield found
                numbers[media_id] += 1


def _task(wanted: Wanted) -> Task:
    try:
        about = Path(media_of(wanted).path).stat()
    except OSError:  # it went this moment: no node will see it, and it is looked for here
        return Task(wanted, -1, 0.0)
    return Task(wanted, about.st_size, about.st_mtime)


def _places(roots: Iterable[Path]) -> Iterator[str]:
    """What a node must see: folders, and a few names in them, for a drive may not be mounted."""
    for root in roots:
        yield str(root)
        if root.is_dir():
            with suppress(OSError), os.scandir(root) as entries:
                yield from (entry.path for entry in islice(entries, _SAMPLES))


def _content_hash(path: str) -> str:
    try:
        return content_hash_of(Path(path))
    except OSError:
        return ""
