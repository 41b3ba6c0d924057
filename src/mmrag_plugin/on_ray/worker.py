"""What runs on the nodes: an actor of Ray Data, which looks at media as one process alone would."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrag_plugin import __version__
from mmrag_plugin.content_hash import content_hash_of
from mmrag_plugin.errors import MmragError, ModelMismatch, ServiceError, unexpected
from mmrag_plugin.index_run import READ_STAMP
from mmrag_plugin.looks import LOOK_STAMP
from mmrag_plugin.on_ray.orders import (
    Answer,
    Equipment,
    Found,
    LearnedModel,
    Refused,
    Task,
    Work,
    media_of,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from mmrag_plugin.embeddings.base import VisualEncoder
    from mmrag_plugin.index_seeing import Seer
    from mmrag_plugin.signals.ocr import TextReader

_SAME_TIME_S = 2.0  # file systems keep times more or less exactly
# What a node has to have in common with the run, beside the stamps of its models.
VERSION = f"{__version__} ({READ_STAMP}, {LOOK_STAMP})"


def what_is_missing(places: Sequence[str]) -> tuple[str, list[str]]:
    """The version of mmrag on this node, and those of some paths that it does not see."""
    return VERSION, [place for place in places if not os.path.lexists(place)]


class Worker:
    """Does one kind of work on groups of media; what it needs is loaded with the first group."""

    def __init__(self, equipment: bytes, work: Work, node_names: dict[str, str], cores: int):
        self._equipment: Equipment = pickle.loads(equipment)  # noqa: S301  (from our own run)
        self._work, self._cores = work, cores
        self._names = node_names
        self._seer: Seer | None = None

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        """Answer groups: a column ``group`` of pickled tasks in, ``answer`` of answers out."""
        for group in batch.column("group").to_pylist():
            for answer in self._answers(pickle.loads(group)):  # noqa: S301
                yield _table(answer)

    def _answers(self, tasks: Sequence[Task]) -> Iterator[Answer | Refused]:
        node = _this_node(self._names)
        try:
            self._seer = self._seer or seer_of(self._equipment, self._work, node, self._cores)
        except Exception as error:
            yield Refused(_of_node(node, error))
            return
        seen, doubtful = list[Task](), set[str]()
        for task in tasks:
            media = media_of(task.wanted)
            try:
                if not is_as_known(task):
                    doubtful.add(media.media_id)
            except OSError as error:
                why = f"can't read {media.path} ({error.strerror})"
                yield Answer(media.media_id, 0, unseen=why, node=node)
            else:
                seen.append(task)
        numbers = dict[str, int]()
        try:
            with closing(_look(self._seer, self._work, seen)) as results:
                for found in results:
                    media = found.media
                    number = numbers.get(media.media_id, 0)
                    numbers[media.media_id] = number + 1
                    in_doubt = found.error is not None or (
                        media.media_id in doubtful and number == 0
                    )
                    content_hash = _content_hash(media.path) if in_doubt else ""
                    ends = getattr(found, "ends", True)
                    yield Answer(
                        media.media_id,
                        number,
                        _travelling(found),
                        ends,
                        content_hash=content_hash,
                        node=node,
                    )
        except Exception as error:  # not of one file: those come as its answer
            yield Refused(_of_node(node, error))


def _look(seer: Seer, work: Work, tasks: Iterable[Task]) -> Any:
    return getattr(seer, work)([task.wanted for task in tasks])


def is_as_known(task: Task) -> bool:
    """Whether a file that can be read looks like that which the run knows. Raises OSError."""
    with Path(media_of(task.wanted).path).open("rb") as file:
        file.read(1)
        about = os.fstat(file.fileno())
    return about.st_size == task.size_bytes and abs(about.st_mtime - task.changed_s) < _SAME_TIME_S


def seer_of(equipment: Equipment, work: Work, node: str, cores: int) -> Seer:
    """Build who looks at media on this node. Raises ModelMismatch for models that differ."""
    from mmrag_plugin.index_seeing_here import SeesHere

    visual = _visual(equipment) if work == "see" else None
    reader = _text_reader(equipment, cores) if work == "read_text" else None
    for what, made, wanted in (
        ("visual model", visual, equipment.visual_stamp),
        ("reader of text", reader, equipment.ocr_stamp),
    ):
        if made is not None and made.stamp != wanted:
            raise ModelMismatch(
                f"The {what} of the node {node} is another one than here "
                f"({made.stamp}, not {wanted}).",
                "Install the same models, and the same versions of mmrag and its packages, on all "
                "nodes.",
            )
    return SeesHere(equipment.readers, visual, reader, decoders=cores)  # type: ignore[arg-type]


def _of_node(node: str, error: Exception) -> MmragError:
    """An error that says on which node it came about, and can be pickled."""
    if isinstance(error, ModelMismatch):
        return error
    if isinstance(error, MmragError):
        return type(error)(f"On the node {node}: {error.message}", error.remedy)
    return ServiceError(
        f"The node {node} can't work ({type(error).__name__}: {error}).",
        "Nothing is lost: mend it there, or take it out of the cluster, and run mmrag index again.",
    )


def _visual(equipment: Equipment) -> VisualEncoder:
    from mmrag_plugin.embeddings.choose import choose_visual, learned_visual

    wanted, home = equipment.visual, equipment.models_home
    if isinstance(wanted, LearnedModel):
        return learned_visual(
            wanted.base,
            wanted.content,
            base_stamp=wanted.base_stamp,
            digest=wanted.digest,
            models_home=home,
            dtype=equipment.dtype,
            device=equipment.device,
        )
    return choose_visual(wanted, models_home=home, dtype=equipment.dtype, device=equipment.device)[
        0
    ]


def _text_reader(equipment: Equipment, cores: int) -> TextReader:
    from mmrag_plugin.signals.ocr_choice import choose_reader

    return choose_reader(
        equipment.ocr_languages,
        equipment.ocr_models,
        models_home=equipment.models_home,
        threads=cores,
    ).reader


def _content_hash(path: str) -> str:
    try:
        return content_hash_of(Path(path))
    except OSError:
        return "gone"


def _this_node(names: dict[str, str]) -> str:
    import ray

    node_id: str = ray.get_runtime_context().get_node_id()
    return names.get(node_id, node_id)


def _table(answer: Answer | Refused) -> pa.Table:
    import pyarrow as pa

    return pa.table({"answer": pa.array([pickle.dumps(answer)], pa.binary())})


def _travelling(found: Found) -> Found:
    """What was found, with an error that can be pickled: foreign ones may hold what they like.

    It reads as it would without a cluster.
    """
    if found.error is None or isinstance(found.error, MmragError):
        return found
    return replace(found, error=unexpected(found.media.path, found.error))
