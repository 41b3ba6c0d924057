"""Converse with a library: follow-ups keep filters, sources keep their numbers.

    mmrag index FOLDER
    python examples/chat.py "Show me the red barn" "and in spring?" "what does 1 show?"

Needs Ollama with a vision model (MMRAG_VLM). The conversation goes on where it ended last time.
"""

from __future__ import annotations

import sys

from mmrag_plugin import MediaLibrary


def main(messages: list[str]) -> None:
    """Take one turn a message, and keep the conversation."""
    with MediaLibrary.open() as library:
        kept = library.directory / "conversations" / "example.json"
        engine = library.as_chat_engine(resume=kept if kept.exists() else None)
        for message in messages:
            print(f"> {message}")
            response = engine.stream_chat(message)
            for piece in response.response_gen:
                print(piece, end="", flush=True)
            print()
            for number in response.metadata["numbers"]:
                print(f"  [{number}] {engine.conversation.sources[number - 1].path}")
        engine.save(kept)


if __name__ == "__main__":
    main(sys.argv[1:])
