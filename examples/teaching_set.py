"""A teaching set: questions are answered with the right diagram, or with the moment of a lecture.

    python examples/teaching_set.py [FOLDER]

Without a folder a small course is drawn first; look into it for where words about media go.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from media import teaching

from mmrag_plugin import MediaLibrary, load_settings
from mmrag_plugin.errors import ServiceError
from mmrag_plugin.filters import Filters
from mmrag_plugin.media import Hit
from mmrag_plugin.timecode import format_span
from mmrag_plugin.untrusted import escape_media_text

QUESTIONS = (
    ("Why do clouds form?", None),
    ("Which part of a cell makes sugar from light?", Filters(kind="image")),
    ("the label Precipitation", Filters(has_text=True)),
    ("What keeps a stem upright?", Filters(kind="video", folder="Unit 2 Cells")),
)


def shown(hit: Hit) -> str:
    """Where to look: the file, and of a film when; a browser opens film.mp4#t=6 at that second."""
    span = format_span(hit.moment.start_s, hit.moment.end_s)
    opens = "" if hit.moment.start_s is None else f" at {span} (#t={hit.moment.start_s:g})"
    where, why = "/".join(Path(hit.path).parts[-2:]), escape_media_text(hit.reason)
    return f"{where}{opens}\n    {why}"


def main(folder: Path) -> None:
    """Take the course in, find an answer's place to each question, and have one answered."""
    with MediaLibrary.open(load_settings(library="teaching-set"), create=True) as library:
        report = library.index([folder])  # what is there already is not read again
        print(f"{report.added} new files")
        for question, filters in QUESTIONS:
            best = library.search_question(question, limit=1, filters=filters).hits[0]
            print(f"\n{question}\n  {shown(best)}")
        # a note of your own, to the moment found last: kept in the library, found at once
        note = "Asked in the exam of 2025, question 3"
        part = {"start_s": best.moment.start_s, "end_s": best.moment.end_s}
        library.annotate(best.moment.media_id, caption=note, **part)
        print(f"\nexam question 3\n  {shown(library.search('exam question 3').hits[0])}")
        try:
            answer = library.as_query_engine(limit=3).query(
                "What does the plant cell diagram show?"
            )
        except ServiceError as error:  # everything above works without Ollama
            print(f"\nNobody answers in words: {error}")
            return
        print(f"\n{answer}")
        for number, source in enumerate(answer.source_nodes, 1):
            print(f"  [{number}] {Path(source.metadata['path']).name}")


if __name__ == "__main__":
    given = sys.argv[1:]
    main(Path(given[0]) if given else teaching.make(Path(tempfile.mkdtemp()) / "Course"))
