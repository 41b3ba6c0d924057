"""Sets of queries: what formats say, what hostile files lead to, and what is found in a library."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media_made import opened, picture
from mmrag_plugin.errors import NotFound, StorageError, UsageError
from mmrag_plugin.evaluation.formats.base import Content
from mmrag_plugin.evaluation.sets import (
    FORMATS,
    Asked,
    AskedSet,
    Query,
    QuerySet,
    Wanted,
    asked_of,
    queries_once,
    query_id,
    read_set,
)
from mmrag_plugin.library import MediaLibrary

DOG, CAT = Query("a dog", (Wanted("dog.jpg"),)), Query("a cat", (Wanted("cat.jpg"),))
FILM = (Query("a goal", (Wanted("match", 5.0, 15.0),)),)

# What one file in each format says; a format has several where it is found in several shapes.
EXAMPLES: dict[str, list[tuple[str, tuple[Query, ...]]]] = {
    "mmrag": [
        (
            '{"query": "a dog", "relevant": ["dog.jpg"]}\n\n'
            '{"query": " a\\ncat ", "relevant": [{"media": "cat.jpg"}]}\n'
            '{"query": "a zebra", "relevant": []}\n'
            '{"query": "it", "relevant": [{"media": "f", "start_s": 1, "end_s": 2.5, "grade": 3}]}',
            (
                DOG,
                CAT,
                Query("a zebra", ()),
                Query("it", (Wanted("f", 1.0, 2.5, 3),)),
            ),
        )
    ],
    "captions": [
        (json.dumps({"dog.jpg": ["a dog"], "cat.jpg": "a cat"}), (DOG, CAT)),
        (
            json.dumps(
                [
                    {"file_name": "dog.jpg", "caption": "a dog"},
                    {"image": "cat.jpg", "caption": "a cat"},
                ]
            ),
            (DOG, CAT),
        ),
        ("dog.jpg#0\ta dog\r\ncat.jpg#1\ta cat\n", (DOG, CAT)),
        ("image,caption\ndog.jpg,a dog\ncat.jpg,a cat\n", (DOG, CAT)),
    ],
    "coco": [
        (
            json.dumps(
                {
                    "images": [
                        {"id": 7, "file_name": "dog.jpg"},
                        {"id": 8, "file_name": "cat.jpg"},
                    ],
                    "annotations": [
                        {"image_id": 7, "caption": "a dog"},
                        {"image_id": 8, "caption": "a cat"},
                    ],
                }
            ),
            (DOG, CAT),
        )
    ],
    "karpathy": [
        (
            json.dumps(
                {
                    "images": [
                        {"filename": "dog.jpg", "split": "test", "sentences": [{"raw": "a dog"}]},
                        {"filename": "x.jpg", "split": "train", "sentences": [{"raw": "an x"}]},
                        {"filename": "cat.jpg", "split": "test", "sentences": [{"raw": "a cat"}]},
                    ]
                }
            ),
            (DOG, CAT),
        )
    ],
    "msrvtt": [
        (
            json.dumps(
                {
                    "videos": [{"video_id": "dog.jpg"}, {"video_id": "cat.jpg"}],
                    "sentences": [
                        {"video_id": "dog.jpg", "caption": "a dog"},
                        {"video_id": "cat.jpg", "caption": "a cat"},
                    ],
                }
            ),
            (DOG, CAT),
        ),
        ("key,vid_key,video_id,sentence\nr0,m0,dog.jpg,a dog\nr1,m1,cat.jpg,a cat\n", (DOG, CAT)),
    ],
    "didemo": [
        (
            json.dumps(
                [{"video": "match", "description": "a goal", "times": [[0, 0], [1, 2], [1, 2]]}]
            ),
            FILM,
        )
    ],
    "qvhighlights": [
        (
            '{"qid": 1, "query": "a goal", "vid": "match", "relevant_windows": [[5, 15]]}',
            FILM,
        )
    ],
}
SHAPES = [(name, text, queries) for name, shapes in EXAMPLES.items() for text, queries in shapes]


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_every_format_has_an_example() -> None:
    assert {format.name for format in FORMATS} == EXAMPLES.keys()


@pytest.mark.parametrize(("name", "text", "queries"), SHAPES)
def test_a_file_is_read_whether_its_format_is_named_or_told_by_its_content(
    name: str, text: str, queries: tuple[Query, ...], tmp_path: Path
) -> None:
    file = written(tmp_path / "set", text)
    assert read_set(file).format == name
    assert read_set(file).queries == read_set(file, name).queries == queries
    assert [f.name for f in FORMATS if f.recognises(Content("set", text))] == [name]


@pytest.mark.parametrize(("name", "text", "queries"), SHAPES)
def test_what_is_cut_off_or_of_another_format_is_refused_or_still_a_set(
    name: str, text: str, queries: tuple[Query, ...], tmp_path: Path
) -> None:
    for end in range(0, len(text), 7):
        read_or_refused(tmp_path, text[:end], name)
        read_or_refused(tmp_path, text[:end], None)
    for format in FORMATS:
        read_or_refused(tmp_path, text, format.name)


def read_or_refused(folder: Path, text: str, name: str | None) -> None:
    try:
        found = read_set(written(folder / "set", text), name)
    except UsageError as error:
        said = error.message, error.remedy
        assert all(said)
    else:
        assert found.queries
        assert all(query.text.strip() for query in found.queries)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                "query relevant media start_s end_s grade images annotations id image_id file_name "
                "caption filename split sentences raw videos video_id video description times vid "
                "relevant_windows".split()
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=20,
)


@settings(deadline=None)
@given(
    st.one_of(
        st.text(max_size=200),
        JSON.map(json.dumps),
        st.lists(JSON.map(json.dumps), max_size=4).map("\n".join),
    )
)
def test_whatever_stands_in_a_file_it_is_read_or_refused_with_our_errors(text: str) -> None:
    for format in FORMATS:
        content = Content("set", text)
        assert format.recognises(content) in (True, False)
        try:
            found = queries_once("set", format.name, format.queries(content))
        except UsageError:
            continue
        for query in found.queries:
            query.text.encode()
            for wanted in query.wanted:
                assert wanted.start_s is None or 0 <= wanted.start_s < (wanted.end_s or 0)
                assert wanted.end_s is None or math.isfinite(wanted.end_s)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no known format"),
        ("[" * 100_000, "no known format"),
        ('{"query": "x", "relevant": [], "n": ' + "[" * 100_000, "no known format"),
        ('{"query": "a", "relevant": "b"}', "line 1, relevant is no list"),
        ('{"query": "a", "relevant": []}\nnonsense', "line 2 is no JSON object"),
        ('{"query": 5, "relevant": ["b"]}', "line 1 has no text 'query'"),
        ('{"query": "a", "relevant": [""]}', "names no media"),
        ('{"query": "a", "relevant": [{"media": "b", "start_s": 5, "end_s": 5}]}', "no span"),
        ('{"query": "a", "relevant": [{"media": "b", "start_s": NaN, "end_s": 5}]}', "no span"),
        ('{"query": "a", "relevant": [{"media": "b", "start_s": -1, "end_s": 5}]}', "no span"),
        ('{"query": "a", "relevant": [{"media": "b", "grade": 0}]}', "grade"),
        ('{"query": "a", "relevant": [{"media": "b", "grade": 1e9}]}', "grade"),
        (json.dumps({"query": "a" * 2001, "relevant": ["b"]}), "more than 2000"),
        ('{"query": " ", "relevant": ["b"]}', "has no queries"),
        ('{"a.jpg": []}', "has no queries"),
        ('{"images": [], "annotations": [{"image_id": 1, "caption": "x"}]}', "not among"),
        ('[{"video": "a", "description": "x", "times": []}]', "has no times"),
        ('[{"video": "a", "description": "x", "times": [[2, 1]]}]', "no span"),
        ('{"query": "a", "vid": "b", "relevant_windows": []}', "no relevant windows"),
    ],
)
def test_a_set_that_is_not_sound_says_where(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        read_set(written(tmp_path / "set", text))


def test_what_is_no_file_of_queries_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="can't be read"):
        read_set(tmp_path / "none.json")
    with pytest.raises(StorageError, match="can't be read"):
        read_set(tmp_path)
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(UsageError, match="UTF-8"):
        read_set(tmp_path / "bytes")
    with pytest.raises(UsageError, match="no format 'flickr'"):
        read_set(written(tmp_path / "set", "{}"), "flickr")


def test_splits_are_named_or_refused(tmp_path: Path) -> None:
    file = written(tmp_path / "set", EXAMPLES["karpathy"][0][0])
    assert [query.text for query in read_set(file, split="train").queries] == ["an x"]
    with pytest.raises(UsageError, match="no split 'val', but test, train"):
        read_set(file, split="val")
    for name in ("captions", "coco", "didemo", "qvhighlights"):
        with pytest.raises(UsageError, match="no splits"):
            read_set(written(tmp_path / name, EXAMPLES[name][0][0]), split="val")


def test_queries_that_say_the_same_are_one_that_all_their_media_answer(tmp_path: Path) -> None:
    text = json.dumps({"a.jpg": ["My bed.", ""], "b.jpg": ["my bed", "my desk"]})
    found = read_set(written(tmp_path / "set", text))
    assert found.queries == (
        Query("My bed.", (Wanted("a.jpg"), Wanted("b.jpg"))),
        Query("my desk", (Wanted("b.jpg"),)),
    )
    assert len(found.notes) == 2


# ---- in a library ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MediaLibrary]:
    home = tmp_path_factory.mktemp("home")
    folder = tmp_path_factory.mktemp("media")
    picture(folder / "red.png", "red")
    picture(folder / "one" / "same.png", "blue", number=1)
    picture(folder / "two" / "same.png", "green", number=2)
    with opened(home) as found:
        found.index([folder])
        yield found


def ids_of(library: MediaLibrary) -> dict[str, str]:
    return {
        f"{Path(row.path).parent.name}/{Path(row.path).name}": media_id
        for media_id, row in library.ledger.media_rows().items()
    }


def test_media_are_found_by_id_path_name_and_stem_but_not_by_a_name_that_two_have(
    library: MediaLibrary,
) -> None:
    ids = ids_of(library)
    red = next(media_id for name, media_id in ids.items() if name.endswith("red.png"))
    path = library.ledger.media_rows([red])[red].path
    for name in (red, path, "red.png", "red", "train/red.png"):
        asked = asked_of(library.ledger, QuerySet("s", "mmrag", (Query("q", (Wanted(name),)),)))
        assert asked.queries[0].relevant == {red: 1}, name
    named = QuerySet("s", "mmrag", (Query("q", (Wanted("one/same.png"),)),))
    assert asked_of(library.ledger, named).queries[0].relevant == {ids["one/same.png"]: 1}
    with pytest.raises(NotFound, match=r"same\.png"):
        asked_of(library.ledger, QuerySet("s", "mmrag", (Query("q", (Wanted("same.png"),)),)))


def test_what_the_library_lacks_is_left_out_and_counted(library: MediaLibrary) -> None:
    queries = (
        Query("red", (Wanted("red"), Wanted("gone.jpg"))),
        Query("gone", (Wanted("gone.jpg"), Wanted("../../etc/passwd"))),
        Query("nothing", ()),
    )
    asked = asked_of(library.ledger, QuerySet("s", "mmrag", queries))
    assert [query.text for query in asked.queries] == ["red", "nothing"]
    assert [query.text for query in asked.answered] == ["red"]
    assert "2 media of the set are not in the library" in asked.notes[0]
    assert "1 queries about nothing else" in asked.notes[0]


def test_a_query_that_everything_answers_is_named(library: MediaLibrary) -> None:
    everything = tuple(Wanted(media_id) for media_id in library.ledger.media_rows())
    asked = asked_of(library.ledger, QuerySet("s", "mmrag", (Query("all", everything),)))
    assert any("answered by every media" in note for note in asked.notes)


# ---- parts of a set ----------------------------------------------------------------------------


def asked_set(*answers: str) -> AskedSet:
    """A query for each answer: its letters are the media."""
    queries = tuple(
        Asked(query_id(f"{number}"), f"{number}", dict.fromkeys(letters, 1), {})
        for number, letters in enumerate(answers)
    )
    return AskedSet("s", "mmrag", queries)


@settings(deadline=None)
@given(st.lists(st.text("abcdefghij", max_size=3), min_size=2, max_size=30), st.integers(0, 9))
def test_no_media_answers_queries_of_both_parts(answers: list[str], seed: int) -> None:
    whole = asked_set(*answers)
    try:
        first, rest = whole.split(0.5, seed)
    except UsageError:
        return
    assert sorted(q.id for q in (*first.queries, *rest.queries)) == sorted(
        q.id for q in whole.queries
    )
    media = [{m for q in part.queries for m in q.relevant} for part in (first, rest)]
    assert media[0].isdisjoint(media[1])
    assert whole.split(0.5, seed) == (first, rest)


def test_a_set_that_hangs_together_cannot_be_parted() -> None:
    with pytest.raises(UsageError, match="can't be parted"):
        asked_set("ab", "bc", "ca").split()


def test_some_queries_are_drawn_the_same_each_time() -> None:
    whole = asked_set(*"abcdefgh")
    assert whole.some(None) is whole
    assert whole.some(8) is whole
    drawn = whole.some(3, seed=1)
    assert len(drawn.queries) == 3
    assert drawn == whole.some(3, seed=1)
    assert "3 of 8 queries were drawn" in drawn.notes[0]


def test_the_digest_tells_sets_apart_and_not_their_order() -> None:
    whole = asked_set("a", "b")
    assert whole.digest == replace(whole, queries=whole.queries[::-1]).digest
    assert whole.digest != asked_set("a", "bc").digest
