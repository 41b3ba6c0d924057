"""Turn text into the terms of word search (BM25), the same way for documents and for queries.

Terms are plain ASCII without spaces and of bounded length, so that any database takes them as keys
and ``" ".join(terms)`` can be split again.
"""

from __future__ import annotations

import hashlib
import re
import threading
import unicodedata
from collections.abc import Sequence
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any

# Names the way text becomes terms: rows that were written under another version do not match.
TERMS_VERSION = 2

MAX_TERM_CHARS = 40
_ENCODED_PREFIX = "zqx"  # no word of any language that is written in ASCII begins like this

_STOP_WORDS = frozenset(
    "a about am an and any are as at be been being but by can could did do does doing done for "
    "from had has have having he her hers him his how i if in into is it its itself just me mine "
    "my myself no nor not of on onto or our ours shall she should so some such than that the "
    "their theirs them themselves then there these they this those to too us very was we were "
    "what when where which while who whom whose why will with would you your yours".split()
)

# Letters that Unicode does not decompose but that people type without their stroke or ligature.
_PLAIN = str.maketrans(
    {"æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "\u0131": "i"}
)

_DIACRITICS = re.compile("[\u0300-\u036f]")  # of Latin, Greek and Cyrillic; others carry vowels
_INVISIBLE = re.compile("[\u00ad\u200c\u200d]")  # soft hyphen and (non-)joiners inside words
# Vowel signs belong to words in many scripts, but Python's \w leaves marks out.
_MARKS = "".join(
    chr(code) for code in range(0x0300, 0x2000) if unicodedata.category(chr(code))[0] == "M"
)
_LETTERS = rf"(?:[^\W_]|[{_MARKS}\u3099\u309a\u00ad\u200c\u200d])+"
_WORD = re.compile(_LETTERS)
_HYPHENS = "-\u2010\u2011"
_TOKEN = re.compile(rf"{_LETTERS}(?:[{_HYPHENS}]{_LETTERS})*")
_CONTRACTION = re.compile(
    "(?<=[^\\W_])(?:['\u2019](?:s|d|m|ll|re|ve)|n['\u2019]t)(?![^\\W_])", re.I
)
# Scripts that are written without spaces: Thai, Lao, Myanmar, Khmer, kana, Han, Hangul.
_UNSPACED = re.compile(
    "([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]+)"
)

_stemmer_lock = threading.Lock()  # a stemmer keeps the word that it works on in itself


def terms_of(text: str) -> list[str]:
    """Split text into terms ``[a-z0-9]+`` of at most 40 characters, in order, repeats kept.

    Case, accents and English endings are folded, stop words are left out unless there is nothing
    else, scripts without spaces become overlapping pairs of characters, and a compound such as
    ``B-42`` gives ``b``, ``42`` and ``b42``.
    """
    return [term for _, terms in _tokens(text) for term in terms]


def telling_terms(text: str) -> list[str]:
    """The terms of a text without its stop words, even where there is nothing else."""
    analysed = map(_analyse, _TOKEN.findall(_CONTRACTION.sub("", text)))
    return [term for terms, is_stop_word in analysed if not is_stop_word for term in terms]


def words_of(text: str) -> list[str]:
    """The words of a text as they are written, stop words too, without case, accents and signs."""
    return _WORD.findall(_fold(text))


def names_in(words: str, text: str) -> bool:
    """Whether words stand in a text one after the other, whatever their case and endings."""
    return _runs_in(terms_of(words), terms_of(text))


def quoted_in(phrase: str, text: str) -> bool:
    """Whether a phrase stands in a text word for word, whatever its case and its signs."""
    if _UNSPACED.search(phrase):
        return _fold(phrase) in _fold(text)
    return _runs_in(words_of(phrase), words_of(text))


def _runs_in(wanted: Sequence[str], words: Sequence[str]) -> bool:
    count = len(wanted)
    return bool(count) and any(
        word == wanted[0] and list(words[at : at + count]) == list(wanted)
        for at, word in enumerate(words)
    )


def matching_words(query: str, text: str) -> list[str]:
    """Return the words of ``text``, as written and each once, that word search matches."""
    wanted = frozenset(terms_of(query))
    found: dict[str, str] = {}
    for token, terms in _tokens(text):
        if wanted.isdisjoint(terms):
            continue
        for word in _matched_runs(token, wanted) or [token]:
            found.setdefault(word.casefold(), word)
    return list(found.values())


def encode_term(term: str) -> str:
    """Write a folded term as ``[a-z0-9]+``; a term that is so already stays as it is."""
    if term.isascii() and len(term) <= MAX_TERM_CHARS:
        return term
    encoded = term.encode("utf-8", "surrogatepass")
    spelled = _ENCODED_PREFIX + encoded.hex()
    if len(spelled) <= MAX_TERM_CHARS:
        return spelled
    return _ENCODED_PREFIX + hashlib.blake2b(encoded, digest_size=16).hexdigest()


def _tokens(text: str) -> list[tuple[str, tuple[str, ...]]]:
    """List each token as written with its terms, stop words only where there is nothing else."""
    words: list[tuple[str, tuple[str, ...]]] = []
    stop_words: list[tuple[str, tuple[str, ...]]] = []
    for token in _TOKEN.findall(_CONTRACTION.sub("", text)):
        cached = len(token) <= MAX_TERM_CHARS  # a few huge tokens must not fill the cache
        terms, is_stop_word = _analyse(token) if cached else _analyse.__wrapped__(token)
        (stop_words if is_stop_word else words).append((token, terms))
    return words or stop_words


@lru_cache(maxsize=65_536)
def _analyse(token: str) -> tuple[tuple[str, ...], bool]:
    """Give the terms of one token, and whether it is a stop word."""
    folded = _fold(token)
    if folded in _STOP_WORDS and token.lower() == folded:  # Vietnamese "bé" is no "be"
        return (folded,), True
    words = _WORD.findall(folded)
    kept = [word for word in words if word not in _STOP_WORDS] if len(words) > 1 else words
    terms = [term for word in kept for term in _terms_of_word(word)]
    if len(words) > 1 and any(hyphen in token for hyphen in _HYPHENS):
        terms.extend(_terms_of_word("".join(words)))
    return tuple(terms), False


def _fold(text: str) -> str:
    """Fold case, compatibility forms and the accents of Latin, Greek and Cyrillic letters."""
    if text.isascii():
        return text.lower()
    folded = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text)).casefold()
    bare = _DIACRITICS.sub("", unicodedata.normalize("NFKD", folded))
    return unicodedata.normalize("NFC", bare).translate(_PLAIN)


def _terms_of_word(word: str) -> list[str]:
    if word.isascii():
        return [encode_term(_stem(word))]
    terms: list[str] = []
    for position, part in enumerate(_UNSPACED.split(word)):
        if position % 2:
            terms.extend(encode_term(pair) for pair in _pairs(part))
        elif part:
            terms.append(encode_term(_stem(part)))
    return terms


def _stem(word: str) -> str:
    if not (word.isascii() and word.isalpha()):
        return word
    with _stemmer_lock:
        return str(_stemmer().stemWord(word))


@cache
def _stemmer() -> Any:
    import snowballstemmer  # here, as it brings all languages and takes as long as a search

    return snowballstemmer.stemmer("english")


def _pairs(run: str) -> list[str]:
    return [left + right for left, right in pairwise(run)] or [run]


def _matched_runs(token: str, wanted: frozenset[str]) -> list[str]:
    """Cut the matched stretches out of a token in a script without spaces; else nothing."""
    folded = _fold(token)
    if not _UNSPACED.fullmatch(folded):
        return []
    runs: list[str] = []
    end = -1
    for start, pair in enumerate(_pairs(folded)):
        if encode_term(pair) not in wanted:
            continue
        if start < end:
            runs[-1] += pair[end - start :]
        else:
            runs.append(pair)
        end = start + len(pair)
    return runs
