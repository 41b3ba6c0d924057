"""A help desk: a customer's question is answered with the how-to moment and the product's picture.

    python examples/help_desk.py [FOLDER]

The folder has one folder for each product, with pictures, films and subtitles; without one, two
products are drawn first.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from media import products

from mmrag_plugin import MediaLibrary, load_settings
from mmrag_plugin.errors import ServiceError
from mmrag_plugin.filters import Filters
from mmrag_plugin.timecode import format_time
from mmrag_plugin.untrusted import escape_media_text

QUESTIONS = (
    "How do I descale my kettle?",
    "My lamp does not pair with the phone",
    "The kettle blinks red, what does that mean?",
)


def reply(library: MediaLibrary, question: str) -> str:
    """What to send: what fits best, and a picture of the same product."""
    best = library.search_question(question, limit=1).hits[0]
    if best.confidence == "none":
        return "Nothing fits; a colleague will write to you."
    product = Path(best.path).parent
    said = " ".join(escape_media_text(best.text or best.reason).split())  # out of files: cleaned
    lines = [f"{product.name}: {said}"]
    if best.moment.start_s is not None:
        lines.append(f"watch {Path(best.path).name} from {format_time(best.moment.start_s)}")
    photos = Filters(kind="image", folder=str(product))
    pictures = library.search(f"{product.name} {question}", limit=1, filters=photos).hits
    lines += [f"see {Path(picture.path).name}" for picture in pictures]
    return "\n  ".join(lines)


def main(folder: Path) -> None:
    """Take the products in, and answer each question twice: with places to look, and in words."""
    with MediaLibrary.open(load_settings(library="help-desk"), create=True) as library:
        library.index([folder])
        for question in QUESTIONS:
            print(f"{question}\n  {reply(library, question)}\n")
        chat = library.as_chat_engine()
        try:
            print(chat.chat("How long must the vinegar stand in the kettle?"))
            print(chat.chat("what does 1 say comes next?"))  # it remembers its sources
        except ServiceError as error:
            print(f"Nobody answers in words: {error}")


if __name__ == "__main__":
    given = sys.argv[1:]
    main(Path(given[0]) if given else products.make(Path(tempfile.mkdtemp()) / "Shop"))
