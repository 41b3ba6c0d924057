"""Check what a model cites: [n] must name a source that there is, whole or streamed."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterable, Generator, Iterable


def _citation(digits: int) -> re.Pattern[str]:
    number = rf"\d{{1,{digits}}}"
    return re.compile(rf"[ \t]?\[({number}(?:\s*[,;\u2013-]\s*{number})*)\]")


_PERHAPS_CITATION = re.compile(r"[ \t]?(?:\[[\d,;\s\u2013-]{0,60})?\Z")


class Citations:
    """Takes citations of sources that there are not out of an answer.

    ``sources`` is how many there are. ``cited`` (sorted numbers) and ``warnings`` fill up as text
    goes through; they stay the same lists, so whoever holds them sees the end of a stream.
    """

    def __init__(self, sources: int, warnings: list[str]) -> None:
        self.sources = sources
        self._citation = _citation(max(2, len(str(sources))))
        self.cited: list[int] = []
        self.warnings = warnings

    def settle(self, text: str) -> str:
        """Check a whole text: ``[1]``, ``[1, 3]`` and ``[1-3]`` cite, ``[2024]`` doesn't."""
        return self._citation.sub(self._settled_one, text)

    def stream(self, deltas: Iterable[str]) -> Generator[str, None, None]:
        """Check a stream, holding back what may become a citation."""
        held = ""
        for delta in deltas:
            ready, held = _split(held + delta)
            if ready:
                yield self.settle(ready)
        if held:
            yield self.settle(held)

    async def astream(self, deltas: AsyncIterable[str]) -> AsyncGenerator[str, None]:
        """Check an async stream."""
        held = ""
        async for delta in deltas:
            ready, held = _split(held + delta)
            if ready:
                yield self.settle(ready)
        if held:
            yield self.settle(held)

    def _settled_one(self, match: re.Match[str]) -> str:
        kept = []
        for part in re.split(r"\s*[,;]\s*", match[1]):
            ends = [int(end) for end in re.split(r"\s*[\u2013-]\s*", part)]
            if all(1 <= end <= self.sources for end in ends):
                kept.append(part)
                self.cited[:] = sorted({*self.cited, *range(min(ends), max(ends) + 1)})
            else:
                warning = f"The model cited [{part}]; there are sources 1 to {self.sources}."
                if warning not in self.warnings:
                    self.warnings.append(warning)
        lead = match[0][: match[0].index("[")]
        return f"{lead}[{', '.join(kept)}]" if kept else ""


def _split(text: str) -> tuple[str, str]:
    """Split a text where a citation may have begun that is not closed yet."""
    found = _PERHAPS_CITATION.search(text)
    at = found.start() if found else len(text)
    return text[:at], text[at:]
