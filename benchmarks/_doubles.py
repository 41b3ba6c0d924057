"""The doubles of the tests, for measurements that need a server that answers as it should."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

from alike import caption_by_examples
from judging import judge_colours
from milvus_servers import real_server
from ollama_double import OllamaDouble

__all__ = ["OllamaDouble", "caption_by_examples", "judge_colours", "real_server"]
