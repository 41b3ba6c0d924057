"""Open a film safely: known containers, no other file or address, bounded, frames upright.

Times are seconds since the film begins, as players show them and ``ffmpeg -ss`` takes them: the
container's start time (33 ms in many Matroska files, hours in broadcast streams) is taken off.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mmrag_plugin.animations import Animation, open_animation
from mmrag_plugin.content_kind import is_animatable
from mmrag_plugin.errors import MediaError
from mmrag_plugin.motion_photos import FilmPart
from mmrag_plugin.pictures import MAX_PIXELS, require_file

if TYPE_CHECKING:
    from PIL.Image import Image

STALL_S = 30.0  # how long one read from the disk may take
_JUMP_S = 1.0  # a clock that falls back by more was set anew: two recordings in one file

# Containers of films. Playlists (HLS, DASH, concat scripts) are left out: a text file named .mp4
# could make FFmpeg open any other file or address.
_CONTAINERS = "mov,mp4,matroska,webm,avi,mpegts,mpeg,mpegvideo,asf,flv,ogg,gif,h264,hevc,mxf,dv"


_SKIP = {"all": "DEFAULT", "references": "NONREF", "keys": "NONKEY"}


class Film:
    """An open film: its picture stream, its length, and its frames as they are decoded."""

    def __init__(self, source: Path | FilmPart, container: Any, stream: Any) -> None:
        self.source = source
        self.path = source.path if isinstance(source, FilmPart) else source
        self.container = container
        self.stream = stream
        self.tick_s = float(stream.time_base or 0)  # in which packets and frames are timed
        self._turns: dict[tuple[int, int], Any] = {}  # by the size of frames
        # where the film begins on the container's own clock
        started = container.start_time
        if started is not None:
            self.start_s = float(started / 1_000_000)
        else:
            self.start_s = float((stream.start_time or 0) * (stream.time_base or 0))

    @property
    def clock_may_jump(self) -> bool:
        """Whether the clock of the container may have been set anew midway."""
        return bool(self.container.format.name == "mpegts")

    @property
    def duration_s(self) -> float | None:
        """The length in seconds as the container states it; None where it does not."""
        if self.container.duration and self.container.duration > 0:
            return float(self.container.duration / 1_000_000)
        if self.stream.duration and self.stream.duration > 0:
            return float(self.stream.duration * self.stream.time_base)
        return None

    @property
    def frame_s(self) -> float:
        """How long one frame is shown, from the average frame rate."""
        rate = self.stream.average_rate or self.stream.guessed_rate
        return float(1 / rate) if rate else 0.04

    def frames(
        self, which: Literal["all", "references", "keys"] = "all", *, from_s: float | None = None
    ) -> Iterator[tuple[float, Any]]:
        """Decode ``(time_s, av.VideoFrame)`` in order of time; damaged frames are passed over.

        ``references`` are the frames that others build on, about half of them; ``keys`` stand
        alone. With ``from_s`` decoding begins at the last key frame at or before that time. A
        stream that breaks off ends there.
        """
        import av

        self.stream.codec_context.skip_frame = _SKIP[which]
        if from_s is not None:
            try:
                self.container.seek(self._pts(max(from_s, 0.0)), stream=self.stream)
            except av.FFmpegError:
                self.container.seek(0)
        packets = self.packets()
        last_s = -1.0
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError:
                return
            if packet is None:
                return
            try:
                decoded = self.decoded_key(packet) if which == "keys" else packet.decode()
            except av.FFmpegError:
                continue
            for frame in decoded:
                if frame.is_corrupt:
                    continue
                time_s = self.time_s_of(frame, last_s)
                if time_s > last_s:
                    last_s = time_s
                    yield time_s, frame

    def decoded_key(self, packet: Any | None) -> list[Any]:
        """Decode a packet while all but key frames are skipped; None or an empty one is the end.

        FFmpeg's HEVC decoder puts lone key frames out of order and loses some, so each is decoded
        by itself there.
        """
        context = self.stream.codec_context
        if packet is None or not packet.size or context.name != "hevc":
            return list(context.decode(packet))
        if not packet.is_keyframe:
            return []
        try:
            return [*context.decode(packet), *context.decode(None)]
        finally:
            context.flush_buffers()

    def picture(self, frame: Any) -> Image:
        """Turn a decoded frame into an upright RGB picture with square pixels."""
        import av

        width_px, height_px = _square_pixels(frame, self.stream)
        try:
            picture: Image = frame.to_image(width=width_px, height=height_px)
        except (av.FFmpegError, ValueError, MemoryError) as error:
            raise unreadable(self.path, str(error)) from error
        turn = self.turn_of(frame)
        return picture if turn is None else picture.transpose(turn)

    def upright_size(self, frame: Any) -> tuple[int, int]:
        """Return the width and height in pixels of ``picture(frame)`` without making it."""
        width_px, height_px = _square_pixels(frame, self.stream)
        turn = self.turn_of(frame)
        return (height_px, width_px) if turn in _SWAPS_SIDES else (width_px, height_px)

    def turn_of(self, frame: Any) -> Any | None:
        """The PIL.Image.Transpose that turns frames of this size upright: looked up once.

        PyAV's frame and its side data hold each other, so that frames which were asked for it stay
        in the memory, with the threads that scaled them, until the garbage is collected.
        """
        size = frame.width, frame.height
        if size not in self._turns:
            self._turns[size] = _turn_of(frame)
        return self._turns[size]

    def measured_duration_s(self) -> float:
        """Find the length by reading every packet, for containers that do not state it."""
        import av

        end_s = 0.0
        try:
            self.container.seek(0)
            for packet in self.packets():
                if packet.pts is not None:
                    ends = packet.pts + (packet.duration or 0)
                    end_s = max(end_s, float(ends * packet.time_base) - self.start_s)
        except av.FFmpegError:
            pass  # broken off: what was read counts
        return end_s

    def packets(self) -> Iterator[Any]:
        """Read packets; an empty one says that the file ends.

        Where the container's clock jumps back, theirs goes on all the same. Raises av.FFmpegError
        where the file breaks off.
        """
        ahead = 0
        last_dts: int | None = None
        for packet in demuxed(self.container, self.stream):
            if packet.dts is not None:
                behind = 0 if last_dts is None else last_dts - (packet.dts + ahead)
                if behind * self.tick_s > _JUMP_S:
                    ahead += behind + (packet.duration or round(self.frame_s / self.tick_s))
                last_dts = packet.dts = packet.dts + ahead
                if packet.pts is not None:
                    packet.pts += ahead
            yield packet

    def time_s_of(self, timed: Any, last_s: float) -> float:
        """When a packet or a frame is shown; one without a time follows what was last."""
        pts = timed.pts if timed.pts is not None else timed.dts
        if pts is None or not self.tick_s:
            return max(last_s, -self.frame_s) + self.frame_s
        time_s: float = pts * self.tick_s - self.start_s
        return max(time_s, 0.0)

    def _pts(self, time_s: float) -> int:
        return int((time_s + self.start_s) / self.stream.time_base)


def demuxed(container: Any, *streams: Any) -> Iterator[Any]:
    """Read the packets of streams; an empty one says that the file ends.

    Raises av.FFmpegError where the file breaks off.
    """
    while True:
        try:
            yield from container.demux(*streams)
        except IndexError:  # PyAV has no number for a stream that damage seems to begin
            continue
        return


@contextmanager
def open_film(source: Path | FilmPart) -> Iterator[Film | Animation]:
    """Open a film, one inside a photo, or an animated picture, for reading.

    Raises MediaError where there is no picture stream to decode.
    """
    if isinstance(source, FilmPart):
        require_file(source.path)
        opened: AbstractContextManager[Film | Animation] = _open_container(source)
    else:
        require_file(source)
        with source.open("rb") as file:
            head = file.read(16)
        opened = open_animation(source) if is_animatable(head) else _open_container(source)
    with opened as film:
        yield film


@contextmanager
def _open_container(source: Path | FilmPart) -> Iterator[Film]:
    import av

    if isinstance(source, FilmPart):
        path, protocols = source.path, "subfile,file"
        address = f"subfile,,start,{source.begin},end,{source.end},,:{path.absolute()}"
    else:
        path, protocols, address = source, "file", str(source.absolute())
    try:
        container = av.open(
            address,
            options={"protocol_whitelist": protocols, "format_whitelist": _CONTAINERS},
            metadata_errors="replace",
            timeout=STALL_S,
        )
    except (av.FFmpegError, ValueError, OSError) as error:
        raise unreadable(path, getattr(error, "strerror", None) or str(error)) from None
    with container:
        stream = _picture_stream(container)
        if stream is None:
            raise MediaError(
                f"{path} has no moving picture, only sound or a cover.",
                "Remove it from the library's folders or leave it out.",
                path=str(path),
            )
        context = stream.codec_context
        if context.width * context.height > MAX_PIXELS:
            raise unreadable(path, f"{context.width} x {context.height} pixels are too many")
        context.options = {"max_pixels": str(MAX_PIXELS)}
        context.thread_type = "AUTO"
        try:
            yield Film(source, container, stream)
        except (av.FFmpegError, ArithmeticError, TypeError, ValueError, OSError) as error:
            # hostile headers lead to absent time bases, numbers beyond 64 bits and the like
            raise unreadable(path, str(error) or type(error).__name__) from error


def unreadable(path: Path, reason: str) -> MediaError:
    """Build the error for a film of which nothing can be decoded."""
    return MediaError(
        f"{path} is not a readable film ({reason}).",
        "Play it in another program; restore it from a backup or remove it.",
        path=str(path),
    )


def _picture_stream(container: Any) -> Any | None:
    """Choose the stream that players choose; a cover picture is no film."""
    from av.stream import Disposition

    still = Disposition.attached_pic | Disposition.still_image | Disposition.timed_thumbnails
    moving = [
        stream
        for stream in container.streams.video
        if stream.codec_context is not None and not stream.disposition & still
    ]
    best = container.streams.best("video")
    return best if best in moving else next(iter(moving), None)


def _square_pixels(frame: Any, stream: Any) -> tuple[int, int]:
    ratio = float(stream.sample_aspect_ratio or 1)
    if 0.1 < ratio < 10 and abs(ratio - 1) > 0.02:  # else it is a rounding, or nonsense
        return max(round(frame.width * ratio), 1), frame.height
    return frame.width, frame.height


# PIL.Image.Transpose by the signs of the display matrix's a, b, c, d, where a point of the stored
# picture (y down) is shown at x' = ax + cy, y' = bx + dy (ISO 14496-12, 8.3.2).
_TURNS = {
    (-1, 0, 0, 1): 0,  # FLIP_LEFT_RIGHT
    (1, 0, 0, -1): 1,  # FLIP_TOP_BOTTOM
    (0, -1, 1, 0): 2,  # ROTATE_90
    (-1, 0, 0, -1): 3,  # ROTATE_180
    (0, 1, -1, 0): 4,  # ROTATE_270
    (0, 1, 1, 0): 5,  # TRANSPOSE
    (0, -1, -1, 0): 6,  # TRANSVERSE
}
_SWAPS_SIDES = (2, 4, 5, 6)


def _turn_of(frame: Any) -> Any | None:
    from PIL.Image import Transpose

    for side_data in frame.side_data:
        if side_data.type.name == "DISPLAYMATRIX" and side_data.buffer_size >= 36:
            a, b, _, c, d = struct.unpack("=5i", bytes(side_data)[:20])
            upright = abs(a) + abs(d) >= abs(b) + abs(c)  # an odd angle: the next right one
            nearest = (_sign(a), 0, 0, _sign(d)) if upright else (0, _sign(b), _sign(c), 0)
            turn = _TURNS.get(nearest)
            return None if turn is None else Transpose(turn)
    return None


def _sign(value: int) -> int:
    return (value > 0) - (value < 0)
