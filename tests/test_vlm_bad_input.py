"""What goes wrong between mmrag and a VLM: its own error each, in every place where one asks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from commands import NOBODY_LISTENS, mmrag_here, refused, told
from media_made import end_owners, picture
from mmrag_mcp.server import MmragServer
from mmrag_mcp.warming import WarmLibrary, open_library
from mmrag_plugin.errors import MmragError
from mmrag_plugin.library import MediaLibrary
from mmrag_plugin.settings import load_settings
from ollama_double import Model, OllamaDouble, Reply, runner_error


@dataclass(frozen=True)
class Case:
    """What is wrong, and what a person is told: kind, exit code, message and remedy."""

    name: str
    kind: str
    exit_code: int
    message: str
    remedy: str
    model: Model = field(default_factory=Model)
    reply: Reply | None = None
    host: str = "{url}"
    timeout_s: float = 60.0
    prepare: Callable[[OllamaDouble], None] = lambda _: None


def busy_for_ever(double: OllamaDouble) -> None:
    double.busy = 10**9


def nested(status: int, message: str, kind: str = "server_error") -> Reply:
    return Reply(status=status, error=runner_error(status, message, kind).body["error"])


OUTSIDE = "your pictures would go there"
CASES = [
    Case(
        "a server on another machine",
        "remote_not_allowed",
        2,
        f"192.0.2.7.*{OUTSIDE}",
        "--allow-remote",
        host="http://192.0.2.7:11434",
    ),
    Case(
        "a model in the cloud",
        "remote_not_allowed",
        2,
        f"runs eye on https://ollama.com.*{OUTSIDE}",
        "--allow-remote",
        model=Model(remote_host="https://ollama.com"),
    ),
    Case(
        "no server",
        "ollama_unavailable",
        3,
        "does not answer at http://127.0.0.1:9",
        "ollama serve",
        host=NOBODY_LISTENS,
    ),
    Case(
        "something else at the address",
        "service",
        3,
        "refused the request",
        "OLLAMA_HOST",
        host="{url}/v1",
    ),
    Case(
        "no such model",
        "model_missing",
        2,
        "has no model eye",
        "ollama pull eye",
        prepare=lambda double: double.models.clear(),
    ),
    Case(
        "a model that can't see",
        "model_cannot_see",
        2,
        "eye takes no pictures",
        "MMRAG_VLM",
        model=Model(capabilities=("completion",)),
    ),
    Case(
        "a server too old to say",
        "service",
        3,
        "does not say what eye can do",
        "Update Ollama",
        model=Model(told=False),
    ),
    Case(
        "a context that can't hold the question",
        "service",
        3,
        "eye takes 300 at most",
        "fewer pictures.*longer context",
        model=Model(context_length=300),
    ),
    Case(
        "a picture that the server refuses",
        "service",
        3,
        "Failed to load image or audio file",
        "Update Ollama",
        reply=nested(400, "Failed to load image or audio file", "invalid_request_error"),
    ),
    Case(
        "an error inside an error",
        "service",
        3,
        "model runner has unexpectedly stopped",
        "log",
        reply=nested(500, "model runner has unexpectedly stopped"),
    ),
    Case(
        "a server that is busy for ever",
        "service",
        3,
        "server busy",
        "queue is full",
        prepare=busy_for_ever,
    ),
    Case(
        "a server that never begins",
        "service",
        3,
        "without a word",
        "MMRAG_VLM_TIMEOUT",
        reply=Reply("late", delay_s=60),
        timeout_s=0.6,
    ),
    Case(
        "a stream that stalls",
        "service",
        3,
        "fell silent",
        "MMRAG_VLM_TIMEOUT",
        reply=Reply("a b c d", break_after=2, how="stall"),
        timeout_s=3.0,
    ),
    Case(
        "a stream that drips",
        "service",
        3,
        "was not done after 2 seconds",
        "smaller model",
        reply=Reply("word " * 500, pause_s=0.05),
        timeout_s=2.0,
    ),
    Case(
        "a stream that is cut short",
        "service",
        3,
        "broke off",
        "Try again",
        reply=Reply("a b c d", break_after=2, how="reset"),
    ),
    Case(
        "a stream without its last line",
        "service",
        3,
        "broke off",
        "Try again",
        reply=Reply("a b c d", break_after=2),
    ),
    Case(
        "a line that is no JSON",
        "service",
        3,
        "does not speak like Ollama",
        "OLLAMA_HOST",
        reply=Reply("a b c d", break_after=2, how="junk"),
    ),
    Case(
        "an error in the middle of a stream",
        "service",
        3,
        "model runner has unexpectedly stopped",
        "log",
        reply=Reply("a b c d", break_after=2, how="error"),
    ),
    Case(
        "an empty answer",
        "service",
        3,
        r"empty answer after thinking \(done_reason: length\)",
        "ask otherwise",
        reply=Reply("", thinking="hm", done_reason="length"),
    ),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where a library lives that holds two photos and one that has gone since."""
    folder = tmp_path_factory.mktemp("bad")
    picture(folder / "media" / "red barn.png", "red")
    picture(folder / "media" / "blue boat.png", "blue")
    gone = picture(folder / "media" / "yellow sun.png", "yellow")
    settings = load_settings(
        home=folder / "home", visual_model="palette", text_model="off", ocr="off"
    )
    with MediaLibrary.open(settings, create=True) as made:
        assert made.index([folder / "media"]).added == 3
    gone.unlink()
    yield folder
    end_owners(folder / "home")


@pytest.fixture(scope="module")
def warm(place: Path) -> Iterator[WarmLibrary]:
    library = WarmLibrary(lambda: open_library(home=str(place / "home"), text_model="off"))
    library.warm().result(60)
    yield library
    library.close()


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Case:
    chosen: Case = request.param
    return chosen


@pytest.fixture
def double(case: Case) -> Iterator[OllamaDouble]:
    with OllamaDouble({"eye:latest": case.model}) as double:
        if case.reply is not None:
            double.script(*[case.reply] * 3)
        case.prepare(double)
        yield double


@pytest.fixture
def told_where(
    warm: WarmLibrary, case: Case, double: OllamaDouble, monkeypatch: pytest.MonkeyPatch
) -> MediaLibrary:
    """The library, with the settings of the case."""
    return pointed(warm, monkeypatch, host_of(case, double), case.timeout_s)


def host_of(case: Case, double: OllamaDouble) -> str:
    return case.host.format(url=double.url)


def pointed(
    warm: WarmLibrary, monkeypatch: pytest.MonkeyPatch, host: str, timeout_s: float = 60.0
) -> MediaLibrary:
    library = warm.open()
    changed = {"vlm": "eye", "ollama_host": host, "vlm_timeout": timeout_s}
    monkeypatch.setattr(library, "settings", library.settings.model_copy(update=changed))
    return library


@pytest.mark.parametrize("command", ["ask", "describe"])
def test_on_the_command_line(place: Path, case: Case, double: OllamaDouble, command: str) -> None:
    words = {"ask": ["ask", "red barn"], "describe": ["describe", place / "media" / "red barn.png"]}
    done = mmrag_here(
        place / "home",
        *words[command],
        "--json",
        OLLAMA_HOST=host_of(case, double),
        MMRAG_VLM="eye",
        MMRAG_VLM_TIMEOUT=str(case.timeout_s),
    )
    kind, message, remedy = refused(done, case.exit_code)
    assert kind == case.kind
    assert re.search(case.message, message)
    assert re.search(case.remedy, remedy)
    assert "{" not in message


def test_in_the_query_engine(case: Case, told_where: MediaLibrary) -> None:
    with pytest.raises(MmragError) as caught:
        told_where.as_query_engine().query("red barn")
    assert (caught.value.kind, caught.value.exit_code) == (case.kind, case.exit_code)
    assert re.search(case.message, caught.value.message)
    assert re.search(case.remedy, caught.value.remedy)


async def called(warm: WarmLibrary, tool: str, **arguments: Any) -> Any:
    async with Client(MmragServer(warm)) as client:
        return await client.call_tool(tool, arguments)


def spoken(result: Any) -> str:
    return "\n".join(part.text for part in result.content if part.type == "text")


async def test_over_mcp(case: Case, told_where: MediaLibrary, warm: WarmLibrary) -> None:
    result = await called(warm, "ask_media", question="red barn")
    assert result.is_error
    assert re.search(case.message, spoken(result))
    assert re.search(case.remedy, spoken(result))


# -- what is no error, but less -------------------------------------------------------------------


GONE = "yellow sun.png is gone; its source has words only."


@pytest.fixture
def eye() -> Iterator[OllamaDouble]:
    with OllamaDouble() as double:
        yield double


def test_a_file_that_was_deleted_after_the_search_leaves_its_words_and_a_note(
    place: Path, eye: OllamaDouble, warm: WarmLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = {"OLLAMA_HOST": eye.url, "MMRAG_VLM": "eye"}
    answer = told(mmrag_here(place / "home", "ask", "yellow sun", "--json", **here), 0)
    assert [GONE in warning for warning in answer["warnings"]] == [True]
    assert "yellow sun.png" in eye.texts()
    engine = pointed(warm, monkeypatch, eye.url).as_query_engine()
    assert any(GONE in warning for warning in engine.ask("yellow sun").warnings)


async def test_a_file_that_was_deleted_is_told_over_mcp(
    eye: OllamaDouble, warm: WarmLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = pointed(warm, monkeypatch, eye.url)
    result = await called(warm, "ask_media", question="yellow sun")
    assert not result.is_error
    assert any(GONE in warning for warning in result.structured_content["warnings"])
    hit = library.search("yellow sun").hits[0]
    described = await called(warm, "describe_media", media_id=hit.moment.media_id)
    assert described.is_error
    assert "yellow sun.png is not there any more" in spoken(described)


def test_a_hit_whose_file_was_deleted_cannot_be_described(place: Path, eye: OllamaDouble) -> None:
    hits = told(mmrag_here(place / "home", "search", "yellow sun", "--json"), 0)["hits"]
    assert hits[0]["path"].endswith("yellow sun.png")
    done = mmrag_here(place / "home", "describe", "1", "--json", OLLAMA_HOST=eye.url)
    kind, message, remedy = refused(done, 1)
    assert kind == "not_found"
    assert "yellow sun.png is not there any more" in message
    assert "Mount its drive" in remedy
    assert eye.chats == []


def test_an_address_that_is_none_is_refused_before_anything_is_opened(place: Path) -> None:
    done = mmrag_here(place / "home", "ask", "red barn", "--json", OLLAMA_HOST="ftp://127.0.0.1")
    kind, message, remedy = refused(done, 2)
    assert kind == "usage"
    assert "ftp://127.0.0.1" in message
    assert "Write it like http://127.0.0.1:11434" in remedy
