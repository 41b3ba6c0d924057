"""The two worked uses, from end to end; what docs/examples.md shows is what they print.

``MMRAG_WRITE_DOCS=1 pytest -m slow tests/test_worked_examples.py`` writes it anew.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mcp import Client

from commands import environment
from media_made import end_owners
from ollama_double import OllamaDouble
from served_library import over_stdio
from written_docs import block, hold

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
PAGE = "examples.md"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "libraries"
    end_owners(tmp_path / "libraries")


def printed(script: str, folder: Path, home: Path, **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, EXAMPLES / script, folder],
        env=environment(home, MMRAG_OCR="auto", **variables),
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def made(name: str, folder: Path) -> Path:
    """The media of an example, made as it makes them."""
    code = f"from pathlib import Path; from media import {name}; {name}.make(Path({str(folder)!r}))"
    subprocess.run([sys.executable, "-c", code], cwd=EXAMPLES, check=True, timeout=60)
    return folder


def layout(folder: Path) -> str:
    lines = [f"{folder.name}/"]
    for path in sorted(folder.rglob("*")):
        depth = len(path.relative_to(folder).parts)
        lines.append(f"{'  ' * depth}{path.name}{'/' * path.is_dir()}")
    return "\n".join(lines)


async def test_a_question_about_a_course_leads_to_the_diagram_or_the_moment(
    home: Path, tmp_path: Path
) -> None:
    course = made("teaching", tmp_path / "Course")
    with OllamaDouble() as ollama:
        with_ollama = {"OLLAMA_HOST": ollama.url, "MMRAG_VLM": "eye"}
        shown = printed("teaching_set.py", course, home, **with_ollama)
    places = re.findall(r"^  (Unit .*)$", shown, re.MULTILINE)
    assert places == [
        "Unit 1 Water/lecture-1.mp4 at 0:06-0:14 (#t=6)",
        "Unit 2 Cells/plant-cell.png",
        "Unit 1 Water/water-cycle.png",
        "Unit 2 Cells/lecture-2.mp4 at 0:05-0:12 (#t=5)",
        "Unit 2 Cells/lecture-2.mp4 at 0:05-0:12 (#t=5)",
    ]
    assert "Asked in the exam of 2025, question 3" in shown
    assert "text in the picture: " in shown, "the labels of the diagram were not read"
    assert "[1] plant-cell.png" in shown
    sources = shown.partition("I see ")[2].count("\n  [")
    assert sources <= len(ollama.pictures[-1]) <= 6  # of a moment there are several
    hold(PAGE, "layout of the teaching set", block(layout(course)))
    hold(PAGE, "what the teaching set prints", block(shown))

    without = printed("teaching_set.py", course, home)
    assert without.startswith("0 new files")
    assert re.findall(r"^  (Unit .*)$", without, re.MULTILINE) == places
    assert "Nobody answers in words: Ollama does not answer" in without

    process = over_stdio(home)
    process.args += ["--library", "teaching-set"]
    async with Client(process) as client:
        result = await client.call_tool(
            "search_media", {"query": "Why do clouds form?", "limit": 1}
        )
    read = result.content[0].text
    assert "lecture-1.mp4" in read
    assert "at 0:06-0:14" in read
    media_id = result.structured_content["hits"][0]["media_id"]
    always = re.sub(r"cursor=\S+", "cursor=kQ2mX7ve", read.replace(media_id, "5d1c3f0a9b7e2468"))
    hold(PAGE, "what an assistant reads", block(always))


def test_a_customer_gets_the_moment_and_the_picture_of_the_same_product(
    home: Path, tmp_path: Path
) -> None:
    shop = made("products", tmp_path / "Shop")
    with OllamaDouble() as ollama:
        with_ollama = {"OLLAMA_HOST": ollama.url, "MMRAG_VLM": "eye"}
        shown = printed("help_desk.py", shop, home, **with_ollama)
        follow_up = ollama.chats[-1]["messages"]
    descale, pair, blink, words = shown.split("\n\n")
    assert "watch descale.mp4 from 0:00" in descale
    assert "see kettle-k2.jpg" in descale
    assert "watch pairing.mp4 from 0:05" in pair
    assert "see lamp-l5.jpg" in pair
    assert "red, blinking: empty, add water" in blink
    assert "see kettle-k2-lights.png" in blink
    assert words.count("I see ") == 2
    assert "vinegar" in str(follow_up), "the conversation forgot what it was about"
    hold(PAGE, "layout of the help desk", block(layout(shop)))
    hold(PAGE, "what the help desk prints", block(shown))
