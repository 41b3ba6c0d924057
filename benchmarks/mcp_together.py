"""Servers search one embedded library over the wire while `mmrag index` adds and changes photos.

    python -m benchmarks mcp_together --minutes 5 --kill-owner-every 30

Each photo has a word of its own in its name and one in its caption. A photo that a finished run has
taken in must be found by both, first, whatever else goes on; a caption's old word must find
nothing. With ``--kill-owner-every`` the process that holds the library's Milvus is killed (SIGKILL)
again and again. ``--ocr`` makes the indexer busy with the processor. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

COLOURS = ("red", "green", "blue", "yellow", "purple", "orange", "white", "black")
HELLO = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "benchmark", "version": "1"},
}
LONGEST_S = 120.0  # after which a call counts as never answered
PAUSE_S = 0.05  # between the searches of one client


@dataclass
class Photo:
    """A photo that was made, and what must be found of it."""

    path: Path
    word: str
    caption: str
    old_caption: str = ""
    in_library: bool = False  # a finished run has taken it in
    changing: bool = False  # it differs from what the last finished run has seen


@dataclass
class Found:
    """What went on, as the threads saw it."""

    wrong: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    idle_s: list[float] = field(default_factory=list)
    busy_s: list[float] = field(default_factory=list)
    runs: int = 0
    added: int = 0
    changed: int = 0
    kills: int = 0
    index_s: list[float] = field(default_factory=list)


class Pictures:
    """The folder of photos, which grows and changes; one lock guards what is known of it."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.lock = threading.Lock()
        self.photos: list[Photo] = []
        self._random = random.Random(seed)  # noqa: S311  (no secret)
        self._number = 0
        folder.mkdir()

    def add(self, count: int) -> None:
        """Make new photos, each with a caption beside it."""
        for _ in range(count):
            word = self._word("photo")
            photo = Photo(self.folder / f"{word}.jpg", word, self._word("caption"), changing=True)
            self._draw(photo)
            with self.lock:
                self.photos.append(photo)

    def change(self, count: int) -> int:
        """Repaint some photos and write other captions."""
        with self.lock:
            known = [photo for photo in self.photos if photo.in_library]
            chosen = self._random.sample(known, min(count, len(known)))
            for photo in chosen:
                photo.changing = True
                photo.old_caption, photo.caption = photo.caption, self._word("caption")
        for photo in chosen:
            self._draw(photo)
        return len(chosen)

    def settle(self) -> None:
        """Take note that a run has seen everything."""
        with self.lock:
            for photo in self.photos:
                photo.in_library, photo.changing = True, False

    def _draw(self, photo: Photo) -> None:
        colour = self._random.choice(COLOURS)
        image = Image.new("RGB", (640, 480), colour)
        draw = ImageDraw.Draw(image)
        for _ in range(6):
            x, y = self._random.randrange(600), self._random.randrange(440)
            draw.rectangle((x, y, x + 60, y + 60), fill=self._random.choice(COLOURS))
        draw.text((40, 220), photo.caption, fill="grey", font_size=36)
        image.save(photo.path, quality=90)
        photo.path.with_suffix(".txt").write_text(f"{photo.caption}\n")

    def _word(self, kind: str) -> str:
        """A word that no stemmer changes and no other word resembles."""
        self._number += 1
        letters = "bdfghkmnprtvz"
        digits, word = self._number + 13**4, ""
        while digits:
            digits, rest = divmod(digits, 13)
            word = letters[rest] + "aou"[rest % 3] + word
        return f"{'x' if kind == 'photo' else 'j'}{word}b"


class Server:
    """One mmrag-mcp process, asked over stdio."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self._log = log.open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mmrag_mcp"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment,
        )
        self._number = 0
        self.ask("initialize", HELLO)
        self._send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        self.ask("tools/list", {})

    def search(self, query: str, limit: int = 3) -> dict[str, Any]:
        """Search; the structured result, or the text of an error."""
        arguments = {"query": query, "limit": limit}
        result = self.ask("tools/call", {"name": "search_media", "arguments": arguments})
        if result.get("isError"):
            return {"error": result["content"][0]["text"]}
        content: dict[str, Any] = result["structuredContent"]
        return content

    def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Send a request and wait for its answer."""
        self._number += 1
        self._send({"jsonrpc": "2.0", "id": self._number, "method": method, "params": params})
        assert self.process.stdout
        while True:
            line = self.process.stdout.readline()
            if not line:
                raise RuntimeError("the server has ended")
            answer = json.loads(line)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(str(answer["error"]))
                result: dict[str, Any] = answer["result"]
                return result

    def close(self) -> None:
        """End it as clients do."""
        assert self.process.stdin
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        assert self.process.stdout
        self.process.stdout.close()
        self._log.close()

    def _send(self, message: dict[str, Any]) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()


def main() -> None:
    """Run for some minutes and print what was found."""
    parser = argparse.ArgumentParser(prog="mcp_together")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--servers", type=int, default=2)
    parser.add_argument("--kill-owner-every", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--visual-model", default="palette")
    parser.add_argument("--ocr", action="store_true", help="read text in pictures: slow")
    parser.add_argument("--photos", type=int, default=60, help="in the library at first")
    parser.add_argument(
        "--idle", type=float, default=15.0, help="seconds of search before and after"
    )
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        print(json.dumps(together(Path(place), **vars(options))))


def together(
    place: Path,
    *,
    minutes: float,
    servers: int = 2,
    kill_owner_every: float = 0.0,
    visual_model: str = "palette",
    ocr: bool = False,
    photos: int = 60,
    idle: float = 15.0,
    seed: int = 1,
) -> dict[str, Any]:
    """Run it all in a folder; see the options of ``main``."""
    environment = {
        **os.environ,
        "MMRAG_HOME": str(place / "home"),
        "MMRAG_LIBRARY": "together",
        "MMRAG_VISUAL_MODEL": visual_model,
        "MMRAG_TEXT_MODEL": "off",
        "MMRAG_OCR": "auto" if ocr else "off",
        "HF_HUB_OFFLINE": "1",
    }
    pictures, found = Pictures(place / "photos", seed), Found()
    pictures.add(photos)
    index(environment, pictures, found)
    opened = [Server(environment, place / f"server{number}.log") for number in range(servers)]
    try:
        for server in opened:
            server.search("warm up")
        with searching(opened, pictures, found, found.idle_s, seed):
            time.sleep(idle)
        ends = time.monotonic() + 60 * minutes
        with (
            killing(place / "home" / "together", kill_owner_every, found),
            searching(opened, pictures, found, found.busy_s, seed + 1),
        ):
            while time.monotonic() < ends:
                pictures.add(4)
                found.added += 4
                found.changed += pictures.change(3)
                index(environment, pictures, found)
        index(environment, pictures, found)
        with searching(opened, pictures, found, found.idle_s, seed + 2):
            time.sleep(idle)
        lost = missing(opened[0], pictures)
    finally:
        for server in opened:
            server.close()
    verified = subprocess.run(  # noqa: S603
        [*MMRAG, "status", "--verify", "--json"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    end_owner(place / "home" / "together")
    return {
        "minutes": minutes,
        "servers": servers,
        "kill_owner_every_s": kill_owner_every,
        "kills": found.kills,
        "index_runs": found.runs,
        "index_median_s": round(statistics.median(found.index_s), 2),
        "photos": len(pictures.photos),
        "added": found.added,
        "changed": found.changed,
        "searches_idle": len(found.idle_s),
        "searches_busy": len(found.busy_s),
        "idle": spread(found.idle_s),
        "busy": spread(found.busy_s),
        "p95_ratio": round(percentile(found.busy_s, 95) / percentile(found.idle_s, 95), 2),
        "errors": found.errors[:20],
        "wrong": found.wrong[:20],
        "lost": lost,
        "verified": verified.returncode,
    }


MMRAG = [sys.executable, "-c", "from mmrag_plugin.cli import main; main()"]


def index(environment: dict[str, str], pictures: Pictures, found: Found) -> None:
    """Run `mmrag index`; what it has seen must be found from then on."""
    began = time.monotonic()
    done = subprocess.run(  # noqa: S603  (our own interpreter)
        [*MMRAG, "index", str(pictures.folder), "--json"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    found.runs += 1
    found.index_s.append(time.monotonic() - began)
    if done.returncode:
        found.errors.append(f"index ended with {done.returncode}: {done.stdout} {done.stderr}")
    else:
        pictures.settle()


@contextmanager
def searching(
    servers: list[Server], pictures: Pictures, found: Found, took_s: list[float], seed: int
) -> Iterator[None]:
    """Have every server asked by a thread of its own while the block runs."""
    stop = threading.Event()

    def ask(server: Server, choice: random.Random) -> None:
        try:
            while not stop.wait(PAUSE_S):
                took_s.append(ask_once(server, pictures, found, choice))
        except Exception as error:
            found.errors.append(f"{type(error).__name__}: {error}")

    threads = [
        threading.Thread(target=ask, args=(server, random.Random(seed + number)))  # noqa: S311
        for number, server in enumerate(servers)
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(LONGEST_S)
            if thread.is_alive():
                found.errors.append("a call was never answered")


def ask_once(server: Server, pictures: Pictures, found: Found, choice: random.Random) -> float:
    """Search for a photo that must be found and check the answer; seconds it took."""
    with pictures.lock:
        photo = choice.choice([photo for photo in pictures.photos if photo.in_library])
        was_changing, caption, old = photo.changing, photo.caption, photo.old_caption
    kind = choice.choice(["name", "caption", "old caption" if old else "name"])
    query = {"name": photo.word, "caption": caption, "old caption": old}[kind]
    began = time.monotonic()
    answer = server.search(f'"{query}"')
    took_s = time.monotonic() - began
    with pictures.lock:
        steady = not was_changing and not photo.changing and photo.caption == caption
    if "error" in answer:
        found.errors.append(f"{kind} {query}: {answer['error']}")
    elif kind == "name" or steady:  # while it changes, the old caption and the new are right
        first = answer["hits"][0]["path"] if answer["hits"] else None
        expected = None if kind == "old caption" else str(photo.path)
        if first != expected:
            found.wrong.append(
                f"{kind} {query}: {first} instead of {expected}, changing: {not steady}"
            )
    return took_s


def missing(server: Server, pictures: Pictures) -> list[str]:
    """The words of photos that are not found in the end."""
    lost = []
    for photo in pictures.photos:
        for word in (photo.word, photo.caption):
            answer = server.search(f'"{word}"')
            if not answer.get("hits") or answer["hits"][0]["path"] != str(photo.path):
                lost.append(word)
    return lost


@contextmanager
def killing(directory: Path, every_s: float, found: Found) -> Iterator[None]:
    """Kill the owner process again and again while the block runs."""
    stop = threading.Event()

    def kill() -> None:
        while not stop.wait(every_s):
            if pid := owner(directory):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    found.kills += 1

    thread = threading.Thread(target=kill)
    if every_s:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        if every_s:
            thread.join()


def owner(directory: Path) -> int | None:
    """The process id of the owner, if there is one."""
    with suppress(OSError, ValueError):
        return int((directory / "owner.lock").read_text())
    return None


def end_owner(directory: Path) -> None:
    """Ask the owner to end, so that its folder can be removed."""
    pid = owner(directory)
    if pid is None:
        return
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            os.kill(pid, 0)
            time.sleep(0.05)


def percentile(values: list[float], percent: int) -> float:
    """A percentile; with few values the largest."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def spread(values: list[float]) -> dict[str, float]:
    """Median, 95th percentile and maximum in milliseconds."""
    points = {"p50_ms": 50, "p95_ms": 95, "p99_ms": 99, "max_ms": 100}
    return {name: round(1000 * percentile(values, point), 1) for name, point in points.items()}


if __name__ == "__main__":
    main()
