"""Spans: what mmrag is at, from when to when and within what, told to whoever listens.

A flow says ``with span("index.embed", media=12) as now:`` and ``now.set(frames=40)`` once it knows.
Nobody listens by default, and a span is then next to nothing. Listeners are ``profiling`` and
``logs``, and ``tracing_otel`` as soon as the program has set an OpenTelemetry TracerProvider.

Names are few and fixed. Attributes are counts, and the names of models, stages and tools. What is
the person's own (questions, paths, words out of media) goes through ``private`` and is dropped
unless they asked for it.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import Context, ContextVar, Token, copy_context
from types import TracebackType
from typing import Any, ParamSpec, Protocol, TypeVar

_P = ParamSpec("_P")
_R = TypeVar("_R")


class Listener(Protocol):
    """Hears of spans, in whatever thread they are. What it raises is dropped."""

    def begin(self, span: Span) -> None:
        """A span began; ``span.kept`` is room for what is wanted again at its end."""

    def enter(self, span: Span) -> None:
        """What begins here and now is within it."""

    def leave(self, span: Span) -> None:
        """What begins from now on is not."""

    def end(self, span: Span) -> None:
        """It ended, with all that it says of itself."""


class Unheard:
    """A span that nobody listens to."""

    __slots__ = ()

    def __enter__(self) -> Unheard:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None

    def set(self, **attributes: str | float) -> None:
        """Say more of it: counts, names of models."""

    def private(self, **attributes: str | float) -> None:
        """Say what is the person's own; kept only where they asked for it."""

    def begin(self) -> Unheard:
        """Begin, with nothing within it yet: for a stream, which is read now and then."""
        return self

    @contextmanager
    def within(self) -> Iterator[None]:
        """Let what begins in the block be within a span that was begun by hand."""
        yield

    def end(self, error: BaseException | None = None) -> None:
        """End what ``begin`` began; a second time changes nothing."""


class Span(Unheard):
    """A span with listeners."""

    __slots__ = (
        "_listeners", "_token", "attributes", "began_s", "ended_s", "error", "kept", "name",
        "parent",
    )  # fmt: skip

    def __init__(
        self, name: str, attributes: dict[str, Any], listeners: tuple[Listener, ...]
    ) -> None:
        self.name, self.attributes, self._listeners = name, attributes, listeners
        self.parent = _current.get()
        self.kept: dict[object, Any] = {}
        self.error: BaseException | None = None
        self.began_s = self.ended_s = 0.0
        self._token: Token[Span | None] | None = None

    @property
    def duration_s(self) -> float:
        """How long it took."""
        return self.ended_s - self.began_s

    def __enter__(self) -> Span:
        self.begin()
        self._enter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end(error)  # while it still is what a line of the log belongs to
        self._leave()

    def set(self, **attributes: str | float) -> None:
        """Say more of it: counts, names of models."""
        self.attributes.update(attributes)

    def private(self, **attributes: str | float) -> None:
        """Say what is the person's own; kept only where they asked for it."""
        if tells_content():
            self.attributes.update(attributes)

    def begin(self) -> Span:
        """Begin, with nothing within it yet: for a stream, which is read now and then."""
        self.began_s = time.perf_counter()
        for listener in self._listeners:
            _told(listener.begin, self)
        return self

    @contextmanager
    def within(self) -> Iterator[None]:
        """Let what begins in the block be within a span that was begun by hand."""
        self._enter()
        try:
            yield
        finally:
            self._leave()

    def _enter(self) -> None:
        self._token = _current.set(self)
        for listener in self._listeners:
            _told(listener.enter, self)

    def _leave(self) -> None:
        token, self._token = self._token, None
        for listener in reversed(self._listeners):
            _told(listener.leave, self)
        if token is not None:
            with suppress(ValueError):  # a generator was ended by somebody else than began it
                _current.reset(token)

    def end(self, error: BaseException | None = None) -> None:
        """End; a second time changes nothing."""
        if self.ended_s:
            return
        self.error, self.ended_s = error, time.perf_counter()
        for listener in reversed(self._listeners):
            _told(listener.end, self)


_current: ContextVar[Span | None] = ContextVar("mmrag_span", default=None)
_UNHEARD = Unheard()
_OPENTELEMETRY = "opentelemetry.trace"
_listeners: tuple[Listener, ...] = ()
_exporter_of: Callable[[], Listener | None] | None = None
_content = False
_changing = threading.Lock()


def span(name: str, /, **attributes: str | float) -> Unheard:
    """A span to be entered with ``with``, or begun and ended by hand."""
    listeners = _listeners
    # else no provider can have been set
    if _OPENTELEMETRY in sys.modules and (exporting := _exporter()) is not None:
        listeners = (exporting, *listeners)
    return Span(name, attributes, listeners) if listeners else _UNHEARD


def _exporter() -> Listener | None:
    global _exporter_of  # noqa: PLW0603  (imported once, when there may be something to export to)
    if _exporter_of is None:
        from mmrag_plugin.tracing_otel import exporter

        _exporter_of = exporter
    return _exporter_of()


def current() -> Span | None:
    """The innermost span here, if anybody listens."""
    return _current.get()


def carried(work: Callable[_P, _R]) -> Callable[_P, _R]:
    """The same work for another thread, within what the caller is within now."""
    context: Context = copy_context()

    def within(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        return context.copy().run(work, *args, **kwargs)

    return within


def listen(listener: Listener) -> None:
    """Tell a listener of all spans that begin from now on."""
    global _listeners  # noqa: PLW0603  (a process has one set of listeners)
    with _changing:
        _listeners = (*(other for other in _listeners if other is not listener), listener)


def stop_listening(listener: Listener) -> None:
    """Tell a listener of no more spans."""
    global _listeners  # noqa: PLW0603
    with _changing:
        _listeners = tuple(other for other in _listeners if other is not listener)


def tell_content(wanted: bool) -> None:
    """Say whether spans may carry questions, paths and words out of media."""
    global _content  # noqa: PLW0603
    _content = wanted


def tells_content() -> bool:
    """Whether spans carry questions, paths and words out of media."""
    return _content


def _told(listener: Callable[[Span], None], span: Span) -> None:
    try:
        listener(span)
    except Exception:  # whoever watches must not break what is watched
        import logging

        logging.getLogger("mmrag.tracing").debug("A listener failed.", exc_info=True)
