"""A contact sheet: small pictures side by side, with their times, names or dates."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from mmrag_plugin.errors import MediaError, MissingExtra
from mmrag_plugin.makers.base import (
    Made,
    Maker,
    Piece,
    Problem,
    Told,
    Wish,
    comment_on,
    each_of,
    nothing_left,
    one_line,
)
from mmrag_plugin.makers.film_writing import not_writable
from mmrag_plugin.makers.lettering import height_px, write
from mmrag_plugin.makers.stills import inside, still_of

if TYPE_CHECKING:
    from PIL.Image import Image

TILE_PX = 320
MOST_TILES = 200
_GAP_PX = 12
_TEXT_PX, _TITLE_PX = 15, 24
_LINES = 2
_PAPER, _INK, _PALE = (250, 250, 248), (25, 25, 25), (110, 110, 110)
_QUALITY = 90


class SheetMaker(Maker):
    """Puts the pictures of all pieces on one sheet, in rows, captions under them."""

    what = "sheet"
    suffixes = (".jpg", ".jpeg", ".png")

    def make(self, wish: Wish, tell: Told) -> Made:
        """Make a tile of each piece, then put them together."""
        tile_px = wish.long_side_px or TILE_PX
        failed: list[Problem] = []
        tiles: list[tuple[Piece, Image]] = []
        for place, piece in each_of(wish, tell, failed):
            try:
                picture = still_of(piece, tile_px)
            except MediaError as error:
                failed.append(Problem.of(piece, error))
            except MissingExtra as error:
                failed.append(Problem(str(piece.path), error.message, error.remedy))
            else:
                tiles.append((piece, inside(picture, (tile_px, tile_px))))
            tell(0.9 * (place + 1) / len(wish.pieces))
        if not tiles:
            raise nothing_left(failed)
        sheet = _sheet(tiles, tile_px, wish)
        pieces = tuple(piece for piece, _ in tiles)
        _save(sheet, wish, comment_on(self.what, pieces))
        return Made(
            self.what,
            wish.target,
            wish.target.stat().st_size,
            *sheet.size,
            pieces=pieces,
            failed=tuple(failed),
        )


def _sheet(tiles: list[tuple[Piece, Image]], tile_px: int, wish: Wish) -> Image:
    import PIL.Image

    wide = max(picture.width for _, picture in tiles)
    high = max(picture.height for _, picture in tiles)
    # as many columns as make the sheet about 4:3
    columns = min(max(round(math.sqrt(len(tiles) * 4 * high / (3 * wide))), 1), len(tiles))
    rows = [tiles[begin : begin + columns] for begin in range(0, len(tiles), columns)]
    width_px = columns * (wide + _GAP_PX) + _GAP_PX
    title_px = 0
    if wish.title:
        title_px = height_px(wish.title, _TITLE_PX, width_px - 2 * _GAP_PX, 2) + _GAP_PX
    heights = [
        max(picture.height for _, picture in row) + _text_px(row, wide, wish) + _GAP_PX
        for row in rows
    ]
    sheet = PIL.Image.new("RGB", (width_px, title_px + sum(heights) + _GAP_PX), _PAPER)
    if wish.title:
        box = (_GAP_PX, _GAP_PX, width_px - _GAP_PX, _GAP_PX + title_px)
        write(sheet, box, wish.title, _TITLE_PX, fill=_INK)
    top = title_px + _GAP_PX
    for row, height in zip(rows, heights, strict=True):
        picture_px = max(picture.height for _, picture in row)
        for column, (piece, picture) in enumerate(row):
            left = _GAP_PX + column * (wide + _GAP_PX)
            place = left + (wide - picture.width) // 2, top + picture_px - picture.height
            sheet.paste(picture, place)
            if wish.captions and piece.caption:
                under = top + picture_px + _GAP_PX // 3
                box = (left, under, left + wide, top + height)
                write(sheet, box, piece.caption, _TEXT_PX, fill=_PALE, centred=True)
        top += height
    return sheet


def _text_px(row: list[tuple[Piece, Image]], width_px: int, wish: Wish) -> int:
    if not wish.captions:
        return 0
    texts = [one_line(piece.caption) for piece, _ in row if piece.caption]
    highest = max((height_px(text, _TEXT_PX, width_px, _LINES) for text in texts), default=0)
    return highest + _GAP_PX // 3 if highest else 0


def _save(sheet: Image, wish: Wish, comment: str) -> None:
    from PIL.PngImagePlugin import PngInfo

    options: dict[str, Any] = {"quality": _QUALITY, "comment": comment.encode()}
    form = "JPEG"
    if wish.target.suffix.lower() == ".png":
        about = PngInfo()
        about.add_itxt("Comment", comment)
        options, form = {"pnginfo": about}, "PNG"
    try:
        sheet.save(wish.target, form, **options)
    except OSError as error:
        raise not_writable(wish.target, error) from None
