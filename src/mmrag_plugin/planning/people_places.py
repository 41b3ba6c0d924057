"""Places, people, cameras and folders in a question, as far as the library knows their names."""

from __future__ import annotations

import re
from collections.abc import Callable

from mmrag_plugin.planning.reading import CUT, NEGATION, Reading
from mmrag_plugin.terms import telling_terms

_MOST_WORDS = 4
_NAME = rf"(?P<name>[^\W_][^\s,;:!?{CUT}]*(?:[ ][^\s,;:!?{CUT}]+){{0,{_MOST_WORDS - 1}}})"
_PLACE = re.compile(
    r"\b(?P<how>(?:taken |shot |made )?(?:in|from|near|at|around|close to|outside|across)"
    rf"|aus|bei|à|en)\s+{_NAME}",
    re.IGNORECASE,
)
_PERSON = re.compile(
    rf"\b(?:of|with|by|featuring|showing|von|mit|de|avec|con)\s+{_NAME}", re.IGNORECASE
)
_AND = re.compile(rf"\s*(?:,|\band\b|&|\bwith\b|\bund\b|\bet\b|\by\b)\s*{_NAME}", re.IGNORECASE)
_OWN = re.compile(
    r"^[\s\x1f]*(?P<name>[^\W\d_][\w-]*)'s?\s+(?=(?:photos|pictures|pics|images|videos|films|"
    r"clips)\b)",
    re.IGNORECASE,
)
_TOOK = re.compile(r"\b(?P<name>[A-Z][\w-]*)\s+(?:took|made|shot|filmed)\b")
_CAMERA = re.compile(
    r"\b(?:(?:taken|shot|made|filmed|recorded|captured|photographed)\s+)?"
    rf"(?:with|on|by|from|using|mit|avec|con)\s+(?:(?:my|the|an?|our|meine[mr]|dem|der)\s+)?{_NAME}",
    re.IGNORECASE,
)
_CAMERA_FIRST = re.compile(
    rf"^[\s{CUT}]*(?:(?:my|the|all)\s+)*{_NAME}(?=\s+(?:photos|pictures|pics|images|videos|clips)\b)",
    re.IGNORECASE,
)
_UNWANTED = re.compile(
    rf"\s*{NEGATION}(?:(?:from|in|inside|of|with|at|on|near|by)\s+)?(?:(?:the|my|our|any)\s+)?{_NAME}",
    re.IGNORECASE,
)
_FOLDER_NAMED = re.compile(
    r"\b(?:in|from|inside|under|of)\s+(?:the\s+|my\s+|our\s+)?(?:folder|album|directory)\s+"
    rf"(?:called\s+|named\s+)?{_NAME}",
    re.IGNORECASE,
)
_NAMED_FOLDER = re.compile(
    rf"\b(?:in|from|inside|under|of)\s+(?:the\s+|my\s+|our\s+)?{_NAME}\s+"
    r"(?:folder|album|directory)\b",
    re.IGNORECASE,
)
_IN_A_FOLDER = re.compile(rf"\b(?:in|from|inside|of|at)\s+(?:the|my|our)\s+{_NAME}", re.IGNORECASE)
_CALLED_FOLDER = re.compile(r"\s+(?:folder|album|directory)\b", re.IGNORECASE)
_FOLDER_FIRST = re.compile(
    rf"^(?:the\s+|my\s+|our\s+)?{_NAME}\s+(?:folder|album|directory)\b", re.IGNORECASE
)
_NO_NAME = frozenset(
    "red orange yellow green blue purple pink brown white black grey gray water snow rain front "
    "back top line air action motion color colour the a an my our his her their this that these "
    "those it them me us photo photos picture pictures video videos night day home".split()
)
_NO_CAMERA = frozenset("camera digital phone the with and canvas".split())


def take_names(read: Reading) -> None:
    """Take what is not wanted, then folders, cameras, places and people, in this order."""
    _take_unwanted(read)
    _take_folder(read)
    _take_camera(read)
    _take_people(read)
    _take_place(read)


def _take_unwanted(read: Reading) -> None:
    """``not in Rome``, ``not taken with my iPhone``: never what is asked for."""
    position = 0
    while (found := _UNWANTED.search(read.sentence.text, position)) is not None:
        position = found.start("name")
        name = _longest(found["name"], lambda words: _person(read, words) or _camera(read, words))
        if name is not None:
            read.without.append(_bare(name))
            end = position + len(name)
            called = _CALLED_FOLDER.match(read.sentence.text, end)
            read.sentence.take(found.start(), called.end() if called else end)
            position = found.start()


def _take_folder(read: Reading) -> None:
    for pattern in (_FOLDER_NAMED, _NAMED_FOLDER, _FOLDER_FIRST):
        for found in pattern.finditer(read.sentence.text):
            whole = pattern is not _FOLDER_NAMED
            name = _longest(found["name"], read.known.folder, whole=whole)
            if name is not None:
                read.filters["folder"] = read.known.folder(name)
                end = found.end() if whole else found.start("name") + len(name)
                read.sentence.take(found.start(), end)
                return
    for found in _IN_A_FOLDER.finditer(read.sentence.text):
        name = _longest(found["name"], lambda words: _folder_of_words(read, words))
        if name is not None:
            read.filters["folder"] = read.known.only_folder(name)
            read.sentence.take(found.start(), found.start("name") + len(name))
            return


def _folder_of_words(read: Reading, words: str) -> str | None:
    """A folder that is named by several words: "the garden" is any garden."""
    return read.known.only_folder(words) if " " in words.strip() else None


def _take_camera(read: Reading) -> None:
    for pattern in (_CAMERA, _CAMERA_FIRST):
        for found in pattern.finditer(read.sentence.text):
            name = _longest(found["name"], lambda words: _camera(read, words))
            if name is not None:
                read.filters["camera"] = name
                read.sentence.take(found.start(), found.start("name") + len(name))
                return


def _camera(read: Reading, words: str) -> str | None:
    telling = any(len(word) > 2 and not word.isdecimal() for word in words.split())
    common = all(word.casefold() in _NO_CAMERA for word in words.split())
    return read.known.camera(words) if telling and not common else None


def _take_people(read: Reading) -> None:
    own = _OWN.match(read.sentence.text) or _TOOK.search(read.sentence.text)
    if own is not None and _is_name(read, own["name"]):
        read.people.append(own["name"])
        read.sentence.take(*own.span())
    position = 0
    while (found := _PERSON.search(read.sentence.text, position)) is not None:
        position = found.start("name")
        name = _longest(found["name"], lambda words: _person(read, words))
        if name is None:
            continue
        start, end = found.start(), position + len(name)
        names = [name]
        while (more := _AND.match(read.sentence.text, end)) is not None:
            another = _longest(more["name"], lambda words: _person(read, words))
            if another is None:
                break
            names.append(another)
            end = more.start("name") + len(another)
        for name in names:
            if not _is_folder(read, name):
                read.people.append(_bare(name))
        read.sentence.take(start, end)
        position = start


def _take_place(read: Reading) -> None:
    position = 0
    while (found := _PLACE.search(read.sentence.text, position)) is not None:
        position = found.start("name")
        name = _longest(found["name"], lambda words: _place(read, words))
        if name is None:
            continue
        is_folder = _is_folder(read, name)
        if not is_folder:
            read.filters["near"] = _bare(name)
        read.sentence.take(found.start(), position + len(name))
        if not is_folder:
            return
        position = found.start()


def _person(read: Reading, words: str) -> str | None:
    return words if _is_name(read, words, folders=not words.islower()) else None


def _place(read: Reading, words: str) -> str | None:
    return words if _is_name(read, words) else None


def _is_folder(read: Reading, name: str) -> bool:
    """Take a name that is a folder's and nothing else's."""
    folder = None if "folder" in read.filters else read.known.only_folder(_bare(name))
    if folder is not None:
        read.filters["folder"] = folder
    return folder is not None


def _is_name(read: Reading, words: str, *, folders: bool = True) -> bool:
    """Whether words are a name here: as the library knows it, and as the question writes names."""
    bare = _bare(words)
    if not bare or not telling_terms(bare.split()[-1]):  # "Anna and" is no name
        return False
    if any(word.casefold() in _NO_NAME for word in bare.split()[:1]):
        return False
    if bare[:1].islower() and _writes_names_large(read):
        return False
    return read.known.is_name(bare, folders=folders)


def _writes_names_large(read: Reading) -> bool:
    return any(word[:1].isupper() for word in read.sentence.text.split()[1:] if word != "I")


def _bare(words: str) -> str:
    """A name without its possessive and signs."""
    return re.sub(r"(?:'s?)?[.!?'\"]*$", "", words)


def _longest(words: str, known: Callable[[str], str | None], *, whole: bool = False) -> str | None:
    """The longest beginning of some words that is known; as it stands in the text."""
    parts = words.split(" ")
    for count in range(len(parts), 0, -1):
        tried = " ".join(parts[:count])
        is_possessive = re.search(r"'s$", tried) is not None and count < len(parts)
        if not is_possessive and known(tried.rstrip(".!?")):
            return tried.rstrip(".!?")
        if whole:
            return None
    return None
