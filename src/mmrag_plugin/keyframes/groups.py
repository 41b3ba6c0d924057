"""A film in groups: a key frame, decoded, and the packets up to the next one, only weighed."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from mmrag_plugin.animations import Animation
from mmrag_plugin.films import Film

INTRA_STEP_S = 0.2  # of a film of nothing but key frames no more are decoded
_SAME_S = 1e-3


@dataclass(eq=False)
class Group:
    """What begins with a key frame at ``time_s``, or goes on with a long group (``goes_on``).

    ``packets`` are the time in seconds and the size in bytes of each packet but the key frame's, in
    the order of decoding. ``frame`` is None where the group goes on or its key frame is damaged.
    """

    time_s: float
    key_bytes: int
    goes_on: bool = False
    frame: Any = None
    packets: list[tuple[float, int]] = field(default_factory=list)


class Groups:
    """A film's groups, in order, those longer than ``at_most_s`` in parts; none without key frames.

    A film that breaks off ends there. ``end_s`` is where its last frame so far is over: a decoder
    gives key frames back with a delay, for which groups wait.
    """

    def __init__(self, film: Film | Animation, *, at_most_s: float) -> None:
        self.film = film
        self.at_most_s = at_most_s
        self.end_s = 0.0
        self._waiting: deque[Group] = deque()
        self._undecoded: deque[Group] = deque()

    def __iter__(self) -> Iterator[Group]:
        """Read the film once."""
        if isinstance(self.film, Film):
            yield from self._of_film(self.film)
            return
        last_s = -math.inf
        for time_s, frame in self.film.frames("keys"):
            if time_s - last_s >= INTRA_STEP_S:
                yield Group(time_s, 0, frame=frame)
                last_s = time_s
        self.end_s = self.film.duration_s

    def _of_film(self, film: Film) -> Iterator[Group]:
        import av

        film.stream.codec_context.skip_frame, frame_s = "NONKEY", film.frame_s
        last_s, key_before, decoded_s = -1.0, False, -math.inf
        with suppress(av.FFmpegError):
            for packet in film.packets():
                if not packet.size:
                    break
                last_s = time_s = film.time_s_of(packet, last_s)
                shown_s = (packet.duration or 0) * film.tick_s or frame_s
                self.end_s = max(self.end_s, time_s + shown_s)
                if packet.is_keyframe and not (key_before and time_s - decoded_s < INTRA_STEP_S):
                    self._waiting.append(Group(time_s, packet.size))
                    self._undecoded.append(self._waiting[-1])
                    self._decode(film, packet)
                    decoded_s = time_s
                elif self._waiting:
                    self._weigh(film, packet, time_s)
                key_before = packet.is_keyframe
                while len(self._waiting) > 1 and self._waiting[0] not in self._undecoded:
                    yield self._waiting.popleft()
        self._decode(film, None)
        yield from self._waiting

    def _weigh(self, film: Film, packet: Any, time_s: float) -> None:
        last = self._waiting[-1]
        if time_s - last.time_s > self.at_most_s:
            if self._undecoded:  # the decoder waits for more key frames, which may be far
                self._decode(film, None)
                film.stream.codec_context.flush_buffers()
            self._waiting.append(Group(time_s, last.key_bytes, goes_on=True))
        self._waiting[-1].packets.append((time_s, packet.size))

    def _decode(self, film: Film, packet: Any) -> None:
        import av

        with suppress(av.FFmpegError):
            for frame in film.decoded_key(packet):
                time_s = film.time_s_of(frame, -1.0)
                while self._undecoded:  # those that are passed over are damaged
                    group = self._undecoded.popleft()
                    if time_s <= group.time_s + _SAME_S:
                        group.frame = None if frame.is_corrupt else frame
                        break
        if packet is None:
            self._undecoded.clear()
