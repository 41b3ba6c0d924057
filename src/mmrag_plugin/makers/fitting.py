"""Decoded frames made fit for an encoder: upright, square pixels, one even size, yuv420p."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from mmrag_plugin.animations import Animation
from mmrag_plugin.films import Film, unreadable

_EXACT_S = 1e-3  # times that were rounded to milliseconds find their frame
# Broadcast streams have no index: a seek may land behind its target, so the next starts earlier
_SEEK_BACK_S = (0.0, 10.0, 60.0, math.inf)
_HDR = (16, 18)  # transfer curves of HDR10 and Dolby Vision, and of HLG (ITU-T H.273)
_LIMITED, _FULL = 1, 2  # AVColorRange
# By PIL.Image.Transpose
_TURNS = {
    0: "hflip",
    1: "vflip",
    2: "transpose=cclock",
    3: "hflip,vflip",
    4: "transpose=clock",
    5: "transpose=cclock_flip",
    6: "transpose=clock_flip",
}


def even(size: tuple[int, int], long_side_px: int | None = None) -> tuple[int, int]:
    """The even size nearest below ``size``, scaled down so that its long side fits."""
    width_px, height_px = size
    factor = min(1.0, (long_side_px or max(size)) / max(size))
    return tuple(max(int(side * factor + 0.5) // 2 * 2, 2) for side in (width_px, height_px))  # type: ignore[return-value]


def shown_between(
    film: Film | Animation, start_s: float, end_s: float
) -> Iterator[tuple[float, Any]]:
    """Yield ``(seconds since start_s, frame)`` of what is on the screen between two times.

    The first is the frame that is shown at ``start_s``, with the time 0, even where it has come
    before. Raises MediaError where nothing can be decoded.
    """
    shown = None
    for back_s in _SEEK_BACK_S:
        frames = film.frames(from_s=start_s - back_s)
        shown = next(frames, None)
        if shown is not None and shown[0] <= start_s + _EXACT_S:
            break
    if shown is None:
        raise unreadable(film.path, "no frame of it can be decoded")
    frame = shown[1]
    for time_s, following in frames:
        if time_s > start_s + _EXACT_S:
            yield 0.0, frame
            break
        frame = following
    else:
        yield 0.0, frame
        return
    while time_s < end_s - _EXACT_S:
        yield time_s - start_s, following
        time_s, following = next(frames, (math.inf, None))


def upright_size(film: Film | Animation, at_s: float) -> tuple[int, int]:
    """The size of a film in pixels as it is seen. Raises MediaError where there is no frame."""
    for back_s in _SEEK_BACK_S:
        for _, frame in film.frames(from_s=at_s - back_s):
            return film.upright_size(frame)
    raise unreadable(film.path, "no frame of it can be decoded")


class Fit:
    """Turns the frames of a film upright and into yuv420p of one size, with bars where needed."""

    def __init__(self, film: Film | Animation, size: tuple[int, int]) -> None:
        self.size = size
        self.hdr = False
        self._film = film
        self._graphs: dict[tuple[object, ...], Any] = {}

    def __call__(self, frame: Any) -> Any:
        """The frame as it is encoded."""
        turn = self._film.turn_of(frame)
        as_it_is = (
            turn is None
            and (frame.width, frame.height) == self.size == self._film.upright_size(frame)
            and frame.format.name == "yuv420p"
        )
        self.hdr = self.hdr or frame.color_trc in _HDR
        if not as_it_is:
            frame.pts = None
            graph = self._graph(frame, turn)
            graph.vpush(frame)
            frame = graph.vpull()
        return frame

    def _graph(self, frame: Any, turn: int | None) -> Any:
        key = (frame.width, frame.height, frame.format.name, frame.color_range, frame.colorspace)
        if key not in self._graphs:
            self._graphs[key] = self._built(frame, turn)
        return self._graphs[key]

    def _built(self, frame: Any, turn: int | None) -> Any:
        from av.filter import Graph

        wide, high = self._film.upright_size(frame)
        factor = min(self.size[0] / wide, self.size[1] / high)
        inner = tuple(
            side if abs(part * factor - side) < 2 else max(int(part * factor) // 2 * 2, 2)
            for part, side in zip((wide, high), self.size, strict=True)
        )
        full = frame.color_range == _FULL or frame.format.name.startswith("yuvj")
        matrix = frame.colorspace if 0 < frame.colorspace < 15 else 2
        about = [
            f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}",
            "time_base=1/90000:pixel_aspect=1/1",
            f"range={_FULL if full else _LIMITED}:colorspace={matrix}",
        ]
        steps = [*_TURNS[turn].split(",")] if turn is not None else []
        steps += [f"scale={inner[0]}:{inner[1]}:flags=bicubic:out_range=tv", "setsar=1"]
        if inner != self.size:
            steps += [f"pad={self.size[0]}:{self.size[1]}:(ow-iw)/2:(oh-ih)/2"]
        steps += ["format=yuv420p"]
        graph = Graph()
        last = graph.add("buffer", ":".join(about))
        for step in steps:
            name, _, arguments = step.partition("=")
            following = graph.add(name, arguments)
            last.link_to(following)
            last = following
        last.link_to(graph.add("buffersink"))
        graph.configure()
        return graph
