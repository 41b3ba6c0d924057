"""Ask a model for an answer of a fixed shape: JSON that fits a schema, or an error.

Ollama holds its models to a JSON schema (``format``); any other LLM is told the schema and trusted
to keep to it. LlamaIndex's own structured prediction is not used, since it formats the messages as
templates: a ``{`` in the text of a photo would break it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, TypeVar

from llama_index.core.llms import LLM, ChatMessage, ChatResponse, MessageRole
from llama_index.core.output_parsers.utils import extract_json_str
from llama_index.llms.ollama import Ollama
from pydantic import BaseModel, ValidationError

from mmrag_plugin.errors import ServiceError
from mmrag_plugin.vlm.base import said

_ATTEMPTS = (False, True)  # whether it is the last; who missed the schema once often hits it next

Shape = TypeVar("Shape", bound=BaseModel)


def ask_for(llm: LLM, messages: Sequence[ChatMessage], shape: type[Shape]) -> Shape:
    """Answer messages with an object of a shape.

    Raises ServiceError for an answer that does not fit, and what the model raises.
    """
    asked, options = _asking(llm, messages, shape)
    for last in _ATTEMPTS:
        if (fits := _fitting(llm.chat(asked, **options), shape, llm, last)) is not None:
            return fits
    raise AssertionError("unreachable: the last attempt returns or raises")


async def aask_for(llm: LLM, messages: Sequence[ChatMessage], shape: type[Shape]) -> Shape:
    """Answer messages with an object of a shape, without holding up the event loop."""
    asked, options = _asking(llm, messages, shape)
    for last in _ATTEMPTS:
        if (fits := _fitting(await llm.achat(asked, **options), shape, llm, last)) is not None:
            return fits
    raise AssertionError("unreachable: the last attempt returns or raises")


def _asking(
    llm: LLM, messages: Sequence[ChatMessage], shape: type[BaseModel]
) -> tuple[list[ChatMessage], dict[str, Any]]:
    schema = shape.model_json_schema()
    if isinstance(llm, Ollama):
        return list(messages), {"format": schema}
    told = f"Answer with nothing but one JSON object that fits this schema:\n{json.dumps(schema)}"
    return [*messages, ChatMessage(role=MessageRole.USER, content=told)], {}


def _fitting(response: ChatResponse, shape: type[Shape], llm: LLM, last: bool) -> Shape | None:
    """The object in an answer; None if it does not fit, and on the last attempt an error."""
    answer = said(response)
    try:
        return shape.model_validate_json(extract_json_str(answer))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        reason = f"{where}: {first['msg']}" if where else first["msg"]
    except ValueError:
        reason = "it holds no JSON object"
    raw = response.raw if isinstance(response.raw, dict) else {}
    cut = raw.get("done_reason") == "length"  # it would be cut again
    if last or cut:
        raise ServiceError(
            f"The answer of {llm.metadata.model_name} does not fit "
            f"({'it was cut short' if cut else reason}): {answer[:80]!r}.",
            "Allow longer answers (max_tokens), or name another model with MMRAG_VLM."
            if cut
            else "Try again, or name another model with MMRAG_VLM.",
        )
    return None
