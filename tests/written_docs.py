"""Pages whose parts are made by tests: ``MMRAG_WRITE_DOCS=1 pytest FILE`` writes them anew."""

from __future__ import annotations

import os
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"


def hold(page: str, name: str, text: str) -> None:
    """Compare the part of a page between ``<!-- name -->`` and its end with what a test made."""
    path = DOCS / page
    kept = path.read_text(encoding="utf-8")
    start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    before, found, rest = kept.partition(start)
    assert found, f"docs/{page} has no part {name}"
    _, found, after = rest.partition(end)
    assert found, f"the part {name} of docs/{page} has no end"
    wanted = f"{before}{start}{text.rstrip()}\n{end}{after}"
    if os.environ.get("MMRAG_WRITE_DOCS"):
        path.write_text(wanted, encoding="utf-8")
        return
    assert kept == wanted, "the program has changed: run this test with MMRAG_WRITE_DOCS=1"


def block(text: str, language: str = "") -> str:
    """Text as a block of code; a fence of its own in it doesn't end the block."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"
