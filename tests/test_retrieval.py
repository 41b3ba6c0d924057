"""Searching a library: what is found, why, and within which restrictions."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from llama_index.core import Settings as LlamaSettings
from llama_index.core.base.llms.types import CompletionResponse, CompletionResponseGen, LLMMetadata
from llama_index.core.llms import CustomLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import ImageNode, MetadataMode, QueryBundle, TextNode

from made_films import BLUE, GREEN, RED, write_film
from media_made import describe, end_owner, opened, picture, picture_with_text
from mmrag_plugin.errors import MediaError, MilvusUnavailable, ModelMismatch, NotFound, UsageError
from mmrag_plugin.filters import Filters
from mmrag_plugin.fusion import ReciprocalRanks
from mmrag_plugin.library import MediaLibrary
from mmrag_plugin.media import Hit, Moment
from mmrag_plugin.pictures import open_picture
from mmrag_plugin.results import SearchResult
from mmrag_plugin.retrieval import MediaRetriever, hit_node
from mmrag_plugin.searching import PAGE, PER_MEDIA, Searcher
from mmrag_plugin.vlm.fake import FakeVLM, main_colour


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media").resolve() / "photos"
    picture(
        folder / "2019" / "Lisbon" / "wall.jpg",
        "red",
        taken_at="2019:05:20 23:30:00",
        camera="Canon 5D",
    )
    picture(folder / "2020" / "Porto" / "sea.png", "blue")
    picture(
        folder / "2020" / "Porto" / "field.jpg",
        "green",
        taken_at="2020:01:01 00:00:00",
        camera="Pixel 7",
    )
    describe(folder / "2020" / "Porto" / "field.jpg", "a meadow where the children play football")
    picture_with_text(folder / "2020" / "ticket.png", "GATE B42")
    for number in range(6):
        picture(
            folder / "other" / f"{number}.png",
            ["black", "white", "brown"][number % 3],
            number=number,
        )
    write_film(folder / "film.mp4", [RED] * 40 + [GREEN] * 40 + [BLUE] * 40, rate=4, gop=8)
    (folder / "film.srt").write_text(
        "1\n00:00:01,000 --> 00:00:03,000\nwelcome to the harbour\n\n"
        "2\n00:00:22,000 --> 00:00:24,000\nthe last train to Vienna\n"
    )
    return folder


@pytest.fixture(scope="module")
def library(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MediaLibrary]:
    home = tmp_path_factory.mktemp("home")
    with opened(home, ocr="auto") as found:
        report = found.index([photos])
        assert report.failed == []
        yield found
    end_owner(home / "default")


def names(result: SearchResult) -> list[str]:
    return [Path(hit.path).name for hit in result.hits]


def best(result: SearchResult) -> Hit:
    assert result.hits, "nothing was found"
    return result.hits[0]


# ---- hits ------------------------------------------------------------------------------------


def test_hits_are_ranked_from_one_and_say_where_how_sure_and_why(library: MediaLibrary) -> None:
    result = library.search("red wall Lisbon")
    assert [hit.rank for hit in result.hits] == list(range(1, len(result.hits) + 1))
    assert [hit.score for hit in result.hits] == sorted(
        (h.score for h in result.hits), reverse=True
    )
    for hit in result.hits:
        assert Path(hit.path).is_file()
        assert hit.confidence in ("strong", "weak", "none")
        assert hit.reason
        assert hit.why
        assert set(hit.why) <= {"visual", "bm25"}
        assert all(rank >= 1 for rank in hit.why.values())
        looks_like_it = "looks like it" in hit.reason or "means much the same" in hit.reason
        assert not (hit.confidence == "none" and looks_like_it), (
            "it must not say more than it knows"
        )
    assert best(result).path.endswith("2019/Lisbon/wall.jpg")
    assert best(result).confidence == "strong"


@pytest.mark.parametrize(
    ("query", "name", "quoted", "text"),
    [
        ("football", "field.jpg", "described as: 'a meadow", "a meadow where the children"),
        ("gate b42", "ticket.png", "text in the picture: 'GATE B42'", "GATE B42"),
        ("Lisbon", "wall.jpg", "folder or file name: ", "Lisbon"),
        ("train Vienna", "film.mp4", "subtitle at 0:22: 'the last train", "the last train"),
    ],
)
def test_a_word_is_found_where_it_stands_and_the_hit_quotes_it(
    library: MediaLibrary, query: str, name: str, quoted: str, text: str
) -> None:
    hit = best(library.search(query, channels=["bm25"]))
    assert Path(hit.path).name == name
    assert quoted in hit.reason
    assert hit.text is not None
    assert text in hit.text


def test_words_of_a_folder_and_in_a_picture_are_found_together(library: MediaLibrary) -> None:
    assert names(library.search("2020 gate", channels=["bm25"]))[0] == "ticket.png"


def test_a_word_that_is_nowhere_finds_nothing_by_words(library: MediaLibrary) -> None:
    assert library.search("xylophone", channels=["bm25"]).hits == []
    mixed = library.search("red xylophone")
    assert mixed.hits
    assert all("bm25" not in hit.why for hit in mixed.hits)


@pytest.mark.parametrize("query", ["the", "?!", "🦊", "' OR 1=1 --", '"quoted" \\ \n', "x" * 5000])
def test_any_text_can_be_asked(library: MediaLibrary, query: str) -> None:
    assert isinstance(library.search(query).hits, list)


@pytest.mark.parametrize("query", ["", "   ", "\n"])
def test_an_empty_question_is_refused(library: MediaLibrary, query: str) -> None:
    with pytest.raises(UsageError, match="empty"):
        library.search(query)


def test_colours_are_found_by_sight(library: MediaLibrary) -> None:
    result = library.search("something blue", channels=["visual"])
    assert names(result)[:2] in (["sea.png", "film.mp4"], ["film.mp4", "sea.png"])
    assert all(set(hit.why) == {"visual"} for hit in result.hits)
    assert "by sight" in best(result).reason


def test_a_moment_of_a_film_lies_where_it_is_seen(library: MediaLibrary) -> None:
    hits = library.search("green", channels=["visual"], filters=Filters(kind="video")).hits
    first = hits[0]
    assert first.moment.start_s is not None
    assert first.moment.end_s is not None
    assert first.at_s is not None
    assert 10 <= first.moment.start_s <= first.at_s <= first.moment.end_s <= 20.1


# ---- options ---------------------------------------------------------------------------------


def test_only_the_channels_that_were_asked_for_are_searched(library: MediaLibrary) -> None:
    assert all(
        set(hit.why) == {"bm25"} for hit in library.search("red wall", channels=["bm25"]).hits
    )
    off = library.search("red wall", channels=["text", "bm25"])
    assert any("text channel is off" in warning for warning in off.warnings)
    with pytest.raises(UsageError, match="'smell'"):
        library.search("red", channels=["smell"])  # type: ignore[list-item]


def test_the_limit_is_kept_and_must_make_sense(library: MediaLibrary) -> None:
    assert len(library.search("red", limit=2).hits) == 2
    assert len(library.search("red", limit=1000).hits) >= 11
    with pytest.raises(UsageError, match="0"):
        library.search("red", limit=0)


def test_low_confidence_is_cut_only_when_asked(library: MediaLibrary) -> None:
    every = library.search("red wall Lisbon")
    strong = library.search("red wall Lisbon", min_confidence="strong")
    assert {hit.confidence for hit in strong.hits} == {"strong"}
    assert 0 < len(strong.hits) < len(every.hits)


def test_one_film_does_not_fill_the_page(tmp_path: Path) -> None:
    folder = tmp_path.resolve() / "photos"
    folder.mkdir()
    colours = [colour for _ in range(10) for colour in [RED] * 4 + [BLUE] * 4]
    write_film(folder / "long.mp4", colours, rate=1, gop=4)
    for number in range(12):
        picture(folder / f"{number}.png", "brown", number=number)
    with opened(tmp_path / "home") as library:
        library.index([folder])
        page = library.search("red", limit=PAGE).hits
        assert sum(hit.moment.kind == "video" for hit in page) == PER_MEDIA
        assert sum(h.moment.kind == "video" for h in library.search("red", limit=100).hits) > 6
        more = library.search("red", limit=PAGE, per_media=8).hits
        assert sum(hit.moment.kind == "video" for hit in more) == 8
        only = library.search("red", filters=Filters(kind="video"), limit=PAGE).hits
        assert len(only) == PAGE, "when there is nothing else, it may"
    end_owner(tmp_path / "home" / "default", wait=False)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (Filters(kind="video"), {"film.mp4"}),
        (Filters(since="2019", until="2019"), {"wall.jpg"}),
        (Filters(until="2019-05-20"), {"wall.jpg"}),
        (Filters(since="2020-01-01"), {"field.jpg"}),
        (Filters(since="2019-05-21", until="2019-12-31"), set()),
        (Filters(folder="Porto"), {"sea.png", "field.jpg"}),
        (Filters(folder="2020"), {"sea.png", "field.jpg", "ticket.png"}),
        (Filters(camera="canon"), {"wall.jpg"}),
        (Filters(has_text=True), {"ticket.png"}),
        (Filters(has_text=True, folder="Porto"), set()),
        (Filters(has_text=False, folder="2020"), {"sea.png", "field.jpg"}),
        (Filters(kind="image", camera="pixel", since="2019"), {"field.jpg"}),
    ],
    ids=lambda value: str(value)[:60] if isinstance(value, Filters) else "",
)
def test_filters_leave_what_they_say(
    library: MediaLibrary, filters: Filters, expected: set[str]
) -> None:
    found = library.search("red green blue white", filters=filters, channels=["visual"], limit=50)
    assert set(names(found)) == expected
    worded = library.search(
        "Porto Lisbon gate train other", filters=filters, channels=["bm25"], limit=50
    )
    assert set(names(worded)) == expected, "each of them holds one of the words"


@pytest.fixture(scope="module")
def talkative(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MediaLibrary]:
    """A library that begins with a film of many keyframes which always says the same."""
    folder = tmp_path_factory.mktemp("talkative").resolve()
    write_film(folder / "0.mp4", [RED, BLUE] * 150, rate=1, gop=1)
    cues = [
        f"{n}\n00:{n // 60:02}:{n % 60:02},000 --> 00:{n // 60:02}:{n % 60:02},900\nto the bridge\n"
        for n in range(0, 300, 3)
    ]
    cues += [cue.replace(",000", ",950").replace(",900", ",990") for cue in cues]
    (folder / "0.srt").write_text("\n".join(cues))
    home = tmp_path_factory.mktemp("home")
    with opened(home) as library:
        library.index([folder / "0.mp4"])
        for number in range(12):
            picture(folder / f"{number}.png", "brown", number=number)
            describe(folder / f"{number}.png", f"a bridge, by painter {number}")
        library.index([folder])
        yield library
    end_owner(home / "default", wait=False)


def test_a_film_that_says_a_word_often_leaves_room_for_photos_that_hold_it(
    talkative: MediaLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmrag_plugin.channels.DEPTH", 40)
    hits = talkative.search("bridge", channels=["bm25"], limit=10).hits
    assert sum(hit.moment.kind == "video" for hit in hits) == PER_MEDIA
    assert sum(hit.moment.kind == "image" for hit in hits) == PAGE - PER_MEDIA


@pytest.mark.parametrize("query", ["bridge", "to the bridge", "brown", "painter 3 red", "nothing"])
def test_channels_that_are_asked_one_after_the_other_find_the_same(
    query: str, talkative: MediaLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = talkative.search(query)
    monkeypatch.setattr("mmrag_plugin.channels.side_by_side", lambda works: [w() for w in works])
    assert talkative.search(query) == together


def test_a_channel_that_fails_fails_the_search_with_its_own_error(
    talkative: MediaLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise MilvusUnavailable("Milvus is away.", "Start it.")

    monkeypatch.setattr(talkative.searcher().frames, "search_dense", fails)
    with pytest.raises(MilvusUnavailable, match="away"):
        talkative.search("brown bridge")


def test_what_is_usual_in_a_library_is_asked_of_each_media_once(talkative: MediaLibrary) -> None:
    sample, rows = talkative.searcher()._background("visual")
    assert rows > 100
    assert len(sample) == 13


def test_similar_to_a_film_finds_as_many_others_as_were_asked_for(talkative: MediaLibrary) -> None:
    film = talkative.search("bridge", filters=Filters(kind="video"), limit=1).hits[0].moment
    hits = talkative.similar(film.media_id, limit=12).hits
    assert [hit.rank for hit in hits] == list(range(1, 13))
    assert film.media_id not in {hit.moment.media_id for hit in hits}


def test_asking_for_more_hits_or_for_sure_ones_keeps_the_order(library: MediaLibrary) -> None:
    def found(**options: Any) -> list[str]:
        return [hit.path for hit in library.search("red wall Lisbon gate", **options).hits]

    assert found(limit=3) == found(limit=100)[:3]
    sure = [
        hit.path
        for hit in library.search("red wall Lisbon gate", limit=100).hits
        if hit.confidence in ("strong", "weak")
    ]
    assert len(sure) >= 2
    few = library.search("red wall Lisbon gate", limit=2, min_confidence="weak").hits
    assert [hit.path for hit in few] == sure[:2]
    assert [hit.rank for hit in few] == [1, 2]


def test_a_hit_names_the_copy_that_is_still_there(tmp_path: Path) -> None:
    folder = tmp_path.resolve() / "photos"
    first, second = picture(folder / "a" / "x.png"), picture(folder / "b" / "x.png")
    with opened(tmp_path / "home") as library:
        library.index([folder])
        assert library.search("red").hits[0].path == str(first)
        first.unlink()
        assert library.search("red").hits[0].path == str(second)
        second.unlink()
        assert library.search("red").hits[0].path == str(first), "any name beats none"
    end_owner(tmp_path / "home" / "default", wait=False)


@pytest.mark.parametrize(
    ("filters", "said"),
    [
        (Filters(camera="nikon"), "Canon 5D, Pixel 7"),
        (Filters(since="2021", until="2020-05"), "Swap"),
        (Filters(folder="nowhere"), "mmrag status"),
        (Filters(since="May"), "2019-05-20"),
    ],
)
def test_a_filter_that_nothing_can_pass_is_refused_with_what_would_do(
    library: MediaLibrary, filters: Filters, said: str
) -> None:
    with pytest.raises(UsageError) as caught:
        library.search("red", filters=filters)
    assert said in caught.value.remedy


# ---- pictures as questions -------------------------------------------------------------------


def test_a_picture_finds_what_looks_like_it(library: MediaLibrary, photos: Path) -> None:
    question = open_picture(photos / "2020" / "Porto" / "sea.png")
    result = library.search("", picture=question)
    assert names(result)[0] == "sea.png"
    assert result.query == ""


def test_a_picture_and_words_are_asked_together(library: MediaLibrary, photos: Path) -> None:
    question = open_picture(photos / "2020" / "Porto" / "sea.png")
    found = library.search("gate b42", picture=question)
    assert {"sea.png", "ticket.png"} <= set(names(found)[:4])


def test_similar_leaves_out_the_picture_itself(library: MediaLibrary, photos: Path) -> None:
    path = photos / "other" / "0.png"
    own = library.find(str(path))
    assert own is not None
    for target in (str(path), own.media_id):
        result = library.similar(target, limit=3)
        assert [hit.rank for hit in result.hits] == [1, 2, 3]
        assert own.media_id not in {hit.moment.media_id for hit in result.hits}
        assert names(result)[0] == "3.png", "the other black one"


def test_similar_takes_a_picture_from_anywhere(library: MediaLibrary, tmp_path: Path) -> None:
    stranger = picture(tmp_path / "x.png", "blue", number=77)
    assert names(library.similar(str(stranger)))[0] == "sea.png"


@pytest.mark.parametrize("target", ["nowhere.png", "~nobody-here/x.png", "a\0b", "\ud800", ""])
def test_similar_to_what_is_not_there_says_so(library: MediaLibrary, target: str) -> None:
    from mmrag_plugin.errors import MmragError

    with pytest.raises(MmragError) as caught:
        library.similar(target)
    assert caught.value.message


# ---- single moments --------------------------------------------------------------------------


def test_the_words_and_pictures_of_a_moment_are_of_this_moment(library: MediaLibrary) -> None:
    film = library.search("train", filters=Filters(kind="video")).hits[0].moment
    words = library.words_of(replace(film, start_s=20.0, end_s=25.0))
    assert "0:22 the last train to Vienna" in words
    assert "harbour" not in words
    assert "film" in words, "its name holds for every moment"
    assert "harbour" in library.words_of(replace(film, start_s=None, end_s=None))
    assert "harbour" not in library.words_of(replace(film, start_s=20.0, end_s=None))

    whole = library.moment_pictures(replace(film, start_s=None, end_s=None))
    assert [main_colour(picture) for _, picture in whole] == ["red"] * 2 + ["green"] * 2 + [
        "blue"
    ] * 2
    times = [time_s or 0.0 for time_s, _ in whole]
    assert times == sorted(times)
    assert times[-1] - times[0] > 20, "from its beginning to its end"
    ((at_s, only),) = library.moment_pictures(replace(film, start_s=15.0, end_s=15.0))
    assert (at_s, main_colour(only)) == (15.0, "green")
    assert len(library.moment_pictures(replace(film, start_s=15.0, end_s=16.0))) == 2


def test_a_file_that_was_damaged_since_is_not_called_gone(tmp_path: Path) -> None:
    photo = picture(tmp_path.resolve() / "photos" / "x.png")
    with opened(tmp_path / "home") as library:
        library.index([photo.parent])
        hit = library.search("red").hits[0]
        photo.write_text("no picture")
        with pytest.raises(MediaError, match=r"x\.png"):
            library.picture_of(hit)
        photo.unlink()
        assert library.picture_of(hit) is None
    end_owner(tmp_path / "home" / "default", wait=False)


# ---- async -----------------------------------------------------------------------------------


def test_searches_work_in_one_event_loop_after_another(library: MediaLibrary) -> None:
    first = asyncio.run(library.asearch("red wall"))
    second = asyncio.run(library.asearch("red wall"))
    assert names(first) == names(second) != []


async def test_a_slow_search_does_not_hold_up_the_event_loop(
    library: MediaLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Searcher.search

    def slow(self: Any, *args: Any, **kwargs: Any) -> SearchResult:
        time.sleep(0.5)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(Searcher, "search", slow)
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.02)
            ticks += 1

    ticking = asyncio.create_task(tick())
    retriever = library.as_retriever()
    results = await asyncio.gather(
        library.asearch("red"), retriever.aretrieve("blue"), retriever.asearch("green")
    )
    ticking.cancel()
    assert ticks >= 8
    assert all(results)


async def test_many_searches_at_the_same_time_answer_each_their_own(library: MediaLibrary) -> None:
    questions = ["football", "gate b42", "Lisbon", "train Vienna"] * 5
    alone = {query: names(library.search(query)) for query in set(questions)}
    together = await asyncio.gather(*(library.asearch(query) for query in questions))
    assert [names(result) for result in together] == [alone[query] for query in questions]


# ---- LlamaIndex ------------------------------------------------------------------------------


class Parrot(CustomLLM):
    """An LLM that says what it was asked."""

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata()

    def complete(self, prompt: str, formatted: bool = False, **_: Any) -> CompletionResponse:
        return CompletionResponse(text=f"asked: {prompt}")

    def stream_complete(
        self, prompt: str, formatted: bool = False, **_: Any
    ) -> CompletionResponseGen:
        yield self.complete(prompt)


@pytest.fixture
def no_global_llm(monkeypatch: pytest.MonkeyPatch) -> None:
    def touched(_: Any) -> Any:
        raise AssertionError("LlamaIndex's global Settings.llm was asked for")

    monkeypatch.setattr(type(LlamaSettings), "llm", property(touched))


@pytest.mark.usefixtures("no_global_llm")
def test_nodes_keep_picture_text_time_and_reason_together(
    library: MediaLibrary, photos: Path
) -> None:
    found = library.as_retriever(limit=3).retrieve("gate b42")
    node = found[0].node
    assert isinstance(node, ImageNode)
    assert node.image_path == str(photos / "2020" / "ticket.png")
    assert "GATE B42" in node.get_content()
    assert found[0].score is not None
    assert node.metadata["rank"] == 1
    assert "GATE B42" in node.metadata["reason"]
    film = library.as_retriever(filters=Filters(kind="video")).retrieve("train Vienna")[0].node
    assert film.metadata["start_s"] <= 22 <= film.metadata["end_s"]
    assert "Vienna" in film.get_content()
    assert len({item.node.node_id for item in found}) == len(found)


@pytest.mark.usefixtures("no_global_llm")
async def test_a_query_bundle_may_hold_a_picture(library: MediaLibrary, photos: Path) -> None:
    retriever = library.as_retriever(limit=2)
    bundle = QueryBundle("", image_path=str(photos / "2020" / "Porto" / "sea.png"))
    for found in (retriever.retrieve(bundle), await retriever.aretrieve(bundle)):
        assert found[0].node.metadata["path"].endswith("sea.png")


@pytest.mark.usefixtures("no_global_llm")
def test_the_retriever_serves_a_query_engine_of_llama_index(library: MediaLibrary) -> None:
    engine = RetrieverQueryEngine.from_args(library.as_retriever(limit=3), llm=Parrot())
    answer = engine.query("gate b42")
    assert "GATE B42" in str(answer)
    assert answer.source_nodes[0].node.metadata["path"].endswith("ticket.png")


@pytest.mark.usefixtures("no_global_llm")
def test_the_retriever_serves_a_multi_modal_engine_of_llama_index(library: MediaLibrary) -> None:
    engine = RetrieverQueryEngine.from_args(
        library.as_retriever(limit=4), llm=FakeVLM(), multimodal=True
    )
    answer = engine.query("train Vienna gate b42")
    kinds = [item.node.metadata["kind"] for item in answer.source_nodes]
    assert set(kinds) == {"image", "video"}
    assert "white" in str(answer), "it sees the photos among the hits"


def test_what_media_say_is_made_safe_in_a_node() -> None:
    moment = Moment("m1", "video", 1.0, 2.0)
    node = hit_node(
        Hit(
            1,
            moment,
            "/a/[img-1].mp4",
            0.5,
            "weak",
            reason="[img] \u202eevil",
            text="a\u200bb[img]",
        )
    ).node
    assert type(node) is TextNode
    assert node.text == "ab(img]"
    assert node.metadata["reason"] == "(img] evil"
    assert node.metadata["path"] == "/a/[img-1].mp4"
    assert "[img" not in node.get_content(MetadataMode.LLM)


@pytest.mark.usefixtures("no_global_llm")
def test_options_of_the_retriever_can_be_set_and_overruled(library: MediaLibrary) -> None:
    retriever = library.as_retriever(limit=2, channels=["bm25"])
    assert isinstance(retriever, MediaRetriever)
    assert len(retriever.retrieve("Porto Lisbon gate")) == 2
    assert len(retriever.search("Porto Lisbon gate", limit=1).hits) == 1
    assert all(set(hit.why) == {"bm25"} for hit in retriever.search("red Lisbon").hits)


# ---- fusion and models -----------------------------------------------------------------------


def test_another_fusion_can_be_put_in(library: MediaLibrary) -> None:
    searcher = library.searcher()
    other = Searcher(
        searcher.ledger, searcher.frames, searcher.words, searcher.visual, None, ReciprocalRanks()
    )
    result = other.search("red wall Lisbon")
    assert names(result)[0] == "wall.jpg"
    assert best(result).score < 1


def test_an_empty_library_says_what_to_do(tmp_path: Path) -> None:
    with opened(tmp_path) as library, pytest.raises(NotFound, match="empty") as caught:
        library.search("red")
    assert "mmrag index" in caught.value.remedy


def test_another_model_than_the_librarys_is_refused(library: MediaLibrary, minidual: Path) -> None:
    settings = library.settings
    with (
        opened(settings.home, settings.library, visual_model=str(minidual)) as other,
        pytest.raises(ModelMismatch, match="palette") as caught,
    ):
        other.search("red")
    assert caught.value.exit_code == 2
    assert "mmrag index" in caught.value.remedy


def test_with_the_text_tower_a_caption_is_found_by_its_meaning(
    tmp_path: Path, minidual: Path, shared_data: Path
) -> None:
    """Without a common word, and beside words of its own: the dense text channel."""
    folder = tmp_path.resolve() / "photos"
    folder.mkdir()
    captions = {
        "a": "Two dogs are running through the grass.",
        "b": "A man in a red shirt climbs a rock.",
        "c": "Children play in the water at the beach.",
    }
    for number, (name, text) in enumerate(captions.items()):
        describe(picture(folder / f"{name}.png", "brown", number=number), text)
    with opened(tmp_path / "home", visual_model=str(minidual), text_model="visual") as library:
        library.index([folder])
        result = library.search("kids swimming in the ocean", channels=["text"])
        assert names(result)[0] == "c.png"
        assert set(best(result).why) == {"text"}
        assert "by meaning: described as: 'Children play" in best(result).reason
        assert "text" in library.searcher().channels
        abstained = library.search("日本", channels=["text"])
        assert abstained.hits == []
        assert any("nothing to say" in warning for warning in abstained.warnings)
    end_owner(tmp_path / "home" / "default", wait=False)


def test_a_hit_by_meaning_quotes_the_text_that_means_it(tmp_path: Path, minidual: Path) -> None:
    folder = tmp_path.resolve() / "photos"
    photo = picture(folder / "a.png", "brown")
    photo.with_suffix(".txt").write_text("A plate of pasta with basil.")
    photo.with_suffix(".json").write_text(
        '{"caption": "A boy flies a kite on the beach.", "title": "Two dogs run through the snow."}'
    )
    with opened(tmp_path / "home", visual_model=str(minidual), text_model="visual") as library:
        library.index([folder])
        for query, words in (
            ("puppies in winter", "Two dogs run"),
            ("a child with a toy at the sea", "A boy flies"),
            ("italian food on a dish", "A plate of pasta"),
        ):
            hit = best(library.search(query, channels=["text"]))
            assert hit.text is not None
            assert hit.text.startswith(words)
            assert words in hit.reason
    end_owner(tmp_path / "home" / "default", wait=False)
