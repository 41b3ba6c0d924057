"""An agent that looks things up in your own photos and films, with LlamaIndex and Ollama.

    python examples/agent.py "What did the espresso in Lisbon cost?"

The library is the one that the environment names (MMRAG_HOME, MMRAG_LIBRARY), the model MMRAG_VLM:
it has to see and to call tools.
"""

import asyncio
import sys

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.tools import QueryEngineTool

from mmrag_plugin import MediaLibrary


async def main(question: str) -> None:
    """Let an agent answer; it decides itself when to look at pictures."""
    with MediaLibrary.open() as library:
        llm = library.vlm()
        pictures = QueryEngineTool.from_defaults(
            library.as_query_engine(llm, limit=4),
            name="look_at_pictures",
            description="Answers a question from the person's own photos and films.",
        )
        agent = FunctionAgent(
            tools=[pictures],
            llm=llm,
            system_prompt="Answer from the person's pictures; say so when they show nothing.",
        )
        print(await agent.run(question))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "What have I been doing lately?"))
