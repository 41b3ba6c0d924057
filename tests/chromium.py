"""A real Chromium without a window, driven over the pipe of its DevTools protocol.

It writes down all that a page asks for and complains of: ``requests``, ``complaints``. Frames in
processes of their own (sandboxed ones) are followed.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = """
    --headless=new --remote-debugging-pipe --no-first-run --no-default-browser-check
    --disable-background-networking --disable-component-update --disable-sync --disable-extensions
    --disable-default-apps --disable-dev-shm-usage --disable-gpu --hide-scrollbars --mute-audio
    --disable-features=Translate,MediaRouter,OptimizationHints --lang=en-GB
    --force-color-profile=srgb
""".split()
_KEYS = {  # name: code, Windows key code, text
    "Enter": ("Enter", 13, "\r"),
    "Escape": ("Escape", 27, ""),
    "Tab": ("Tab", 9, ""),
    " ": ("Space", 32, " "),
    "/": ("Slash", 191, "/"),
    "Home": ("Home", 36, ""),
    "End": ("End", 35, ""),
    "ArrowLeft": ("ArrowLeft", 37, ""),
    "ArrowUp": ("ArrowUp", 38, ""),
    "ArrowRight": ("ArrowRight", 39, ""),
    "ArrowDown": ("ArrowDown", 40, ""),
}
# The browser reads commands from its file 3 and answers on 4.
_AS_3_AND_4 = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
for number, end in zip((3, 4), ends):
    os.dup2(end, number)
os.execv(sys.argv[3], sys.argv[3:])
"""
# Noted before anything of a page runs, so that no violation is missed.
_WATCH_POLICY = """
addEventListener("securitypolicyviolation", (event) => {
  console.error(`policy: ${event.effectiveDirective} ${event.blockedURI}`);
});
"""


def program() -> str:
    """Where Chromium is, or a skip."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("there is no Chromium here")
    return found


class Chromium:
    """A browser with a profile of its own, on one pipe."""

    def __init__(self, profile: Path) -> None:
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()
        flags = [*_FLAGS, f"--user-data-dir={profile}"]
        if os.geteuid() == 0:
            flags.append("--no-sandbox")
        ends = str(theirs_in), str(theirs_out)
        self._process = subprocess.Popen(
            [sys.executable, "-c", _AS_3_AND_4, *ends, program(), *flags],
            pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": str(profile), "TZ": "UTC"},
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._out, self._in = os.fdopen(ours_out, "wb", 0), os.fdopen(ours_in, "rb")
        self._ids = itertools.count(1)
        self._answers: dict[int, queue.Queue[dict[str, Any]]] = {}
        self.listeners: dict[str, Callable[[str, dict[str, Any]], None]] = {}
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        held = b""
        with suppress(OSError, ValueError):
            while part := os.read(self._in.fileno(), 1 << 16):
                *messages, held = (held + part).split(b"\0")
                for message in messages:
                    told = json.loads(message)
                    if "id" in told:
                        self._answers[told["id"]].put(told)
                    elif listener := self.listeners.get(told.get("sessionId", "")):
                        listener(told["method"], told["params"])

    def call(self, method: str, session: str | None = None, /, **params: Any) -> dict[str, Any]:
        """Send a command and wait for its answer."""
        answer = self.begin(method, session, **params).get(timeout=30)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        result: dict[str, Any] = answer["result"]
        return result

    def begin(
        self, method: str, session: str | None = None, /, **params: Any
    ) -> queue.Queue[dict[str, Any]]:
        """Send a command; what comes back has its answer."""
        number = next(self._ids)
        waiting = self._answers[number] = queue.Queue()
        message = {"id": number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        self._out.write(json.dumps(message).encode() + b"\0")
        return waiting

    def context(self) -> str:
        """A new set of cookies."""
        return str(self.call("Target.createBrowserContext")["browserContextId"])

    def close(self) -> None:
        """End the browser."""
        with suppress(Exception):
            self.call("Browser.close")
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(5)
        self._out.close()
        self._in.close()


class Page:
    """One tab: what it shows, asks for and complains of."""

    def __init__(
        self, browser: Chromium, context: str, *, width: int = 1280, height: int = 900
    ) -> None:
        """``context`` is whose cookies it has, as of ``Chromium.context``."""
        self._browser = browser
        target = browser.call("Target.createTarget", url="about:blank", browserContextId=context)
        self._target = target["targetId"]
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self._sessions: list[str] = []
        attached = browser.call("Target.attachToTarget", targetId=self._target, flatten=True)
        self._main = attached["sessionId"]
        self._follow(self._main)
        self.size(width, height)

    # ---- what goes on -------------------------------------------------------------------------

    def _follow(self, session: str) -> None:
        self._sessions.append(session)
        self._browser.listeners[session] = self._heard
        for method in ("Page.enable", "Runtime.enable", "Log.enable", "Network.enable"):
            self._browser.begin(method, session)
        self._browser.begin("Page.addScriptToEvaluateOnNewDocument", session, source=_WATCH_POLICY)
        self._browser.begin(
            "Target.setAutoAttach",
            session,
            autoAttach=True,
            waitForDebuggerOnStart=True,
            flatten=True,
        )
        self._browser.begin("Runtime.runIfWaitingForDebugger", session)

    def _heard(self, method: str, told: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(told["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            details = told["exceptionDetails"]
            thrown = details.get("exception", {}).get("description", "")
            self.complaints.append(f"exception: {details['text']} {thrown}")
        elif method == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning"):
            said = " ".join(str(part.get("value", part)) for part in told["args"])
            self.complaints.append(f"console: {said}")
        elif method == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
            entry = told["entry"]
            self.complaints.append(f"{entry['source']}: {entry['text']} {entry.get('url', '')}")
        elif method == "Target.attachedToTarget":
            self._follow(told["sessionId"])

    # ---- looking ------------------------------------------------------------------------------

    def goto(self, url: str) -> None:
        """Open an address."""
        self._browser.call("Page.navigate", self._main, url=url)
        self.wait('document.readyState === "complete"')

    def evaluate(self, expression: str, *, session: str | None = None) -> Any:
        """The value of an expression in the page, awaited where it is a promise."""
        answer = self._browser.call(
            "Runtime.evaluate",
            session or self._main,
            expression=expression,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise RuntimeError(details.get("exception", {}).get("description", details["text"]))
        return answer["result"].get("value")

    def wait(self, condition: str, within_s: float = 15.0, *, session: str | None = None) -> Any:
        """Wait until an expression is true, and give its value."""
        ends_s = time.monotonic() + within_s
        # an element would come as an empty object
        expression = f"(found => found instanceof Node || found)({condition})"
        while True:
            with suppress(RuntimeError):  # of an element that is not there yet
                if value := self.evaluate(expression, session=session):
                    return value
            if time.monotonic() > ends_s:
                raise AssertionError(f"never true: {condition}; {self.complaints}")
            time.sleep(0.03)

    def text(self, selector: str) -> str:
        """The text that an element shows."""
        return str(self.evaluate(f"document.querySelector({json.dumps(selector)}).innerText"))

    def texts(self, selector: str) -> list[str]:
        """The texts that some elements show."""
        found = self.evaluate(
            f"[...document.querySelectorAll({json.dumps(selector)})].map((one) => one.innerText)"
        )
        return list(found)

    def frame_session(self) -> str:
        """The session of the one frame that has a process of its own."""
        ends_s = time.monotonic() + 10
        while len(self._sessions) < 2 and time.monotonic() < ends_s:
            time.sleep(0.02)
        return self._sessions[-1]

    def size(self, width: int, height: int = 900, *, scale: float = 1.0) -> None:
        """Give the window a size in CSS pixels."""
        self._browser.call(
            "Emulation.setDeviceMetricsOverride",
            self._main,
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=False,
        )

    def prefer(self, **features: str) -> None:
        """Set what the person prefers: ``color_scheme="dark"``, ``reduced_motion="reduce"``."""
        self._browser.call(
            "Emulation.setEmulatedMedia",
            self._main,
            features=[
                {"name": f"prefers-{name.replace('_', '-')}", "value": value}
                for name, value in features.items()
            ],
        )

    def picture(self) -> bytes:
        """The window as PNG."""
        shot = self._browser.call("Page.captureScreenshot", self._main, format="png")
        return base64.b64decode(shot["data"])

    # ---- doing --------------------------------------------------------------------------------

    def press(self, *keys: str, shift: bool = False) -> None:
        """Press keys one after the other, as a person does."""
        for key in keys:
            code, number, text = _KEYS.get(key, (f"Key{key.upper()}", ord(key[0].upper()), key))
            described = {
                "key": key,
                "code": code,
                "windowsVirtualKeyCode": number,
                "modifiers": 8 if shift else 0,
            }
            down = {"type": "keyDown", "text": text} if text else {"type": "rawKeyDown"}
            self._browser.call("Input.dispatchKeyEvent", self._main, **down, **described)
            self._browser.call("Input.dispatchKeyEvent", self._main, type="keyUp", **described)

    def write(self, text: str) -> None:
        """Write into what has the focus."""
        self._browser.call("Input.insertText", self._main, text=text)

    def click(self, selector: str) -> None:
        """Click on the middle of an element."""
        where = self.wait(
            f"""(() => {{
              const found = document.querySelector({json.dumps(selector)});
              found.scrollIntoView({{ block: "center", behavior: "instant" }});
              const box = found.getBoundingClientRect();
              return box.width && [box.x + box.width / 2, box.y + box.height / 2];
            }})()"""
        )
        self.click_at(*where)

    def click_at(self, x: float, y: float) -> None:
        """Click on a point of the window."""
        for kind in ("mousePressed", "mouseReleased"):
            self._browser.call(
                "Input.dispatchMouseEvent",
                self._main,
                type=kind,
                x=x,
                y=y,
                button="left",
                clickCount=1,
            )

    def close(self) -> None:
        """Close the tab."""
        with suppress(RuntimeError):
            self._browser.call("Target.closeTarget", targetId=self._target)
        for session in self._sessions:
            self._browser.listeners.pop(session, None)


@contextmanager
def chromium() -> Iterator[Chromium]:
    """A browser, closed at the end with everything of it."""
    program()
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        browser = Chromium(Path(profile))
        try:
            yield browser
        finally:
            browser.close()
