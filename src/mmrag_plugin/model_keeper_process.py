"""The process that keeps models loaded; see ``model_keeper``. Imported by that process only."""

from __future__ import annotations

import argparse
import hmac
import json
import logging
import os
import shutil
import socketserver
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrag_plugin.errors import MmragError, ServiceError
from mmrag_plugin.model_keeper import KeeperLost, keeper_of, receive, send, surroundings
from mmrag_plugin.shared_process import SharedProcess, new_socket_path, new_token, stop_by_signals

if TYPE_CHECKING:
    import numpy as np

    from mmrag_plugin.embeddings.base import TextEncoder, VisualEncoder
    from mmrag_plugin.library_models import LibraryModels, Loaded
    from mmrag_plugin.settings import Settings

MAX_KEPT = 2  # pairs of a visual and a text model
HANG_UP_S = 30.0  # a caller that says nothing for so long has gone
# of the settings, those that say which model it is and how it runs
_CHOOSING = ("visual_model", "ollama_host", "allow_remote", "dtype", "device")

logger = logging.getLogger("mmrag.models")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a keeper: ``python -m mmrag_plugin.model_keeper_process DIRECTORY``."""
    parser = argparse.ArgumentParser(prog="model_keeper", description="Keep models loaded.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--idle-s", type=float, default=300.0)
    parser.add_argument("--detach", action="store_true", help="leave the starter's process tree")
    options = parser.parse_args(arguments)
    shared = keeper_of(options.directory.parent)
    return shared.become(lambda: _serve(shared, options.idle_s), detach=options.detach)


def _serve(shared: SharedProcess, idle_s: float) -> None:
    stop = threading.Event()
    stop_by_signals(stop)
    path = new_socket_path("keeper")
    if path is None:
        raise ServiceError("There is no place for a unix socket.")
    keeper, token = Keeper(idle_s), new_token()
    try:
        with _Server(str(path), keeper, token) as server:
            path.chmod(0o600)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            published = shared.publish(f"unix:{path}", token)
            logger.info("serving at %s", path)
            shared.wait(stop, keeper.idle_s, lambda: keeper.keep_s, published, path)
            shared.withdraw(published)
            server.shutdown()
    finally:
        shutil.rmtree(path.parent, ignore_errors=True)
    logger.info("closed")
    logging.shutdown()
    os._exit(0)  # threads of the models' libraries may hang at an orderly end


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, path: str, keeper: Keeper, token: str) -> None:
        super().__init__(path, _Handler)
        self.keeper, self.token = keeper, token


class _Handler(socketserver.BaseRequestHandler):
    server: _Server

    def handle(self) -> None:
        """Answer one call of whoever has the token."""
        self.request.settimeout(HANG_UP_S)
        try:
            head, body = receive(self.request, self._has_token)
        except (KeeperLost, OSError, ValueError):
            return
        try:
            told, answer = self.server.keeper.answer(head, body)
        except MmragError as error:
            told, answer = {"error": error.as_dict()}, b""
        except KeeperLost as error:
            told, answer = {"lost": str(error)}, b""
        except Exception as error:  # the caller loads the model itself, and meets it there
            logger.exception("%s failed", head.get("call"))
            told, answer = {"lost": f"{type(error).__name__}: {error}"}, b""
        try:
            send(self.request, told, answer)
        except OSError:
            logger.info("a caller of %s has gone", head.get("call"))

    def _has_token(self, head: dict[str, Any]) -> bool:
        return hmac.compare_digest(str(head.get("token")).encode(), self.server.token.encode())


@dataclass
class _Kept:
    """A visual model and a text model, and what their files were like when they were loaded."""

    visual: VisualEncoder
    text: TextEncoder | None
    loaded: Loaded
    files: list[tuple[Any, ...]]
    runs_with: list[str | None]  # what was found to be quickest here may be another by now


class Keeper:
    """Loads models as a library does and keeps those last used. Safe for threads."""

    def __init__(self, keep_s: float) -> None:
        self.keep_s = keep_s
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._loading = threading.Lock()
        self._count_lock = threading.Lock()
        self._running = 0
        self._last_call = time.monotonic()

    def idle_s(self) -> float:
        """For how long nothing has been asked of a model."""
        with self._count_lock:
            return 0.0 if self._running else time.monotonic() - self._last_call

    def answer(self, head: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        """Answer a call. Raises what the library or the model raises, and KeeperLost."""
        call = head.get("call")
        if call == "probe":
            return self._about(), b""
        with self._count_lock:
            self._running += 1
        try:
            if call == "open":
                answer = self._open(head), b""
            else:
                kept = self._kept.get(str(head.get("key")))
                if kept is None:
                    raise KeeperLost("the model is not kept any more")
                answer = _answered(kept, head, body)
            self.keep_s = float(head.get("keep_s") or self.keep_s)
            self._last_call = time.monotonic()
            return answer
        finally:
            with self._count_lock:
                self._running -= 1

    def _about(self) -> dict[str, Any]:
        names = [kept.visual.model_name for kept in self._kept.values()]
        names += [kept.text.setting for kept in self._kept.values() if kept.text is not None]
        return {
            "pid": os.getpid(),
            "models": sorted(set(names)),
            "memory_bytes": _memory_bytes(),
            "leaves_in_s": round(max(0.0, self.keep_s - self.idle_s())),
        }

    def _open(self, head: dict[str, Any]) -> dict[str, Any]:
        from mmrag_plugin.ledger import Ledger
        from mmrag_plugin.library_models import LibraryModels, Loaded
        from mmrag_plugin.library_place import ledger_url
        from mmrag_plugin.settings import Settings

        if head["surroundings"] != surroundings():
            raise KeeperLost("it was started in other surroundings")
        settings = Settings(**head["settings"])
        ledger = Ledger(ledger_url(settings, create=False, dry_run=False))
        try:
            with self._loading:
                models = LibraryModels(settings, ledger)
                key = _key(settings, models)
                kept = self._kept.get(key)
                files = _files(settings, models)
                if kept is not None and (kept.files, kept.runs_with) != (files, _run(models)):
                    logger.info("%s is to be loaded again", kept.visual.model_name)
                    del self._kept[key]
                    kept = None
                models.loaded = kept.loaded if kept is not None else Loaded()
                visual, model = models.in_use()
                words = models.recorded("words")
                text = None if words is None else models.text_in_use(words, visual)
                if kept is None:
                    logger.info("loaded %s", visual.model_name)
                    kept = _Kept(visual, text, models.loaded, files, _run(models))
                self._kept[key] = kept
                self._kept.move_to_end(key)
                while len(self._kept) > MAX_KEPT:
                    self._kept.popitem(last=False)
        finally:
            ledger.close()
        return {
            "key": key,
            "visual": {
                name: getattr(visual, name)
                for name in "stamp setting model_name dim input_px max_tokens".split()
            }
            | {"compares_texts": visual.compares_texts},
            "model": model.as_dict(),
            "text": text and {"stamp": text.stamp, "dim": text.dim, "setting": text.setting},
            "warnings": models.warnings,
        }


def _answered(kept: _Kept, head: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
    call = head["call"]
    if call == "texts":
        texts = json.loads(body)
        one = len(texts) == 1
        return _rows(
            kept.visual.query_vector(texts[0])[None] if one else kept.visual.embed_texts(texts)
        )
    if call == "understands":
        return {"understood": bool(kept.visual.understands(json.loads(body)))}, b""
    if call == "pictures":
        return _rows(kept.visual.embed_pictures(_pictures(head["sizes"], body)))
    if call == "query" and kept.text is not None:
        return _rows(kept.text.query_vector(json.loads(body))[None])
    if call == "documents" and kept.text is not None:
        return _rows(kept.text.embed(json.loads(body)))
    raise KeeperLost(f"it knows no {call!r}")


def _rows(rows: np.ndarray[Any, Any]) -> tuple[dict[str, Any], bytes]:
    return {"type": rows.dtype.str, "shape": list(rows.shape)}, rows.tobytes()


def _pictures(sizes: Sequence[Sequence[int]], body: bytes) -> list[Any]:
    from PIL import Image

    pictures, start = [], 0
    for width, height in sizes:
        end = start + 3 * width * height
        pictures.append(Image.frombytes("RGB", (width, height), body[start:end]))
        start = end
    return pictures


def _key(settings: Settings, models: LibraryModels) -> str:
    """What tells models from others: how they were chosen, and which a library was made with."""
    from mmrag_plugin.learned_versions import LEARNED

    made_with = [models.recorded(name) for name in ("visual", "words")]
    known = [model and (model.setting, model.stamp) for model in made_with]
    learned = any(model is not None and model.setting.startswith(LEARNED) for model in made_with)
    chosen = {name: getattr(settings, name) for name in _CHOOSING}
    if made_with[0] is not None and models.asks_for(made_with[0]):
        chosen["visual_model"] = made_with[0].setting  # however it was asked for
    where = str(settings.directory) if learned else str(settings.models_home)
    return json.dumps([where, chosen, known], default=str)


def _files(settings: Settings, models: LibraryModels) -> list[tuple[Any, ...]]:
    """Name, size and time of all files that the models in use are loaded from."""
    from mmrag_plugin.embeddings.local_models import locate
    from mmrag_plugin.settings import LEARNED_FOLDER

    folders = [settings.directory / LEARNED_FOLDER]
    for name in ("visual", "words"):
        model = models.recorded(name)
        if model is not None:
            try:
                setting = models.learned.base_of(model.setting)
                folders.append(locate(setting, settings.models_home).resolve())
            except MmragError:  # nothing on this disk, such as the palette
                continue
    return [
        (str(path), found.st_size, found.st_mtime_ns, found.st_ino)
        for folder in folders
        if folder.is_dir()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        for found in [path.stat()]
    ]


def _run(models: LibraryModels) -> list[str | None]:
    return [models.runs_with(name) for name in ("visual", "words")]


def _memory_bytes() -> int | None:
    """The memory that this process holds; None where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    sys.exit(main())
