"""A judge for the double: it looks at the picture of a hit and at what is searched for."""

from __future__ import annotations

import json
import re
from typing import Any

import PIL.Image

from mmrag_plugin.vlm.fake import main_colour


def judge_colours(body: dict[str, Any], pictures: list[PIL.Image.Image]) -> str:
    """Judge by pixels alone: 3 if the last picture's main colour is searched for, else 0."""
    assert body["format"]["properties"].keys() == {"reason", "relevance"}
    asked = body["messages"][-1]["content"].rpartition("The search:")[2]
    seen = main_colour(pictures[-1])
    fits = re.search(rf"\b{seen}\b", asked) is not None
    return json.dumps({"reason": f"it is mostly {seen}", "relevance": 3 if fits else 0})
