"""The span of one request to a model: from before it is sent to the end of its answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mmrag_plugin.tracing import span

_COUNTS = {"prompt_eval_count": "input_tokens", "eval_count": "output_tokens"}  # as Ollama has them


class RequestSpan:
    """Begun at once; ended by what goes wrong, or with the answer's stream."""

    def __init__(self, model: str) -> None:
        self._now = span("chat", provider="ollama", model=model).begin()
        self._began_s = time.perf_counter()

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Until the first piece is there; what goes wrong ends the span."""
        try:
            yield
        except BaseException as error:
            self._now.end(error)
            raise
        self._now.set(first_token_s=round(time.perf_counter() - self._began_s, 6))

    @contextmanager
    def answering(self) -> Iterator[Callable[[Any], None]]:
        """Until the last piece, whose counts of tokens are to be told within."""
        try:
            yield self._count
        except BaseException as error:
            self._now.end(error)
            raise
        self._now.end()

    def _count(self, raw: Any) -> None:
        if isinstance(raw, dict):
            counts = {_COUNTS[name]: raw.get(name) for name in _COUNTS}
            self._now.set(**{name: count for name, count in counts.items() if count is not None})
