"""Several servers and an indexer on one embedded library, with real processes and kills."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kill_owner_every", [0.0, 8.0])
def test_three_servers_answer_rightly_while_an_indexer_writes(
    kill_owner_every: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.mcp_together import together

    found: dict[str, Any] = together(
        tmp_path, minutes=0.6, servers=3, kill_owner_every=kill_owner_every, photos=40, idle=3
    )
    print(found)
    assert found["wrong"] == []
    assert found["errors"] == []
    assert found["lost"] == []
    assert found["verified"] == 0
    assert found["index_runs"] > 2
    assert found["searches_busy"] > 50
    if kill_owner_every:
        assert found["kills"] > 2
        assert found["busy"]["max_ms"] < 5_000


def test_the_tools_are_listed_nearly_as_soon_as_those_of_an_empty_server(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.setattr(sys, "argv", ["mcp_start", "--runs", "7"])
    from benchmarks.mcp_start import main

    main()
    measured = json.loads(capsys.readouterr().out)
    for era in ("2026-07-28", "2025-11-25"):
        assert measured[era]["mmrag_ratio"] < 2  # 1.2 where nobody else is at work
