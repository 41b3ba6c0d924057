"""What a plain reading of BM25 promises, over any terms."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from mmrag_plugin.bm25 import dimension, document_vector, query_vector
from mmrag_plugin.milvus_rows import NO_TERMS

TERM = st.text(max_size=12)
TERMS = st.lists(TERM, max_size=40)
COUNT = st.integers(min_value=0, max_value=10_000_000)


def score(query: Mapping[int, float], document: Mapping[int, float]) -> float:
    return sum(weight * document.get(place, 0.0) for place, weight in query.items())


@given(terms=TERMS, data=st.data())
def test_the_order_of_terms_does_not_matter(terms: list[str], data: st.DataObject) -> None:
    other = data.draw(st.permutations(terms))
    assert document_vector(other) == document_vector(terms)
    assert query_vector(other, {}, 5) == query_vector(terms, {}, 5)


@given(terms=st.lists(TERM, min_size=1, max_size=40))
def test_a_document_that_holds_a_term_has_a_positive_score(terms: list[str]) -> None:
    assert score(query_vector(terms[:1], {}, 0), document_vector(terms)) > 0


@given(terms=TERMS, term=TERM)
def test_one_more_occurrence_never_lowers_the_weight_of_a_term(terms: list[str], term: str) -> None:
    place = dimension(term)
    before = document_vector(terms).get(place, 0.0)
    assert document_vector([*terms, term])[place] > before


@given(terms=TERMS, term=TERM, other=TERM)
def test_a_longer_text_lowers_the_weight_of_its_other_terms(
    terms: list[str], term: str, other: str
) -> None:
    if term == other:
        return
    place = dimension(term)
    assert document_vector([term, *terms, other])[place] < document_vector([term, *terms])[place]


@given(term=TERM, count=COUNT, more=COUNT, documents=COUNT)
def test_a_rarer_term_never_weighs_less_and_no_term_weighs_nothing(
    term: str, count: int, more: int, documents: int
) -> None:
    (rare,) = query_vector([term], {term: count}, documents).values()
    (common,) = query_vector([term], {term: count + more}, documents).values()
    assert rare >= common > 0


@given(terms=TERMS, documents=COUNT)
def test_a_repeated_term_of_a_query_counts_once(terms: list[str], documents: int) -> None:
    assert query_vector(terms + terms, {}, documents) == query_vector(terms, {}, documents)


def test_a_term_that_no_document_holds_is_the_rarest() -> None:
    unknown, known = query_vector(["a", "b"], {"b": 1}, 100).values()
    assert unknown > known


def test_no_terms_give_empty_vectors() -> None:
    assert document_vector([]) == query_vector([], {}, 10) == {}


@given(term=TERM)
def test_a_term_has_a_dimension_that_milvus_allows_and_rows_without_words_do_not_use(
    term: str,
) -> None:
    assert 0 <= dimension(term) < min(NO_TERMS) < 2**32 - 1


def test_the_dimension_of_a_term_is_the_same_in_every_process() -> None:
    assert dimension("gate") == 1_676_257_872
