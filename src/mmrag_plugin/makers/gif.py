"""An animated GIF of a part of a film: short, small, for messages and pages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mmrag_plugin.animations import Animation
from mmrag_plugin.films import Film, open_film
from mmrag_plugin.makers.base import Made, Maker, Told, Wish, comment_on, nothing_left
from mmrag_plugin.makers.film_parts import Part, part_of, source_of
from mmrag_plugin.makers.film_writing import not_writable
from mmrag_plugin.makers.fitting import even, shown_between, upright_size
from mmrag_plugin.timecode import format_span

if TYPE_CHECKING:
    from PIL.Image import Image

LONG_SIDE_PX = 480
LONGEST_S = 20.0
_STEP_CS = 8  # hundredths of a second a frame: browsers slow down what is faster than 2
_COLOURS = 256
_LOOKED_AT = 24  # frames that the colours are chosen from
_COMMENT_BYTES = 250


class GifMaker(Maker):
    """Makes a GIF that repeats for ever, with the same colours in all of its frames."""

    what = "gif"
    suffixes = (".gif",)

    def make(self, wish: Wish, tell: Told) -> Made:
        """Write the GIF of the first piece."""
        if not wish.pieces or 0 in wish.left_out:
            raise nothing_left(list(wish.left_out.values()))
        tell.begin(0)
        piece = wish.pieces[0]
        warnings = []
        with open_film(source_of(piece)) as film:
            part = part_of(film, piece.start_s, piece.end_s)
            if part.length_s > LONGEST_S:
                shown = format_span(part.start_s, part.start_s + LONGEST_S)
                asked = format_span(part.start_s, part.end_s)
                warnings.append(f"Of {asked} only {shown} is shown: a GIF is at most 20 s long.")
                part = Part(film, part.start_s, part.start_s + LONGEST_S)
            size = even(upright_size(film, part.start_s), wish.long_side_px or LONG_SIDE_PX)
            total_cs = max(round(part.length_s * 100), 2)
            pictures = []
            for picture in _pictures(film, part, total_cs, size):
                pictures.append(picture)
                tell(0.7 * len(pictures) * _STEP_CS / total_cs)
        piece = replace(piece, start_s=part.start_s, end_s=part.end_s)
        delays_cs = [_STEP_CS] * len(pictures)
        delays_cs[-1] = max(total_cs - _STEP_CS * (len(pictures) - 1), 2)
        frames = _with_one_palette(pictures, tell)
        comment = comment_on(self.what, (piece,)).encode()[:_COMMENT_BYTES]
        try:
            frames[0].save(
                wish.target,
                "GIF",
                save_all=True,
                append_images=frames[1:],
                duration=[delay * 10 for delay in delays_cs],
                loop=0,
                comment=comment,
                disposal=1,
            )
        except OSError as error:
            raise not_writable(wish.target, error) from None
        return Made(
            self.what,
            wish.target,
            wish.target.stat().st_size,
            *size,
            duration_s=sum(delays_cs) / 100,
            pieces=(piece,),
            warnings=tuple(warnings),
        )


def _pictures(
    film: Film | Animation, part: Part, total_cs: int, size: tuple[int, int]
) -> Iterator[Image]:
    """The pictures that are on the screen every so many hundredths of a second, scaled down."""
    due_cs = 0
    shown: Any = None
    for time_s, frame in shown_between(film, part.start_s, part.end_s):
        while shown is not None and due_cs < total_cs and due_cs / 100 < time_s - 1e-3:
            yield _small(film, shown, size)
            due_cs += _STEP_CS
        shown = frame
    while due_cs < total_cs:
        yield _small(film, shown, size)
        due_cs += _STEP_CS


def _small(film: Film | Animation, frame: Any, size: tuple[int, int]) -> Image:
    import PIL.Image

    return film.picture(frame).resize(size, PIL.Image.Resampling.LANCZOS)


def _with_one_palette(pictures: list[Image], tell: Told) -> list[Image]:
    """The pictures in the 256 colours that are best for some of them, spread over all."""
    import PIL.Image

    step = -(-len(pictures) // _LOOKED_AT)
    looked_at = [picture.resize((96, 96)) for picture in pictures[::step]]
    board = PIL.Image.new("RGB", (96 * len(looked_at), 96))
    for place, picture in enumerate(looked_at):
        board.paste(picture, (96 * place, 0))
    palette = board.quantize(_COLOURS, PIL.Image.Quantize.MEDIANCUT)
    frames = []
    for place, picture in enumerate(pictures):
        frames.append(picture.quantize(palette=palette, dither=PIL.Image.Dither.FLOYDSTEINBERG))
        tell(0.7 + 0.2 * place / len(pictures))
    return frames
