"""BM25 as sparse vectors: term frequency on the document's side, rarity on the query's.

An inner product of the two is the BM25 score (Robertson and Zaragoza, "The Probabilistic Relevance
Framework: BM25 and Beyond", 2009), the same on every Milvus that knows sparse vectors. Milvus's own
BM25 function counts in the embedded version how rare a word is within each segment, so that a photo
that was added yesterday ranks by other rules than one of last year; here it is counted over the
whole library, in the ledger, at the time of the question.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

BM25_VERSION = 1
K1 = 1.2  # how soon a repeated word stops to count
B = 0.75  # how much a long text is held against its words
# The length that is neither long nor short. A constant, because the mean over the library would
# change under vectors that are already written.
USUAL_TERMS = 8.0
_DIMENSIONS = 2**32 - 2  # of a sparse vector in Milvus


def document_vector(terms: Sequence[str]) -> dict[int, float]:
    """Weigh the terms of a document by how often they occur in it."""
    length = K1 * (1 - B + B * len(terms) / USUAL_TERMS)
    return {
        dimension(term): count * (K1 + 1) / (count + length)
        for term, count in Counter(terms).items()
    }


def query_vector(
    terms: Iterable[str], document_counts: Mapping[str, int], documents: int
) -> dict[int, float]:
    """Weigh the terms of a query by how rare they are.

    ``document_counts`` says in how many of all ``documents`` a term occurs, 0 if it is left out.
    """
    weights = rarity(terms, document_counts, documents)
    return {dimension(term): weight for term, weight in weights.items()}


def rarity(
    terms: Iterable[str], document_counts: Mapping[str, int], documents: int
) -> dict[str, float]:
    """How much each term tells, by how few documents have it; counts as of ``query_vector``."""
    return {
        term: math.log(1 + (documents - counted + 0.5) / (counted + 0.5))
        for term in terms
        for counted in [min(document_counts.get(term, 0), documents)]
    }


@lru_cache(maxsize=65_536)
def dimension(term: str) -> int:
    """The dimension of a term: a hash, so that no dictionary has to be kept.

    Two of a million terms share one with a chance of one in ten thousand each; then a search for
    one finds the other too, far down the list.
    """
    digest = hashlib.blake2b(term.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") % _DIMENSIONS
