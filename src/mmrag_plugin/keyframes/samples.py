"""What a decoded frame looks like, small enough to compare thousands of them in no time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_ROWS, _COLUMNS = 18, 32  # of the grid; each cell is the mean of a few pixels in it
_PLANES = (4, 2, 2)  # so many pixels a side of a cell: of brightness, and of both colours
_ALIKE_MEAN = 0.015  # of the full range: compression noise and a slight shake stay below
_ALIKE_CELL = 0.2  # one cell's brightness: a person who walks in is above
_SAME_COLOURS = 0.04
_FADED_COLOURS = 0.9  # or else the cosine of colours, which are paler in less light
_FLAT = 0.03  # a plain frame: its cells differ from their mean by less, of the full range
_DARK = 0.1


@dataclass(frozen=True, eq=False)
class Sample:
    """A frame of a film at ``time_s`` and its look: a grid [3, 18 x 32] of brightness and colour.

    ``changed_s`` is when the picture changed since the sample before, as far as the sizes of
    packets tell; ``is_cut`` says that the encoder began anew here and that all has changed.
    """

    time_s: float
    grid: NDArray[np.float32]
    is_key: bool = False
    changed_s: float | None = None
    is_cut: bool = False

    def distance(self, other: Sample) -> float:
        """How much differs, 0 to 1: half of it brightness, half colours."""
        return float(abs(self._weighed - other._weighed).sum())

    def correlation(self, other: Sample) -> float:
        """How alike the pictures are whatever their light, -1 to 1; 0 with a plain one."""
        size = float((self._relief @ self._relief) * (other._relief @ other._relief))
        return float(self._relief @ other._relief) / size**0.5 if size > 0 else 0.0

    def palette_distance(self, other: Sample) -> float:
        """How much differs when it does not matter where it is: little while things move."""
        return float(abs(self._palette - other._palette).sum())

    def may_be_the_scene_of(self, other: Sample, correlation: float) -> bool:
        """Whether the same things stand at the same places in the same colours, in any light."""
        mine, theirs = self.grid[1:].ravel() - 128, other.grid[1:].ravel() - 128
        if float(abs(mine - theirs).mean()) / 255 >= _SAME_COLOURS:
            size = float(mine @ mine) * float(theirs @ theirs)
            if float(mine @ theirs) < _FADED_COLOURS * size**0.5:
                return False
        return self.correlation(other) >= correlation

    def looks_like(self, other: Sample) -> bool:
        """Whether the two are near-identical; a plain (black) frame is never like a picture."""
        if self.is_flat != other.is_flat:
            return False
        difference = abs(self.grid - other.grid) / 255
        return bool(difference.mean() < _ALIKE_MEAN and difference[0].max() < _ALIKE_CELL)

    @cached_property
    def is_flat(self) -> bool:
        """Whether there is nothing to see: black, white or plain."""
        return float(abs(self._relief).mean()) / 255 < _FLAT

    @cached_property
    def is_black(self) -> bool:
        """Whether there is nothing to see, and it is dark."""
        return self.is_flat and float(self.grid[0].mean()) / 255 < _DARK

    @cached_property
    def _weighed(self) -> NDArray[np.float32]:
        import numpy as np

        shares = np.array([[2], [1], [1]], np.float32) / (4 * 255 * self.grid.shape[1])
        weighed: NDArray[np.float32] = self.grid * shares
        return weighed

    @cached_property
    def _palette(self) -> NDArray[np.float32]:
        import numpy as np

        return np.sort(self._weighed, axis=1)

    @cached_property
    def _relief(self) -> NDArray[np.float32]:
        relief: NDArray[np.float32] = self.grid[0] - self.grid[0].mean()
        return relief


def sample_of(time_s: float, frame: Any, *, is_key: bool = False) -> Sample:
    """Look at a decoded av.VideoFrame: some of its pixels, without converting the rest."""
    import numpy as np

    planar = _read_directly(frame.format)
    source = frame if planar else frame.reformat(128, 72, "yuv444p", interpolation="AREA")
    grid = np.empty((3, _ROWS * _COLUMNS), np.float32)
    for number, side in enumerate(_PLANES):
        if number >= len(source.planes):  # brightness alone
            grid[number] = 128
            continue
        plane = source.planes[number]
        shift = source.format.components[number].bits - 8
        pixels = np.frombuffer(plane, np.uint8 if not shift else np.uint16)
        pixels = pixels.reshape(-1, plane.line_size // pixels.itemsize)
        rows, columns = _picked(plane.height, plane.width, side)
        some = pixels[rows, columns].reshape(_ROWS, side, _COLUMNS, side)
        grid[number] = some.sum((1, 3), dtype=np.uint32).ravel() / (side * side * 2**shift)
    return Sample(time_s, grid, is_key)


@lru_cache(maxsize=32)
def _picked(height: int, width: int, side: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows and columns of a plane from which pixels are taken."""
    import numpy as np

    rows = (np.arange(_ROWS * side) * 2 + 1) * height // (2 * _ROWS * side)
    columns = (np.arange(_COLUMNS * side) * 2 + 1) * width // (2 * _COLUMNS * side)
    return rows[:, None], columns


def _read_directly(layout: Any) -> bool:
    """Whether the pixels of a format are brightness and two colours, each in a plane of its own."""
    deep = layout.components[0].bits
    return bool(
        layout.is_planar
        and not layout.is_rgb
        and not layout.is_big_endian
        and len(layout.components) in (1, 3)
        and len(layout.components) == len({c.plane for c in layout.components})
        and 8 <= deep <= 16
        and layout.name.startswith(("yuv", "gray"))
    )
