"""The examples are short, and do what they say."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands import environment, mmrag_here, told
from media_made import end_owners
from ollama_double import OllamaDouble, Reply

ROOT = Path(__file__).resolve().parents[1]
DEMO_MEDIA = ROOT / "src" / "mmrag_plugin" / "demo_media"


def _run(script: str, *arguments: str, home: Path, **more: str) -> str:
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / script, *arguments],
        env=environment(home, **more),
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    end_owners(tmp_path)


WORKED = ("help_desk.py", "teaching_set.py")  # a page each; docs/examples.md is about them


@pytest.mark.parametrize("script", sorted((ROOT / "examples").glob("*.py")), ids=lambda p: p.name)
def test_an_example_is_short(script: Path) -> None:
    lines = script.read_text(encoding="utf-8").splitlines()
    assert len(lines) < (68 if script.name in WORKED else 40)


def test_the_readers_work_in_a_plain_index(home: Path) -> None:
    shown = _run("pipeline.py", str(DEMO_MEDIA), "pink blossom", home=home)
    first, second, _ = shown.splitlines()
    assert "Spring" in first
    assert "a_day_out.mp4 at 6 s" in second


def test_an_agent_searches_looks_at_the_picture_and_answers(home: Path) -> None:
    told(mmrag_here(home, "index", DEMO_MEDIA / "Farm weekend", "--no-ocr", "--json"), 0)
    found = told(mmrag_here(home, "search", "red barn", "--json"), 0)["hits"][0]
    search = {"function": {"name": "search_media", "arguments": {"query": "red barn"}}}
    look = {"function": {"name": "look_at_media", "arguments": {"media_id": found["media_id"]}}}
    with OllamaDouble() as ollama:
        ollama.script(Reply(tool_calls=[search]), Reply(tool_calls=[look]))
        shown = _run("agent.py", "What is red?", home=home, OLLAMA_HOST=ollama.url, MMRAG_VLM="eye")
    assert shown.startswith("I see 1 picture: [1] mostly ")  # what the double says it was shown
    assert found["media_id"] in ollama.texts(), "what was found never came back to the agent"
    assert [len(shown) for shown in ollama.pictures] == [0, 0, 1]


def test_a_conversation_follows_up_and_goes_on_where_it_ended(home: Path) -> None:
    told(mmrag_here(home, "index", DEMO_MEDIA / "Farm weekend", "--no-ocr", "--json"), 0)
    with OllamaDouble() as ollama:
        where = {"OLLAMA_HOST": ollama.url, "MMRAG_VLM": "eye"}
        shown = _run("chat.py", "Show me the red barn", "what does 1 show?", home=home, **where)
        assert shown.count("[1] /") == 2
        assert "> what does 1 show?\nI see 1 picture" in shown
        again = _run("chat.py", "and what does 1 say?", home=home, **where)
    assert "IMG_3101.jpg" in again
    assert len(ollama.pictures[-1]) == 1
    roles = [message["role"] for message in ollama.chats[-1]["messages"]]
    assert roles == ["system", "user", "assistant", "user", "assistant", "user"]
