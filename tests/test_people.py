"""The people in a picture as one piece of text, and back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mmrag_plugin.media import Signal
from mmrag_plugin.people import merged_people, people_in, people_signals


def test_people_become_one_annotation() -> None:
    assert people_signals(["Anna", "rex", "ANNA", " ", "--"]) == [
        Signal("annotation", "People: Anna, rex")
    ]
    assert people_signals(["Doe, John"]) == [Signal("annotation", "People: Doe John")]
    assert people_signals([]) == []


def test_people_that_several_files_name_stand_together() -> None:
    said = [
        Signal("annotation", "A day out"),
        *people_signals(["Anna"]),
        Signal("path", "People: of the sea"),
        *people_signals(["anna", "Rex"]),
    ]
    assert merged_people(said) == [
        Signal("annotation", "A day out"),
        Signal("annotation", "People: Anna, Rex"),
        Signal("path", "People: of the sea"),
    ]
    assert people_in(said) == ["Anna", "Rex"]


@given(st.lists(st.text()))
def test_names_come_back_as_they_were_given(names: list[str]) -> None:
    people = people_in(people_signals(names))
    assert people_in(people_signals(people)) == people
    for signal in people_signals(names):
        signal.text.encode(errors="surrogatepass")
        assert signal.text.isprintable() or "\n" not in signal.text
