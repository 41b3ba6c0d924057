"""pymilvus, imported without pandas and SciPy until somebody gives it a table or a matrix.

Its schema module imports pandas, which takes longer to import than pymilvus itself, and its first
search by words asks SciPy whether a dictionary is a matrix of its own. A search needs neither. So
while pymilvus is imported something stands in for pandas, and turns to the real one once it is
used.
"""

from __future__ import annotations

import importlib
import sys
import threading
from contextlib import suppress
from types import ModuleType
from typing import Any

_STAND_INS = ("pandas", "pandas.api", "pandas.api.types")
_importing = threading.Lock()


def import_pymilvus() -> None:
    """Import pymilvus, lightly where that can be done."""
    if "pymilvus" in sys.modules:
        return
    with _importing:
        if "pandas" not in sys.modules and "pymilvus" not in sys.modules:
            with suppress(Exception):  # of a version that asks more of pandas: then with it
                _import_lightly()
        import pymilvus  # noqa: F401


def _import_lightly() -> None:
    stand_ins = {name: _Later(name) for name in _STAND_INS}
    sys.modules.update(stand_ins)
    try:
        import pymilvus  # noqa: F401
        from pymilvus.client.utils import SciPyHelper

        if hasattr(SciPyHelper, "_checked"):
            SciPyHelper._checked = True  # sparse vectors are dictionaries here
    except BaseException:
        for name in [name for name in sys.modules if name.partition(".")[0] == "pymilvus"]:
            del sys.modules[name]
        raise
    finally:
        for name, module in stand_ins.items():
            module.__dict__["_ready"] = True
            if sys.modules.get(name) is module:
                del sys.modules[name]


class _Later(ModuleType):
    """Stands in for a module; what is taken from it is looked up when it is used."""

    _ready = False

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if self._ready:
            return getattr(importlib.import_module(self.__name__), name)
        if name[0].isupper():
            return type(name, (), {})  # named in annotations while pymilvus is imported

        def function(*arguments: Any, **options: Any) -> Any:
            real = getattr(importlib.import_module(self.__name__), name)
            return real(*arguments, **options)

        return function
