"""The server as Python's clients drive it, over the wire: the SDK's in both modes, LlamaIndex's.

The clients from npm are in test_mcp_npm_clients.py.
"""

from __future__ import annotations

import ast
import base64
import io
import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
import PIL.Image
import pytest
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.tools.mcp import BasicMCPClient, McpToolSpec
from mcp import Client
from mcp_types import PromptReference

from mcp_processes import ERAS, TOKEN, ServedOverHttp, connected
from mmrag_plugin.vlm.ollama import OllamaVLM
from ollama_double import OllamaDouble, Reply
from served_library import demo_library, over_http, over_stdio

BASE64 = re.compile(r"[A-Za-z0-9+/]{200,}={0,2}")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with demo_library(tmp_path_factory.mktemp("clients")) as found:
        yield found


@pytest.fixture(scope="module")
def ollama() -> Iterator[OllamaDouble]:
    with OllamaDouble() as double:
        yield double


@pytest.fixture(scope="module")
def served(home: Path, ollama: OllamaDouble) -> Iterator[ServedOverHttp]:
    with over_http(home, OLLAMA_HOST=ollama.url, MMRAG_VLM="eye", MMRAG_TOKEN=TOKEN) as server:
        yield server


def said(result: Any) -> str:
    return "\n".join(part.text for part in result.content if part.type == "text")


# ---- the SDK's client ------------------------------------------------------------------------


async def drive_every_tool(client: Client) -> None:
    """Use each tool once, with what the ones before returned."""
    known = {tool.name for tool in (await client.list_tools()).tools}
    used = set()

    async def use(tool: str, **arguments: Any) -> Any:
        used.add(tool)
        result = await client.call_tool(tool, arguments)  # checks it against the output schema
        assert not result.is_error, (tool, said(result))
        assert not BASE64.search(said(result) + json.dumps(result.structured_content))
        return result

    info = await use("library_info")
    assert info.structured_content["media"] == {"image": 12, "video": 1}
    hits = (await use("search_media", query="red barn", limit=3)).structured_content["hits"]
    assert Path(hits[0]["path"]).name == "IMG_3101.jpg"
    barn = hits[0]["media_id"]
    (film,) = (await use("search_media", query="meadow", kind="video", limit=1)).structured_content[
        "hits"
    ]
    assert (film["start_s"], film["end_s"]) == (3.2, 5.8)

    seen = await use("get_media", media_id=film["media_id"], include_picture=True, at="0:04")
    (picture,) = [part for part in seen.content if part.type == "image"]
    assert PIL.Image.open(io.BytesIO(base64.b64decode(picture.data))).width == 480
    alike = await use("find_similar", media_id=barn, limit=3)
    assert barn not in {hit["media_id"] for hit in alike.structured_content["hits"]}
    kinds = await use("browse_media", by="kind")
    assert kinds.structured_content["total"] == 13
    shown = await use("describe_media", media_id=barn)
    assert "I see 1 picture" in said(shown)
    answer = await use("ask_media", question="What is red?", limit=1)
    assert answer.structured_content["sources"][0]["media_id"] == barn
    assert used == known


async def drive_every_tool_that_writes(client: Client, place: Path, reading: set[str]) -> None:
    """Index, annotate and make, each once, in a library that a test may change."""
    known = {tool.name for tool in (await client.list_tools()).tools}
    used = set()

    async def use(tool: str, **arguments: Any) -> Any:
        used.add(tool)
        result = await client.call_tool(tool, arguments)
        assert not result.is_error, (tool, said(result))
        return result

    PIL.Image.new("RGB", (64, 48), "purple").save(place / "Pictures" / "curtain.png")
    taken_in = await use("index_media", folder="Pictures")
    assert taken_in.structured_content["added"] == 1
    new = await client.call_tool("search_media", {"query": "curtain", "limit": 1})
    curtain = new.structured_content["hits"][0]["media_id"]
    await use("annotate_media", media_id=curtain, caption="In grandmother's kitchen")
    found = await client.call_tool("search_media", {"query": "grandmother", "limit": 1})
    assert found.structured_content["hits"][0]["media_id"] == curtain

    film = await client.call_tool("search_media", {"query": "meadow", "kind": "video"})
    media_id = film.structured_content["hits"][0]["media_id"]
    made = await use("make_media", what="clip", media_ids=[media_id], start="0:03", end="0:05")
    clip = Path(made.structured_content["path"])
    assert clip.parent == place / "Made"
    assert clip.stat().st_size == made.structured_content["size_bytes"]
    assert used == known - reading


async def read_resources_and_prompts(client: Client) -> None:
    listed = (await client.list_resources()).resources
    assert [str(found.uri) for found in listed] == ["mmrag://library"]
    library = await client.read_resource("mmrag://library")
    assert "12 images, 1 video" in library.contents[0].text
    found = await client.call_tool("search_media", {"query": "red barn", "limit": 1})
    (link,) = [part for part in found.content if part.type == "resource_link"]
    read = await client.read_resource(link.uri)
    assert "The old red barn behind the cottage" in read.contents[0].text
    thumbnail = await client.read_resource(f"{link.uri}/thumbnail")
    jpeg = base64.b64decode(thumbnail.contents[0].blob)
    assert max(PIL.Image.open(io.BytesIO(jpeg)).size) == 320
    asked = await client.get_prompt("find", {"what": "red barn"})
    assert "red barn" in asked.messages[0].content.text
    place = {"name": "place", "value": "lis"}
    completed = await client.complete(PromptReference(name="find"), place)
    assert "Lisbon, Portugal" in completed.completion.values


async def wrong_calls_are_told_what_is_right(client: Client) -> None:
    for arguments, told in (
        ({"query": "x", "lmit": 1}, "did you mean 'limit'?"),
        ({"query": "x", "since": "last May"}, "is not a date"),
        ({}, "The argument 'query' is missing."),
    ):
        result = await client.call_tool("search_media", arguments)
        assert result.is_error
        assert told in said(result)
    result = await client.call_tool("search_medea", {"query": "x"})
    assert result.is_error
    assert "did you mean 'search_media'?" in said(result)


@pytest.mark.parametrize("era", ERAS)
async def test_the_sdk_drives_every_tool_over_stdio(
    home: Path, ollama: OllamaDouble, era: str
) -> None:
    process = over_stdio(home, OLLAMA_HOST=ollama.url, MMRAG_VLM="eye")
    async with Client(process, mode=era) as client:
        assert client.protocol_version == {"auto": "2026-07-28", "legacy": "2025-11-25"}[era]
        await drive_every_tool(client)
        await read_resources_and_prompts(client)
        await wrong_calls_are_told_what_is_right(client)


@pytest.mark.parametrize("era", ERAS)
async def test_the_sdk_drives_every_tool_over_http(served: ServedOverHttp, era: str) -> None:
    async with connected(served.url, era, authorization=f"Bearer {TOKEN}") as client:
        await drive_every_tool(client)
        await read_resources_and_prompts(client)
        await wrong_calls_are_told_what_is_right(client)


@pytest.mark.parametrize("era", ["auto", pytest.param("legacy", marks=pytest.mark.slow)])
async def test_the_sdk_writes_where_the_person_allows_it(tmp_path: Path, era: str) -> None:
    with demo_library(tmp_path) as home:
        async with Client(over_stdio(home), mode=era) as client:
            reading = {tool.name for tool in (await client.list_tools()).tools}
        flags = ("--allow-write", "--output-folder", str(tmp_path / "Made"))
        process = over_stdio(home, *flags, MMRAG_OCR="off")  # as it was indexed
        async with Client(process, mode=era) as client:
            await drive_every_tool_that_writes(client, tmp_path, reading)


# ---- LlamaIndex ------------------------------------------------------------------------------


@pytest.fixture(params=["http", pytest.param("stdio", marks=pytest.mark.slow)])
async def spec(home: Path, request: pytest.FixtureRequest) -> AsyncIterator[McpToolSpec]:
    """As docs/mcp.md says: what an agent reads as text can't hold pictures."""
    if request.param == "http":
        served: ServedOverHttp = request.getfixturevalue("served")
        client = BasicMCPClient(served.url, headers={"Authorization": f"Bearer {TOKEN}"})
    else:
        process = over_stdio(home)
        client = BasicMCPClient(process.command, args=process.args, env=process.env)
    yield McpToolSpec(client, partial_params_by_tool={"get_media": {"include_picture": False}})
    await client.http_client.aclose()  # which nothing in LlamaIndex does


async def test_what_llama_index_shows_a_model_holds_no_pixels(spec: McpToolSpec) -> None:
    tools = {tool.metadata.name: tool for tool in await spec.to_tool_list_async()}
    assert "include_picture" not in tools["get_media"].metadata.get_parameters_dict()["properties"]
    found = str(await tools["search_media"].acall(query="red barn", limit=2))
    assert "IMG_3101.jpg" in found
    (media_id, *_) = re.findall(r"image ([0-9a-f]{16})", found)
    details = str(await tools["get_media"].acall(media_id=media_id))
    assert "The old red barn behind the cottage" in details
    for read in (found, details):
        assert not BASE64.search(read)


async def test_the_lines_of_the_page_for_llama_index_work(served: ServedOverHttp) -> None:
    page = (Path(__file__).resolve().parents[1] / "docs" / "mcp.md").read_text(encoding="utf-8")
    section = page.partition("\n## From LlamaIndex\n")[2]
    code = section.partition("```python\n")[2].partition("```")[0]
    code = code.replace("http://127.0.0.1:8765/mcp", served.url)
    names: dict[str, Any] = {"token": TOKEN}
    await eval(compile(code, "docs/mcp.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
    assert "search_media" in {tool.metadata.name for tool in names["tools"]}
    await names["client"].http_client.aclose()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # LlamaIndex's own, about pydantic
async def test_a_llama_index_agent_finds_looks_and_answers(spec: McpToolSpec) -> None:
    """The double plays a model that calls tools; what it was sent is what a model would read."""
    found = await spec.client.call_tool("search_media", {"query": "red barn"})
    media_id = found.structured_content["hits"][0]["media_id"]
    with OllamaDouble() as model:
        model.script(
            _calls("library_info"),
            _calls("search_media", query="red barn", limit=3),
            _calls("get_media", media_id=media_id),
            "It is the barn behind the cottage, from July 2022.",
        )
        agent = FunctionAgent(
            tools=await spec.to_tool_list_async(),
            llm=OllamaVLM("eye", model.url, num_ctx=32_768),
            system_prompt="Answer from the person's own photos.",
        )
        answer = str(await agent.run("Which barn is red?"))
        read = model.texts()
    assert answer == "It is the barn behind the cottage, from July 2022."
    assert "12 image" in read
    assert "Farm weekend/IMG_3101.jpg" in read
    assert "The old red barn behind the cottage" in read
    assert not BASE64.search(read)
    assert model.pictures == [[], [], [], []]


def _calls(tool: str, **arguments: Any) -> Reply:
    return Reply(tool_calls=[{"function": {"name": tool, "arguments": arguments}}])


# ---- the first seconds -----------------------------------------------------------------------

SLOW_IMPORTS = """
import sys, time
class Slowly:
    def find_spec(self, name, path=None, target=None):
        time.sleep(0.003 if name.startswith("llama_index") else 0)
sys.meta_path.insert(0, Slowly())
from mmrag_mcp.command import main
main()
"""


@pytest.mark.slow
async def test_calls_that_come_at_once_do_not_break_what_the_others_import(
    home: Path, ollama: OllamaDouble
) -> None:
    """LlamaIndex's modules import each other in circles, which two threads at once don't bear."""
    process = over_stdio(home, OLLAMA_HOST=ollama.url, MMRAG_VLM="eye")
    async with Client(process) as client:
        found = await client.call_tool("search_media", {"query": "red barn"})
    barn = found.structured_content["hits"][0]["media_id"]
    answers = []

    async def describe(client: Client, after_s: float) -> None:
        await anyio.sleep(after_s)
        answers.append(said(await client.call_tool("describe_media", {"media_id": barn})))

    slow = process.model_copy(update={"args": ["-c", SLOW_IMPORTS]})
    async with Client(slow) as client, anyio.create_task_group() as tasks:
        await client.list_tools()  # from here on the server warms up by itself
        for number in range(30):
            tasks.start_soon(describe, client, number / 20)
    assert len(answers) == 30
    assert all("I see 1 picture" in answer for answer in answers), answers
