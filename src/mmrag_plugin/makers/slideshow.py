"""A slideshow: a silent film of photos and parts of films that fade into each other."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from mmrag_plugin.errors import MediaError, MissingExtra
from mmrag_plugin.film_frames import frame_at
from mmrag_plugin.films import open_film
from mmrag_plugin.makers.base import (
    Made,
    Maker,
    Piece,
    Problem,
    Told,
    Wish,
    each_of,
    nothing_left,
    one_line,
    tags_of,
)
from mmrag_plugin.makers.film_parts import part_of, source_of
from mmrag_plugin.makers.film_writing import FilmWriter, Quality
from mmrag_plugin.makers.fitting import even, shown_between
from mmrag_plugin.makers.lettering import height_px, write
from mmrag_plugin.makers.stills import inside, still_of

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

LONG_SIDE_PX = 1280
EACH_S = 4.0
_RATE = 25
_TEXT_SHARE = 28  # of the short side, how high a letter is
_DARK, _INK = 0.45, (255, 255, 255)
_BLUR_PX = 24
_HELD_BYTES = 2**30
_PREPARED = 0.3  # of the work, to decode all pieces once


class SlideshowMaker(Maker):
    """Shows each photo for a while and films for as long at most, with captions, without sound.

    Pieces of another shape than the film stand before a dark, blurred picture of themselves.
    """

    what = "slideshow"
    suffixes = (".mp4", ".m4v")

    def make(self, wish: Wish, tell: Told) -> Made:
        """Prepare a slide of each piece, and write them as they fade."""
        failed: list[Problem] = []
        each_s = wish.each_s or EACH_S
        fade_s = min(wish.fade_s, each_s / 2)
        long_px = wish.long_side_px or LONG_SIDE_PX
        size = even((long_px, round(long_px * 9 / 16)))
        slides: list[_Slide] = []
        room = _HELD_BYTES // (3 * size[0] * size[1])  # slides whose pictures are kept until then
        for place, piece in each_of(wish, tell, failed):
            try:
                slides.append(_slide(piece, size, each_s, wish.captions))
            except MediaError as error:
                failed.append(Problem.of(piece, error))
            except MissingExtra as error:
                failed.append(Problem(str(piece.path), error.message, error.remedy))
            else:
                if len(slides) > room:
                    slides[-1].forget()
            tell(_PREPARED * (place + 1) / len(wish.pieces))
        if not slides:
            raise nothing_left(failed)
        pieces = tuple(slide.piece for slide in slides)
        tags = tags_of(wish, self.what, pieces)
        with FilmWriter(wish.target, size, Quality(), rate=Fraction(_RATE), tags=tags) as writer:
            length_s = _write(slides, fade_s, writer, tell)
            writer.end()
        return Made(
            self.what,
            wish.target,
            wish.target.stat().st_size,
            *size,
            duration_s=length_s,
            pieces=pieces,
            failed=tuple(failed),
        )


class _Slide:
    """What is shown of a piece: ``frame(t)`` for ``t`` from 0 up to ``length_s``, in order.

    Its picture is decoded when it is first needed, and again after ``forget``.
    """

    def __init__(self, piece: Piece, size: tuple[int, int], length_s: float) -> None:
        self.piece, self.size, self.length_s = piece, size, length_s
        self._caption = one_line(piece.caption)
        self._backdrop: Image | None = None
        self._still: np.ndarray | None = None

    def load(self, first: Image) -> None:
        """Take the picture that it begins with."""
        self._backdrop = _backdrop(first, self.size)
        self._still = self._composed(first, self._backdrop)

    def forget(self) -> None:
        """Give the memory back."""
        self._backdrop = self._still = None

    def frame(self, t: float) -> np.ndarray:
        """The picture at a time since the slide began."""
        if self._still is None:
            self.load(self._first())
        assert self._still is not None
        return self._still

    def _first(self) -> Image:
        return still_of(self.piece, min(self.size))

    def _composed(self, picture: Image, backdrop: Image) -> np.ndarray:
        import numpy as np

        slide = backdrop.copy()
        fitted = inside(picture, self.size)
        slide.paste(
            fitted,
            ((self.size[0] - fitted.width) // 2, (self.size[1] - fitted.height) // 2),
        )
        if self._caption:
            _write_caption(slide, self._caption)
        return np.asarray(slide)


class _FilmSlide(_Slide):
    """A part of a film that goes on while it is shown; one that breaks off stands still."""

    _frames: Iterator[tuple[float, np.ndarray]] | None = None
    _next: tuple[float, np.ndarray] | None = None

    def frame(self, t: float) -> np.ndarray:
        """The picture at a time since the slide began."""
        super().frame(t)
        if self._frames is None:
            self._frames = self._pictures()
            self._next = next(self._frames, None)
        while self._next is not None and self._next[0] <= t + 1e-3:
            self._still = self._next[1]
            self._next = next(self._frames, None)
        assert self._still is not None
        return self._still

    def _first(self) -> Image:
        return frame_at(source_of(self.piece), self.piece.start_s or 0.0)

    def _pictures(self) -> Iterator[tuple[float, np.ndarray]]:
        start_s = self.piece.start_s or 0.0
        due_s = 0.0
        backdrop = self._backdrop
        assert backdrop is not None
        try:
            with open_film(source_of(self.piece)) as film:
                for time_s, frame in shown_between(film, start_s, start_s + self.length_s):
                    if time_s >= due_s - 1e-3:
                        yield time_s, self._composed(film.picture(frame), backdrop)
                        due_s = time_s + 0.7 / _RATE
        except MediaError:
            return  # its first frame was fine


def _slide(piece: Piece, size: tuple[int, int], each_s: float, captions: bool) -> _Slide:
    """The slide of a piece, with its picture decoded, so that what can't be read is known."""
    if not captions:
        piece = replace(piece, caption="")
    if piece.kind == "image" and piece.start_s is None:
        slide = _Slide(piece, size, each_s)
        slide.frame(0.0)
        return slide
    with open_film(source_of(piece)) as film:
        part = part_of(film, piece.start_s, piece.end_s)
        length_s = min(part.length_s, each_s)
        exact = replace(piece, start_s=part.start_s, end_s=round(part.start_s + length_s, 3))
        _, first = next(iter(shown_between(film, part.start_s, part.end_s)))
        slide = _FilmSlide(exact, size, length_s)
        slide.load(film.picture(first))
        return slide


def _write(slides: list[_Slide], fade_s: float, writer: FilmWriter, tell: Told) -> float:
    """Write the slides one behind the other, each fading in over the one before."""
    import av
    from av.video.reformatter import ColorRange, Colorspace

    fades = [
        min(fade_s, one.length_s / 2, other.length_s / 2)
        for one, other in itertools.pairwise(slides)
    ]
    ends_s = sum(slide.length_s for slide in slides) - sum(fades)
    place, begins_s, fading = 0, 0.0, None
    for number in range(max(round(ends_s * _RATE), 1)):
        t = number / _RATE - begins_s
        while place < len(fades) and t >= slides[place].length_s - 1e-9:
            slides[place].forget()
            step_s = slides[place].length_s - fades[place]
            place, begins_s, fading = place + 1, begins_s + step_s, None
            t -= step_s
        slide = slides[place]
        if place < len(fades) and t > slide.length_s - fades[place]:
            fading = fading or _fading(slide, slides[place + 1], fades[place])
            pixels = fading.get_frame(t)
        else:
            pixels = slide.frame(t)
        frame = av.VideoFrame.from_ndarray(pixels, "rgb24").reformat(
            format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
        )
        frame.colorspace = frame.color_primaries = frame.color_trc = 1  # BT.709
        writer.show(frame, number / _RATE)
        tell(_PREPARED + (1 - _PREPARED) * number / _RATE / ends_s)
    writer.end_part(ends_s)
    return ends_s


def _fading(slide: _Slide, following: _Slide, fade_s: float) -> Any:
    """The film of two slides, of which the second fades in at the end of the first."""
    from moviepy import CompositeVideoClip, VideoClip, vfx

    clips = []
    for shown in (slide, following):
        clip = VideoClip(duration=shown.length_s)
        clip.frame_function, clip.size = shown.frame, shown.size
        clips.append(clip)
    second = clips[1].with_start(slide.length_s - fade_s)
    faded = second.with_effects([vfx.CrossFadeIn(fade_s)])
    return CompositeVideoClip([clips[0], faded], size=slide.size)


def _backdrop(picture: Image, size: tuple[int, int]) -> Image:
    """The picture filling the whole size, dark and out of focus."""
    from PIL import ImageEnhance, ImageFilter, ImageOps

    small = ImageOps.fit(picture, (size[0] // 4, size[1] // 4))
    blurred = small.filter(ImageFilter.GaussianBlur(_BLUR_PX / 4)).resize(size)
    return ImageEnhance.Brightness(blurred).enhance(_DARK)


def _write_caption(slide: Image, text: str) -> None:
    import PIL.Image

    letter_px = max(min(slide.size) // _TEXT_SHARE, 12)
    margin_px = letter_px
    wide = slide.width - 4 * margin_px
    high = height_px(text, letter_px, wide, 2)
    top = slide.height - high - 2 * margin_px
    band = slide.crop((0, top, *slide.size))
    shade = PIL.Image.new("RGB", band.size)
    slide.paste(PIL.Image.blend(band, shade, 0.55), (0, top))
    box = (2 * margin_px, top + margin_px, slide.width - 2 * margin_px, slide.height)
    write(slide, box, text, letter_px, fill=_INK, centred=True)
