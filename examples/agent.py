"""An agent that looks things up in your own photos and films, with LlamaIndex and Ollama.

    python examples/agent.py "What did the espresso in Lisbon cost?"

The library is the one that the environment names (MMRAG_HOME, MMRAG_LIBRARY), the model MMRAG_VLM:
it has to see and to call tools. A model that can't call tools works with ReActAgent instead.
"""

import asyncio
import sys

from llama_index.core.agent.workflow import FunctionAgent

from mmrag_plugin import MediaLibrary, media_tools


async def main(question: str) -> None:
    """Let an agent search, look at what it finds, and answer."""
    with MediaLibrary.open() as library:
        llm = library.vlm()
        agent = FunctionAgent(
            tools=media_tools(library, llm=llm),
            llm=llm,
            system_prompt="Answer from the person's own photos and films: search, then look at "
            "what you found before you answer. Say so when they show nothing.",
        )
        print(await agent.run(question))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "What have I been doing lately?"))
