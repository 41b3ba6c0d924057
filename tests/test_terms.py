"""What word search sees of a text, whatever the language and the writer's habits."""

from __future__ import annotations

import re
import threading
import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrag_plugin.terms import MAX_TERM_CHARS, encode_term, matching_words, terms_of


@pytest.mark.parametrize(
    ("query", "document"),
    [
        ("dogs running", "A dog runs on the beach"),
        ("cafe zurich", "Café Zürich"),
        ("CAFÉ", "cafe\u0301"),
        ("strasse", "Hauptstraße, Straße"),
        ("smorrebrod", "Smørrebrød"),
        ("gate b42", "GATE: B-42"),
        ("wifi", "Wi-Fi password"),
        ("wi-fi", "wifi"),
        ("t-shirt", "a red tshirt"),
        ("girl's", "two girls"),
        ("東京駅", "東京駅前の店"),
        ("ガラス", "ｶﾞﾗｽ"),
        ("서울", "서울의 밤"),
        ("ทะเล", "ทะเลสวย"),
        ("елка", "Новогодняя ёлка"),
        ("हिन्दी", "यह हिन्दी है"),
        ("\uff11\uff12\uff13", "123"),
        ("the who", "The Who"),
    ],
)
def test_a_query_finds_the_document_that_means_the_same_word(query: str, document: str) -> None:
    assert set(terms_of(query)) & set(terms_of(document))


@pytest.mark.parametrize(
    ("query", "document"),
    [("b42", "gate 42"), ("हिन्दी", "हम"), ("dog", "the hot day"), ("½", "12"), ("港", "ab")],
)
def test_a_query_does_not_find_another_word(query: str, document: str) -> None:
    assert not set(terms_of(query)) & set(terms_of(document))


def test_stop_words_are_left_out_unless_there_is_nothing_else() -> None:
    assert terms_of("a photo of the harbour, isn't it?") == ["photo", "harbour"]
    assert terms_of("The Who") == ["the", "who"]
    assert terms_of("") == []
    assert terms_of(" -- !? ") == []


def test_repeats_are_kept_so_that_frequency_counts() -> None:
    assert terms_of("Dog, dogs and a dog") == ["dog", "dog", "dog"]


def test_scripts_without_spaces_become_overlapping_pairs() -> None:
    assert terms_of("東京駅") == [encode_term("東京"), encode_term("京駅")]
    assert terms_of("猫") == [encode_term("猫")]


def test_a_long_word_becomes_one_short_term() -> None:
    (term,) = terms_of("x" * 5000)
    assert len(term) <= MAX_TERM_CHARS
    assert terms_of("x" * 5000) != terms_of("x" * 5001)


def test_matching_words_are_the_words_as_written() -> None:
    text = "Boarding pass. GATE B42, gates close. Café in 東京駅前"
    assert matching_words("b42 gate", text) == ["GATE", "B42", "gates"]
    assert matching_words("cafes at 東京駅", text) == ["Café", "東京駅"]
    assert matching_words("the harbour", text) == []


def test_threads_do_not_spoil_each_others_stems() -> None:
    words = [f"{a}{b}ing" for a in "bcdfghjklmnp" for b in ("unn", "umpl", "opp", "ar", "ish")]
    alone = [terms_of(f"{word} thread") for word in words]
    wrong: list[str] = []

    def stem_all(suffix: str) -> None:
        for word, expected in zip(words, alone, strict=True):
            if terms_of(f"{word} {suffix}")[0] != expected[0]:
                wrong.append(word)

    threads = [threading.Thread(target=stem_all, args=(f"t{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_short_captions_are_split_fast_enough_for_large_libraries() -> None:
    captions = [f"Two children {n} play on a long skateboard in the yard" for n in range(4000)]
    started = time.process_time()
    for caption in captions:
        terms_of(caption)
    assert len(captions) / (time.process_time() - started) > 10_000  # 20,000 with room for CI


def test_an_accented_word_is_no_stop_word_of_english() -> None:
    assert terms_of("the bé") == ["be"]
    assert terms_of("to be or an apple") == ["appl"]


@given(st.text())
def test_any_text_gives_ascii_terms_that_any_database_takes_as_keys(text: str) -> None:
    terms = terms_of(text)
    assert all(re.fullmatch(f"[a-z0-9]{{1,{MAX_TERM_CHARS}}}", term) for term in terms)
    assert [encode_term(term) for term in terms] == terms
    assert re.findall(r"\w+", " ".join(terms).lower()) == terms
    assert terms_of(text) == terms


@given(st.text())
def test_composed_and_decomposed_text_have_the_same_terms(text: str) -> None:
    composed = unicodedata.normalize("NFC", text)
    assert terms_of(composed) == terms_of(unicodedata.normalize("NFD", composed))


@given(st.lists(st.text(alphabet="bcdfgé東京駅ガми0123456789", min_size=1, max_size=8), max_size=8))
def test_every_word_of_a_text_matches_itself(words: list[str]) -> None:
    text = " ".join(words)
    assert {word.casefold() for word in matching_words(text, text)} == {
        word.casefold() for word in words
    }


@given(st.text(), st.text())
def test_words_match_exactly_when_terms_do(query: str, text: str) -> None:
    shares_a_term = not set(terms_of(query)).isdisjoint(terms_of(text))
    assert bool(matching_words(query, text)) == shares_a_term
