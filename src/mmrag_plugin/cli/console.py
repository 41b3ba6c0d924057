"""Where output goes: results to stdout, progress, warnings and errors to stderr."""

from __future__ import annotations

import json
import sys
from typing import Any

from rich.console import Console

output = Console()
errors = Console(stderr=True)


def print_json(value: Any) -> None:
    """Print one JSON object on one line; escaped where stdout can't show all of its characters."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeError:
        text = json.dumps(value)
    print(text)


def warn(warnings: list[str]) -> None:
    """Say what a person should know besides the result."""
    for warning in warnings:
        errors.print(f"note: {warning}", style="yellow", markup=False, highlight=False)


def milvus_words(found: dict[str, Any]) -> str:
    """Say which Milvus is in use and what it can't do."""
    where = "embedded" if found["embedded"] else f"at {found['address']}"
    off = ", ".join(found["turned_off"])
    return f"{found['version']}, {where}" + (f"; turned off: {off}" if off else "")
