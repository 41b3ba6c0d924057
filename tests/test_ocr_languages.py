"""How languages of text in pictures may be named."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrag_plugin.errors import UsageError
from mmrag_plugin.signals.ocr_languages import LANGUAGES, languages_named


@pytest.mark.parametrize(
    ("named", "codes"),
    [
        ("", []),
        ("en", ["en"]),
        ("en,de,ru", ["en", "de", "ru"]),
        (" de-AT , DE , german, deu,", ["de"]),
        ("zh, zh-Hans, zh-CN", ["zh"]),
        ("zh-TW, zh_Hant_HK", ["zh-hant"]),
        ("chi_tra, nb, fil", ["zh-hant", "no", "tl"]),
        ("Traditional Chinese", ["zh-hant"]),
    ],
)
def test_codes_tags_and_names_are_understood(named: str, codes: list[str]) -> None:
    assert [language.code for language in languages_named(named)] == codes


@pytest.mark.parametrize("named", ["klingon", "xx", "en;rm -rf", "--help", "../eng", "en+ru"])
def test_what_is_no_language_is_said(named: str) -> None:
    with pytest.raises(UsageError, match="no language"):
        languages_named(named)


@given(st.text(max_size=40))
def test_any_text_is_a_list_of_languages_or_wrong_usage(text: str) -> None:
    try:
        found = languages_named(text)
    except UsageError:
        return
    assert set(found) <= set(LANGUAGES.values())


def test_no_name_of_a_language_can_be_an_option_or_a_path() -> None:
    for language in LANGUAGES.values():
        assert language.tesseract.replace("_", "").isalpha()
        assert language.tesseract.isascii()
        assert language.letters
