"""One answer, told to those who listen: as a span, and as LlamaIndex's events, to its end.

An answer may be a stream that is read long after it was begun, so it is begun and ended by hand;
what finds its sources and asks the model is ``within`` it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import aclosing, closing, contextmanager
from typing import Any

from mmrag_plugin.llama_events import query_began, query_ended
from mmrag_plugin.tracing import span


class AnswerTold:
    """One answer; ``asked`` is the question where nobody else tells LlamaIndex of it."""

    def __init__(self, name: str, question: str, *, asked: Any = None) -> None:
        self._now = span(name).begin()
        self._now.private(question=question)
        self._asked = asked
        if asked is not None:
            query_began(asked)

    @contextmanager
    def within(self) -> Iterator[None]:
        """Let what begins in the block be within it; what the block raises ends it."""
        with self._now.within():
            try:
                yield
            except BaseException as error:
                self._now.end(error)
                raise

    def whole(self, sources: int, cited: int, response: Callable[[], Any] | None = None) -> None:
        """Say that the answer is there; ``response`` makes what LlamaIndex is told."""
        self._now.set(sources=sources, cited=cited)
        self._now.end()
        if self._asked is not None and response is not None:
            query_ended(self._asked, response)

    def stream(
        self, pieces: Generator[str, None, None], tell: Callable[[AnswerTold, str], None]
    ) -> Generator[str, None, None]:
        """Pass the pieces of an answer on; after the last one ``tell`` gets all of it."""
        said = ""
        try:
            with closing(pieces):
                for piece in pieces:
                    said += piece
                    yield piece
        except BaseException as error:
            self._now.end(error)
            raise
        tell(self, said.strip())

    async def astream(
        self, pieces: AsyncGenerator[str, None], tell: Callable[[AnswerTold, str], None]
    ) -> AsyncGenerator[str, None]:
        """Do the same without holding up the event loop."""
        said = ""
        try:
            async with aclosing(pieces):
                async for piece in pieces:
                    said += piece
                    yield piece
        except BaseException as error:
            self._now.end(error)
            raise
        tell(self, said.strip())
