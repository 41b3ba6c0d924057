"""The vectors of the last queries, so that the same words are not embedded again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_QUERIES = 256  # of which the vectors are remembered


class AskedBefore:
    """The vectors of the last queries; several threads may ask at once.

    What a query that was learned from the person's words becomes is not in here: it is made of
    these vectors each time, so that learning is seen at once.
    """

    def __init__(self, embed: Callable[[str], NDArray[np.float32]]) -> None:
        self._embed = embed
        self._known: OrderedDict[str, NDArray[np.float32]] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, query: str) -> NDArray[np.float32]:
        """The vector of a query, [dim], which nobody can change."""
        with self._lock:
            known = self._known.get(query)
            if known is not None:
                self._known.move_to_end(query)
                return known
        vector = self._embed(query)
        vector.setflags(write=False)
        with self._lock:
            self._known[query] = vector
            while len(self._known) > MAX_QUERIES:
                self._known.popitem(last=False)
        return vector
