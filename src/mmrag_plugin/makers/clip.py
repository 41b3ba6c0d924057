"""A clip: a part of one film, copied where the cut allows, else encoded from frame to frame."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mmrag_plugin.films import open_film
from mmrag_plugin.makers.base import Made, Maker, Told, Wish, nothing_left, tags_of
from mmrag_plugin.makers.film_copying import copied_s
from mmrag_plugin.makers.film_parts import part_of, rate_of, show_part, source_of
from mmrag_plugin.makers.film_writing import FilmWriter, Quality
from mmrag_plugin.makers.fitting import Fit, even, upright_size

FORMS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}


class ClipMaker(Maker):
    """Cuts a part out of a film.

    The first frame is the one on the screen at the start, and the clip is as long as asked for
    within a frame.
    """

    what = "clip"
    suffixes = tuple(FORMS)

    def make(self, wish: Wish, tell: Told) -> Made:
        """Write the clip of the first piece."""
        if not wish.pieces or 0 in wish.left_out:
            raise nothing_left(list(wish.left_out.values()))
        tell.begin(0)
        piece, form = wish.pieces[0], FORMS[wish.target.suffix.lower()]
        source = source_of(piece)
        with open_film(source) as film:
            part = part_of(film, piece.start_s, piece.end_s)
            size = upright_size(film, part.start_s)
            piece = replace(piece, start_s=part.start_s, end_s=part.end_s)
            tags = tags_of(wish, self.what, (piece,))
            said: list[str] = []
            length_s, how = None, "copied"
            if not wish.encode and wish.long_side_px is None:
                span = part.start_s, part.end_s
                length_s = copied_s(source, span, wish.target, form, tags, tell)
            if length_s is None:
                how = "encoded"
                size = even(size, wish.long_side_px)
                with FilmWriter(
                    wish.target,
                    size,
                    Quality(),
                    rate=rate_of(film),
                    speaks=part.speaks,
                    tags=tags,
                    form=form,
                ) as writer:
                    length_s, said = show_part(
                        part,
                        writer,
                        Fit(film, size),
                        0.0,
                        lambda done_s: tell(done_s / part.length_s),
                    )
                    writer.end()
        return Made(
            self.what,
            wish.target,
            Path(wish.target).stat().st_size,
            *size,
            duration_s=length_s,
            how=how,
            pieces=(piece,),
            warnings=tuple(said),
        )
