"""The words that people put into folder and file names, without what cameras put there."""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise
from pathlib import PurePath, PurePosixPath

from mmrag_plugin.media import Signal, kind_of

MAX_CHARS = 500  # of one signal; a deep tree of long names says nothing more

_DATE = r"(?:19|20)\d\d[-_. ]?(?:0[1-9]|1[0-2])[-_. ]?(?:0[1-9]|[12]\d|3[01])"
_CLOCK = (
    r"(?:[-_ T.]| at )?[0-2]\d[-_.:h]?[0-5]\d(?:[-_.:m]?[0-5]\d)?(?:[-_.]?\d{1,6})?(?: ?[ap]m\b)?"
)
_DATE_AND_CLOCK = re.compile(rf"(?<!\d){_DATE}(?:{_CLOCK})?(?!\d)", re.I)
_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.I)
_NO_WORD = "0"  # in the place of a date: a number that no person means
_SEPARATORS = re.compile(r"[\s_.,;:!()\[\]{}+~#=@%$^&-]+")
_LONE_DASH_OR_UNDERSCORE = re.compile(r"_+|(?<!\d)-+|-+(?!\d)")  # dates keep their dashes
# A capital after two small letters begins a word: LisbonTrip, but not iPhone or McDonald.
_HUMP = re.compile(r"(?<=[a-z]{2})(?=[A-Z])")
_WRITTEN_WITH_HUMPS = frozenset("whatsapp youtube facetime tiktok linkedin paypal snapchat".split())

_CAMERA_PREFIXES = frozenset(
    "img dsc dscn dscf dcim pxl vid mvi mov mvimg gopr pict cimg fb".split()
)
# People use these too: Sam and Anna, Signal hill. Before a counter or a date they are a camera's.
_CAMERA_WORDS = frozenset("image images pano sam signal gopro dji".split())
_CAMERA_SUFFIXES = frozenset(
    "burst cover edited hdr lrg ls mp pano portrait nef cr2 arw dng raw".split()
)
_CAMERA_COUNTER = re.compile(
    r"(?:IMG|E|DSC[NF]?|PXL|VID|MVI|MOV|GOPR|G[HPX]|DJI|PICT|SAM|CIMG|WA|P|R|L|KIF|HPIM|BURST)"
    r"E?\d{3,}|\d{5}[a-z]*PORTRAIT",
    re.I,
)
_EMPTY_WORDS = frozenset(
    "photo photos picture pictures video videos file fullsizerender unnamed untitled copy "
    "received jpg jpeg png heic gif mp4".split()
)
_EMPTY_ALONE = frozenset({"image", "images"})
_NUMBERED_WORD = re.compile(r"([^\W\d_]{3,})\d+")
_NUMBER_OF_PEOPLE = re.compile(r"[1-9]\d{0,2}|(?:19|20)\d\d")  # a count, a route, a year
_HEXADECIMAL = re.compile(r"(?=.*\d)(?=.*[a-f])[0-9a-f]{8,}", re.I)
_LETTER_DIGIT_CHANGE = re.compile(r"(?<=\d)(?=[^\W\d_])|(?<=[^\W\d_])(?=\d)")

# DCIM/100CANON is how the Design rule for Camera File system (JEITA CP-3461) names folders;
# the others are made by phones and exports.
_MACHINE_FOLDER = re.compile(
    r"DCIM|\d{3}[A-Z0-9_]{5}|Camera|Camera Roll|Takeout|Google Photos|Photos from \d{4}", re.I
)


def path_signals(relative_path: PurePath | str) -> list[Signal]:
    """Give one ``path`` signal with the words of a path relative to its root, or none."""
    words = path_words(relative_path)
    return [Signal("path", words)] if words else []


def path_words(relative_path: PurePath | str) -> str:
    """Read folder and file names: ``2019/Lisbon trip/IMG_2031.jpg`` gives ``Lisbon trip``.

    A folder's name is kept whole, years included, once it holds a word. Of a file's name only
    words remain; dates, counters, camera prefixes, hashes and other machine-made parts go.
    """
    path = PurePosixPath(relative_path) if isinstance(relative_path, str) else relative_path
    parts = [_folder_words(_clean(folder)) for folder in path.parts[:-1]]
    parts.append(" ".join(_words(_clean(_without_suffix(path.name)))))
    seen: set[str] = set()
    kept = []
    for part in parts:
        words = set(part.casefold().split())
        if words - seen:
            seen |= words
            kept.append(part)
    return ", ".join(kept)[:MAX_CHARS]


def _clean(name: str) -> str:
    """Compose letters (macOS stores them decomposed) and drop what is not text."""
    printable = "".join(char if char.isprintable() else " " for char in name)
    return unicodedata.normalize("NFC", printable).strip()


def _without_suffix(file_name: str) -> str:
    return PurePosixPath(file_name).stem if kind_of(file_name) else file_name


def _folder_words(name: str) -> str:
    if _MACHINE_FOLDER.fullmatch(name) or name in ("/", ".", "..") or not _words(name):
        return ""
    spaced = _LONE_DASH_OR_UNDERSCORE.sub(" ", name)
    return " ".join(word for token in spaced.split() for word in _without_humps(token))


def _words(name: str) -> list[str]:
    """List the words of a name that a person may have meant; a number only beside a word."""
    undated = _DATE_AND_CLOCK.sub(f" {_NO_WORD} ", _UUID.sub(f" {_NO_WORD} ", name))
    tokens = [token for token in _SEPARATORS.split(undated) if token]
    by_camera = bool(tokens) and (_is_prefix(*tokens[:2]) or _is_counter(tokens[0]))
    words: list[str] = []
    counter_next = False
    for token, after in pairwise([*tokens, ""]):
        is_counter = counter_next and token.isdecimal()
        counter_next = _is_prefix(token, after)
        if counter_next or is_counter or (by_camera and token.casefold() in _CAMERA_SUFFIXES):
            continue
        words.extend(word for hump in _without_humps(token) if (word := _word(hump)))
    meant = (not word.isdecimal() and word.casefold() not in _EMPTY_ALONE for word in words)
    return words if any(meant) else []


def _is_prefix(token: str, after: str = "") -> bool:
    """Whether a camera wrote this word, by itself and by what comes after it."""
    folded = token.casefold()
    return folded in _CAMERA_PREFIXES or (
        folded in _CAMERA_WORDS and (after.isdecimal() or _is_counter(after))
    )


def _is_counter(token: str) -> bool:
    return bool(_CAMERA_COUNTER.fullmatch(token))


def _word(token: str) -> str:
    """Give a token without its counter; nothing when a machine made it."""
    if token.isdecimal():
        return token if _NUMBER_OF_PEOPLE.fullmatch(token) else ""
    if _is_counter(token) or _HEXADECIMAL.fullmatch(token):
        return ""
    if numbered := _NUMBERED_WORD.fullmatch(token):
        token = numbered[1]
    changes = len(_LETTER_DIGIT_CHANGE.findall(token))
    if changes > 3 or (changes and len(token) > 12):  # an identifier, not a gate or a model
        return ""
    folded = token.casefold()
    if folded in _EMPTY_WORDS or folded in _CAMERA_PREFIXES:
        return ""
    return token if any(char.isalnum() for char in token) else ""


def _without_humps(token: str) -> list[str]:
    return [token] if token.casefold() in _WRITTEN_WITH_HUMPS else _HUMP.split(token)
