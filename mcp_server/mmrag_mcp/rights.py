"""Where a server may reach beyond its library, as the person who started it said."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Rights:
    """What tools that write hold to.

    ``roots`` are folders that may be indexed besides those that the library knows;
    ``output_folder`` is where made files go, None for the usual place.
    """

    roots: tuple[Path, ...] = ()
    output_folder: Path | None = None
