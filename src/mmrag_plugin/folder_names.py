"""What the folders of a library are called, and which folder somebody means by a name."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePath


def root_names(roots: Iterable[str]) -> dict[str, str]:
    """What the library's own folders are called: with what is above where two have one name."""
    split = {root: PurePath(root).parts for root in roots}
    names = {}
    for root, parts in split.items():
        others = [other for other in split.values() if other is not parts]
        length = 1
        while length < len(parts) and any(other[-length:] == parts[-length:] for other in others):
            length += 1
        names[root] = str(PurePath(*parts[-length:]))
    return names


def folder_name(folder: str, root: str, names: dict[str, str]) -> str:
    """A folder as people call it: from the library's own folder downwards."""
    if folder != root and not folder.startswith(root.rstrip(os.sep) + os.sep):
        return folder
    name = names.get(root) or os.path.basename(root)  # noqa: PTH119
    return f"{name}{os.sep}{folder[len(root) :].strip(os.sep)}".strip(os.sep)


def folders_named(name: str, roots: Iterable[str]) -> Iterator[list[str]]:
    """The folders that a name may mean, there or not, the likeliest first.

    They are what ``folder_name`` calls so; then what begins with the last name of a library's
    folder; then what lies in one.
    """
    names = root_names(roots)
    wanted = name.strip(os.sep)
    last_names = {root: os.path.basename(root.rstrip(os.sep)) for root in names}  # noqa: PTH119
    for called in (names, last_names, dict.fromkeys(names, "")):
        places = [
            (os.path.normpath(f"{root.rstrip(os.sep)}{os.sep}{wanted[len(start) :]}"), root)
            for root, start in called.items()
            if f"{wanted}{os.sep}".startswith(f"{start}{os.sep}".lstrip(os.sep))
        ]
        yield [place for place, root in places if PurePath(place).is_relative_to(root)]  # no ".."


def folders_called(name: str, paths: Iterable[str], roots: Sequence[str]) -> list[str]:
    """The folders of this name (or end of a path), whatever its case, that paths lie in.

    Those inside another one are left out.
    """
    wanted = PurePath(name.strip(os.sep).casefold()).parts
    found = set()
    for path in paths:
        for folder in PurePath(path).parents:
            last = tuple(part.casefold() for part in folder.parts[-len(wanted) :])
            if last == wanted and any(folder.is_relative_to(root) for root in roots):
                found.add(folder)
                break
    outermost: list[PurePath] = []
    for folder in sorted(found):
        if not outermost or not folder.is_relative_to(outermost[-1]):
            outermost.append(folder)
    return list(map(str, outermost))
