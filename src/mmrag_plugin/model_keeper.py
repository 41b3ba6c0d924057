"""Models that stay loaded between commands: the way to the process that keeps them.

A command in a terminal lives for a second, and loading a model takes several. So a small process
beside the libraries of a home (``SharedProcess``) loads them as the library itself would, keeps
those last used, and turns the words and pictures of queries into vectors for the commands that come
within the next minutes. Its vectors are those that the models give in the command's own process,
bit by bit. Where it is not to be had, or breaks, the command loads the models itself.

A message is a head in JSON and a body of bytes, both preceded by their lengths; a call is a
connection of its own, with a time limit.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import struct
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrag_plugin import __version__
from mmrag_plugin.embeddings.asked_before import AskedBefore
from mmrag_plugin.errors import MmragError, ServiceError
from mmrag_plugin.shared_process import SharedProcess

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    from mmrag_plugin.embeddings.seam import TextModel, VisualModel
    from mmrag_plugin.settings import Settings

KEEPER_FOLDER = ".keeper"  # beside the libraries; a library's name begins with no dot
START_S = 20.0
PROBE_S = 2.0
FROZEN_S = 4.0
LOAD_S = 180.0  # a model of gigabytes from a slow disk
EMBED_S = 60.0
MAX_HEAD_BYTES, MAX_BODY_BYTES = 1 << 20, 1 << 28
_LENGTHS = struct.Struct(">IQ")
# A process that was started with others of these would find, or calculate with, something else.
_MATTERING = (
    "HF_ HUGGINGFACE_ TRANSFORMERS_ CUDA_ OMP_ MKL_ OPENBLAS_ TORCH_ PYTORCH_ ORT_ OLLAMA_ "
    "PYTHONPATH XDG_CACHE_HOME"
).split()

_NO_FOLDERS = ("auto", "palette", "off", "visual")  # whatever lies in the current folder

logger = logging.getLogger("mmrag.models")


class KeeperLost(Exception):
    """The keeper is not there, does not answer, or is no use to this process."""


def keeper_of(home: Path) -> SharedProcess:
    """The keeper of a home, running or not."""
    return SharedProcess(
        home.resolve() / KEEPER_FOLDER,
        "keeper",
        "mmrag_plugin.model_keeper_process",
        does="keeps models loaded",
    )


def surroundings() -> dict[str, str]:
    """What must be the same on both sides, so that a model is the same model."""
    mattering = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(tuple(_MATTERING)) and value
    }
    return {**mattering, "": f"{__version__} {sys.prefix} {Path(__file__).resolve().parent}"}


def send(link: socket.socket, head: dict[str, Any], body: bytes = b"") -> None:
    """Send one message."""
    text = json.dumps(head).encode()
    link.sendall(_LENGTHS.pack(len(text), len(body)) + text)
    if body:
        link.sendall(body)


def receive(
    link: socket.socket, admitted: Callable[[dict[str, Any]], bool] = lambda _: True
) -> tuple[dict[str, Any], bytes]:
    """Receive one message; the body only when its head is ``admitted``. Raises KeeperLost."""
    head_bytes, body_bytes = _LENGTHS.unpack(_exactly(link, _LENGTHS.size))
    if head_bytes > MAX_HEAD_BYTES or body_bytes > MAX_BODY_BYTES:
        raise KeeperLost("a message is too long")
    head = json.loads(_exactly(link, head_bytes))
    if not isinstance(head, dict) or not admitted(head):
        raise KeeperLost("a message is none of ours")
    return head, _exactly(link, body_bytes)


def _exactly(link: socket.socket, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        part = link.recv(min(count - len(parts), 1 << 20))
        if not part:
            raise KeeperLost("the other side hung up")
        parts += part
    return bytes(parts)


class ModelKeeper:
    """The keeper of the home that settings name, started when it is first needed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._shared = keeper_of(settings.home)
        self._found: dict[str, Any] | None = None

    def open(self) -> KeptModels | None:
        """Have the models of the library loaded; None where no keeper can do it.

        Raises what loading them here would raise.
        """
        try:
            told, _ = self._opened()
        except (KeeperLost, OSError, ValueError) as error:
            logger.info("models are loaded here: %s", error)
            return None
        return KeptModels(self, told)

    def call(
        self, head: dict[str, Any], body: bytes = b"", *, timeout_s: float = EMBED_S
    ) -> tuple[dict[str, Any], bytes]:
        """Ask the keeper that ``open`` found. Raises KeeperLost, OSError, or the error it tells."""
        if self._found is None:
            raise KeeperLost("there is none")
        return ask(self._found, {**head, "keep_s": self._settings.keep_models}, body, timeout_s)

    def again(self, head: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        """Ask, and once more of a new keeper where the old one has left. Raises KeeperLost."""
        try:
            try:
                return self.call(head, body)
            except (KeeperLost, OSError, ValueError):
                told, _ = self._opened()
                if told["key"] != head["key"]:
                    raise KeeperLost("the library has other models by now") from None
                return self.call(head, body)
        except (OSError, ValueError) as error:
            raise KeeperLost(str(error)) from error

    def _opened(self) -> tuple[dict[str, Any], bytes]:
        self._found = self._find_or_start()
        settings = self._settings.model_dump(mode="json", exclude={"milvus_token", "token"})
        settings |= _from_anywhere(self._settings)
        head = {"call": "open", "settings": settings, "surroundings": surroundings()}
        return self.call(head, timeout_s=LOAD_S)

    def _find_or_start(self) -> dict[str, Any]:
        if not hasattr(socket, "AF_UNIX"):
            raise KeeperLost("there are no unix sockets here")
        try:
            return self._shared.find_or_start(
                answers,
                start_timeout_s=START_S,
                frozen_s=FROZEN_S,
                idle_s=self._settings.keep_models,
            )
        except MmragError as error:  # no process may start, or the home can't be written
            raise KeeperLost(str(error)) from error


def _from_anywhere(settings: Settings) -> dict[str, str]:
    """The settings that name folders, so that they name the same ones from any current folder."""
    absolute = {"home": str(settings.home.absolute())}
    for name in ("visual_model", "text_model"):
        setting = getattr(settings, name)
        with contextlib.suppress(RuntimeError):  # ~nobody
            folder = Path(setting).expanduser()
            if setting not in _NO_FOLDERS and folder.is_dir():
                absolute[name] = str(folder.resolve())
    return absolute


def ask(
    found: dict[str, Any], head: dict[str, Any], body: bytes, timeout_s: float
) -> tuple[dict[str, Any], bytes]:
    """One call. Raises KeeperLost, OSError when it breaks, and the MmragError that is told."""
    deadline = time.monotonic() + timeout_s
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(timeout_s)
        link.connect(found["uri"].removeprefix("unix:"))
        send(link, {**head, "token": found["token"]}, body)
        link.settimeout(max(0.1, deadline - time.monotonic()))
        told, answer = receive(link)
    if "error" in told:
        raise _error(told["error"])
    if "lost" in told:
        raise KeeperLost(told["lost"])
    return told, answer


def answers(found: dict[str, Any]) -> bool:
    """Whether a keeper lives at an address."""
    try:
        ask(found, {"call": "probe"}, b"", PROBE_S)
    except (KeeperLost, OSError, ValueError):
        return False
    return True


def kept(home: Path) -> dict[str, Any] | None:
    """What the keeper of a home holds: ``pid``, ``models``, ``memory_bytes``, ``leaves_in_s``.

    None where there is none; nothing is started for this.
    """
    shared = keeper_of(home)
    found = shared.published() if shared.directory.is_dir() else None
    try:
        return None if found is None else ask(found, {"call": "probe"}, b"", PROBE_S)[0]
    except (KeeperLost, OSError, ValueError):
        return None


def unload(home: Path) -> bool:
    """End the keeper of a home; False where there was none. Raises ServiceError if it can't be."""
    shared = keeper_of(home)
    if sys.platform == "win32" or not shared.directory.is_dir() or not shared.is_running():
        return False
    with shared.paused():
        return True


class KeptModels:
    """The models of a library in the keeper, as its searches use them.

    What breaks later is loaded in this process by the ``here`` that comes with it.
    """

    def __init__(self, keeper: ModelKeeper, told: dict[str, Any]) -> None:
        self.model: dict[str, Any] = told["model"]  # which model made the frames' vectors
        self.warnings: list[str] = told["warnings"]
        self.told = told
        self._keeper = keeper

    def visual(self, here: Callable[[], VisualModel]) -> VisualModel:
        """The visual model; ``here`` loads it in this process."""
        return KeptVisual(self._keeper, self.told, here)

    def text(self, here: Callable[[], TextModel | None]) -> TextModel | None:
        """The text model, if there is one; ``here`` loads it in this process."""
        return None if self.told["text"] is None else KeptText(self._keeper, self.told, here)


class KeptVisual:
    """A visual model in the keeper, as ``embeddings.seam.VisualModel``."""

    def __init__(
        self, keeper: ModelKeeper, told: dict[str, Any], here: Callable[[], VisualModel]
    ) -> None:
        self._keeper, self._key, self._load = keeper, told["key"], here
        self._here: VisualModel | None = None
        about = told["visual"]
        self.stamp: str = about["stamp"]
        self.setting: str = about["setting"]
        self.model_name: str = about["model_name"]
        self.dim: int = about["dim"]
        self.input_px: int = about["input_px"]
        self.max_tokens: int = about["max_tokens"]
        self.compares_texts: bool = about["compares_texts"]
        self.query_vector = AskedBefore(lambda query: self.embed_texts([query])[0].copy())

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts: [n, dim], as the model does."""
        return self._rows(
            {"call": "texts"},
            json.dumps(list(texts)).encode(),
            lambda model: model.embed_texts(texts),
        )

    def embed_pictures(self, pictures: Sequence[Image]) -> NDArray[np.float32]:
        """Embed upright RGB pictures: [n, dim], as the model does."""
        pixels = [picture.convert("RGB") for picture in pictures]
        sizes = [picture.size for picture in pixels]
        if sum(3 * width * height for width, height in sizes) > MAX_BODY_BYTES:
            return self._loaded().embed_pictures(pictures)
        return self._rows(
            {"call": "pictures", "sizes": sizes},
            b"".join(picture.tobytes() for picture in pixels),
            lambda model: model.embed_pictures(pictures),
        )

    def understands(self, text: str) -> bool:
        """Whether the model has anything to say about a query."""
        if self._here is None:
            try:
                head = {"call": "understands", "key": self._key}
                told, _ = self._keeper.again(head, json.dumps(text).encode())
                return told["understood"] is True
            except KeeperLost as error:
                logger.info("the keeper of models broke: %s", error)
        return self._loaded().understands(text)

    def _rows(
        self,
        head: dict[str, Any],
        body: bytes,
        here: Callable[[VisualModel], NDArray[np.float32]],
    ) -> NDArray[np.float32]:
        if self._here is None:
            try:
                return rows_of(*self._keeper.again({**head, "key": self._key}, body))
            except KeeperLost as error:
                logger.info("the keeper of models broke: %s", error)
        return here(self._loaded())

    def _loaded(self) -> VisualModel:
        if self._here is None:
            here = self._load()
            _must_be(self.stamp, here.stamp)
            self._here = here
        return self._here


class KeptText:
    """A text model in the keeper, as ``embeddings.seam.TextModel``."""

    def __init__(
        self, keeper: ModelKeeper, told: dict[str, Any], here: Callable[[], TextModel | None]
    ) -> None:
        self._keeper, self._key, self._load = keeper, told["key"], here
        self._here: TextModel | None = None
        about = told["text"]
        self.stamp: str = about["stamp"]
        self.setting: str = about["setting"]
        self.dim: int = about["dim"]
        self.query_vector = AskedBefore(self._query_vector)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts as documents: [n, dim], as the model does."""
        return self._rows("documents", list(texts), lambda model: model.embed(texts))

    def _query_vector(self, query: str) -> NDArray[np.float32]:
        rows = self._rows("query", query, lambda model: model.query_vector(query)[None])
        vector: NDArray[np.float32] = rows[0].copy()
        return vector

    def _rows(
        self, call: str, asked: Any, here: Callable[[TextModel], NDArray[np.float32]]
    ) -> NDArray[np.float32]:
        if self._here is None:
            try:
                head = {"call": call, "key": self._key}
                return rows_of(*self._keeper.again(head, json.dumps(asked).encode()))
            except KeeperLost as error:
                logger.info("the keeper of models broke: %s", error)
            model = self._load()
            _must_be(self.stamp, model.stamp if model else "")
            self._here = model
        assert self._here is not None
        return here(self._here)


def _must_be(expected: str, stamp: str) -> None:
    """Raise ServiceError where a model loaded late is not the one whose place it takes."""
    if stamp != expected:
        raise ServiceError("The library has another model by now.", "Search again.")


def rows_of(told: dict[str, Any], body: bytes) -> NDArray[np.float32]:
    """The vectors in an answer. Raises KeeperLost where it holds none."""
    import numpy as np

    try:
        return np.frombuffer(body, np.dtype(told["type"])).reshape(told["shape"]).copy()
    except (KeyError, TypeError, ValueError) as error:
        raise KeeperLost(f"its vectors are none: {error}") from error


def _error(told: dict[str, str]) -> MmragError:
    """The error that the keeper met, as the member of the family that it was."""
    families = [MmragError]
    while families:
        family = families.pop()
        if family.kind == told["kind"]:
            return family(told["message"], told["remedy"])
        families += family.__subclasses__()
    return ServiceError(told["message"], told["remedy"])
