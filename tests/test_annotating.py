"""What a person writes about their media: found at once, kept through everything, taken back."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unicodedata import category

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commands import mmrag_here
from made_films import BLUE, RED, write_film
from media_made import end_owners, opened, picture
from mmrag_plugin.annotation_files import annotations_in, read, written
from mmrag_plugin.errors import MmragError, NotFound, UsageError
from mmrag_plugin.filters import Filters
from mmrag_plugin.index_report import Progress
from mmrag_plugin.ledger import MediaRow
from mmrag_plugin.ledger_annotations import Annotation, KeptAnnotation
from mmrag_plugin.library import MediaLibrary
from mmrag_plugin.media import Stage
from mmrag_plugin.readers.photo import PhotoReader
from mmrag_plugin.upkeep import forget, leave_out, repair, verify

COLOURS = ["red", "green", "blue", "black"]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "home"
    end_owners(tmp_path / "home")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path.resolve() / "photos"
    for number, colour in enumerate(COLOURS):
        picture(folder / f"{colour}.png", colour, number=number)
    return folder


def row_of(library: MediaLibrary, path: Path) -> MediaRow:
    row = library.find(str(path))
    assert row is not None
    return row


def best(library: MediaLibrary, query: str, **options: Any) -> list[str]:
    hits = library.search(query, channels=["bm25"], **options).hits
    return [Path(hit.path).name for hit in hits]


def test_what_is_written_is_found_at_once_and_taken_back(home: Path, photos: Path) -> None:
    with opened(home) as library:
        library.index([photos])
        media_id = row_of(library, photos / "green.png").media_id
        before = (photos / "green.png").read_bytes()
        done = library.annotate(
            media_id,
            caption="Grandmother's clearing in the woods",
            tags=["meadow, picnic"],
            people=["Anna Lee"],
        )
        assert (done.added, done.removed, done.searchable, done.note) == (4, 0, True, "")
        for words in ("grandmother", "picnic", "Anna Lee"):
            assert best(library, words) == ["green.png"]
        assert best(library, "clearing", filters=Filters(people=("anna lee",))) == ["green.png"]
        assert best(library, "clearing", filters=Filters(tags=("Picnic",))) == ["green.png"]
        assert [value.label for value in library.browse("person").values] == ["Anna Lee"]
        hit = library.search("grandmother").hits[0]
        assert hit.text == "Grandmother's clearing in the woods"
        again = library.annotate(media_id, tags=["MEADOW"])
        assert (again.added, len(again.annotations)) == (0, 4)
        less = library.annotate(media_id, tags=["picnic"], remove=True)
        assert (less.removed, len(less.annotations)) == (1, 3)
        assert best(library, "picnic") == []
        assert best(library, "meadow") == ["green.png"]
        assert library.annotate(media_id, remove=True).annotations == []
        assert best(library, "grandmother") == []
        assert library.browse("person").values == []
        assert (photos / "green.png").read_bytes() == before
        assert sorted(path.name for path in photos.iterdir()) == sorted(f"{c}.png" for c in COLOURS)
        assert_agrees(library)


def test_a_tag_of_many_words_spoils_no_other_and_a_caption_is_no_tag(
    home: Path, photos: Path
) -> None:
    with opened(home) as library:
        library.index([photos])
        media_id = row_of(library, photos / "red.png").media_id
        library.annotate(media_id, tags=["holiday"], caption="Ben, private")
        library.annotate(media_id, tags=["do not show this to anyone"])
        tags = [value.label for value in library.browse("tag").values]
        assert sorted(tags) == ["do not show this to anyone", "holiday"]
        assert library.hide("tag:do not show this to anyone") == 1
        assert library.hide("tag:private") == 1  # no tag, but whoever hides it means this too


def assert_agrees(library: MediaLibrary) -> None:
    for difference in verify(library):
        assert (difference.missing, difference.surplus) == ([], []), difference


def test_with_a_text_model_this_media_alone_is_embedded_again(
    home: Path, photos: Path, minidual: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = {"visual_model": str(minidual), "text_model": "visual"}
    with opened(home, **models) as library:
        library.index([photos])
        library.annotate(row_of(library, photos / "blue.png").media_id, caption="the deep sea")
        found = library.search("the deep sea", channels=["text"]).hits
        assert found[0].path.endswith("blue.png")
        text = library.searcher().text
        assert text is not None
        embedded: list[str] = []
        original = type(text).embed

        def counting(self: Any, texts: list[str], **options: Any) -> Any:
            embedded.extend(texts)
            return original(self, texts, **options)

        monkeypatch.setattr(type(text), "embed", counting)
        library.annotate(row_of(library, photos / "red.png").media_id, caption="a barn")
        assert embedded
        assert all("sea" not in words for words in embedded)


def test_a_moment_of_a_film_is_annotated(home: Path, tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    film = write_film(tmp_path / "films" / "walk.mp4", [RED] * 30 + [BLUE] * 30, gop=10)
    with opened(home) as library:
        library.index([film.parent])
        media_id = row_of(library, film).media_id
        library.annotate(media_id, caption="the dog jumps", start_s=4.0, end_s=5.0)
        (hit,) = library.search("dog jumps", channels=["bm25"]).hits
        assert (hit.moment.start_s, hit.moment.end_s) == (4.0, 5.0)
        for wrong in ((5.0, 4.0), (-1.0, 2.0), (1.0, 99.0), (float("nan"), 1.0)):
            with pytest.raises(UsageError):
                library.annotate(media_id, caption="x y", start_s=wrong[0], end_s=wrong[1])
        assert library.annotate(media_id, start_s=4.0, end_s=5.0, remove=True).removed == 1


def test_what_is_written_survives_whatever_becomes_of_the_file(home: Path, photos: Path) -> None:
    with opened(home) as library:
        library.index([photos])
        media_id = row_of(library, photos / "red.png").media_id
        library.annotate(media_id, caption="the lighthouse keeper", people=["Ben"])

        def still_there(name: str) -> None:
            assert best(library, "lighthouse keeper") == [name]
            assert [value.count for value in library.browse("person").values] == [1]

        library.index([])
        (photos / "red.png").rename(photos / "renamed.png")  # a rename
        library.index([])
        still_there("renamed.png")
        (photos / "deep").mkdir()
        shutil.move(photos / "renamed.png", photos / "deep" / "moved.png")  # a move
        library.index([])
        still_there("moved.png")
        picture(photos / "deep" / "moved.png", "yellow", number=1000)  # an edit in its place
        library.index([])
        still_there("moved.png")
        library.ledger.redo("read", [media_id])  # read again
        library.index([])
        still_there("moved.png")
        library.stores()["words"].delete_media([media_id])  # rows lost, and repaired
        repair(library)
        still_there("moved.png")
        library.connection.call("drop_collection", library.stores()["words"].collection_name)
        repair(library)  # the collection rebuilt from the ledger
        still_there("moved.png")
        kept = (photos / "deep" / "moved.png").read_bytes()
        forget(library, photos / "deep")  # gone, and come back under another name
        assert best(library, "lighthouse keeper") == []
        (photos / "deep" / "moved.png").unlink()
        (photos / "back.png").write_bytes(kept)
        library.index([])
        still_there("back.png")
        leave_out(library, str(photos / "back.png"))
        assert best(library, "lighthouse keeper") == []
        library.show(str(photos / "back.png"))
        library.index([])
        still_there("back.png")
        assert_agrees(library)


def test_a_photo_that_another_one_overwrote_gets_its_words_back(home: Path, photos: Path) -> None:
    with opened(home) as library:
        library.index([photos])
        media_id = row_of(library, photos / "red.png").media_id
        library.annotate(media_id, caption="the lighthouse keeper", tags=["harbour"])
        old = (photos / "red.png").read_bytes()
        picture(photos / "red.png", "yellow", number=1000)
        library.index([])
        assert len(library.ledger.kept_annotations()) == 2
        library.annotate(media_id, tags=["harbour"], remove=True)
        (photos / "old.png").write_bytes(old)
        library.index([])
        assert set(best(library, "lighthouse keeper")) == {"red.png", "old.png"}
        returned = row_of(library, photos / "old.png").media_id
        assert [item.text for item in library.ledger.annotations_of(returned)] == [
            "the lighthouse keeper"
        ]


def test_an_edit_that_is_undone_leaves_words_once(home: Path, photos: Path) -> None:
    with opened(home) as library:
        library.index([photos])
        path = photos / "red.png"
        library.annotate(row_of(library, path).media_id, caption="the lighthouse keeper")
        old = path.read_bytes()
        picture(path, "yellow", number=1000)
        new = path.read_bytes()
        for content in (new, old, new):
            path.write_bytes(content)
            library.index([])
        forget(library, path)
        for name, content in (("old.png", old), ("new.png", new)):
            (photos / name).write_bytes(content)
            library.index([])
            found = library.ledger.annotations_of(row_of(library, photos / name).media_id)
            assert [item.text for item in found] == ["the lighthouse keeper"]


def test_what_says_nothing_or_too_much_is_refused(home: Path, photos: Path) -> None:
    with opened(home) as library:
        library.index([photos])
        media_id = row_of(library, photos / "red.png").media_id
        for wrong in (
            {"caption": " \x1b\x07 "},
            {"caption": "x" * 5000},
            {"tags": ["a" * 61]},
            {"tags": ["..."]},
            {"people": [""]},
            {"caption": "\ud800 half"},
            {"caption": "at", "start_s": 1.0},
            {"tags": [f"tag {n}" for n in range(101)]},
        ):
            with pytest.raises(UsageError):
                library.annotate(media_id, **wrong)  # type: ignore[arg-type]
        with pytest.raises(NotFound):
            library.annotate("nobody", caption="hello")
        with pytest.raises(UsageError, match="to take back"):
            library.annotate(media_id, caption="never said", remove=True)
        assert library.annotate(media_id, caption="two\x1b[31m\nlines").annotations[0].text == (
            "two [31m lines"
        )


def test_assistants_annotate_only_what_they_may_see(home: Path, photos: Path) -> None:
    with opened(home) as library:
        library.index([photos])
        secret = row_of(library, photos / "red.png").media_id
        library.hide(secret)
        assistants = library.for_assistants()
        with pytest.raises(NotFound):
            assistants.annotate(secret, caption="hello")
        open_one = row_of(library, photos / "blue.png").media_id
        assert assistants.annotate(open_one, caption="a quiet pond").searchable
        assert best(assistants, "quiet pond") == ["blue.png"]
        library.annotate(secret, caption="a hidden pond")
        assert best(assistants, "hidden pond") == ["blue.png"]
        assert [kept.annotation.text for kept in assistants.ledger.kept_annotations()] == [
            "a quiet pond"
        ]
        library.hide("tag:embarrassing")
        assistants.annotate(open_one, tags=["embarrassing"])
        assert best(assistants, "quiet pond") == []  # a rule holds for what is written, too


# ---- beside a run of indexing --------------------------------------------------------------------


class Slow(PhotoReader):
    """Takes its time with each picture."""

    def frames(self, path: Path, **options: Any) -> Any:
        time.sleep(0.05)
        return super().frames(path, **options)


def test_what_is_written_during_a_long_run_is_found_before_its_end(
    home: Path, photos: Path
) -> None:
    with opened(home) as library:
        library.index([photos])
        media_id = row_of(library, photos / "red.png").media_id
    for number in range(200):
        picture(photos / f"new {number}.png", "white", number=number + 50)
    began, stop = threading.Event(), threading.Event()

    class Telling(Progress):
        def begin(self, stage: Stage, total: int) -> None:
            if stage == "embed":
                began.set()

    def index() -> None:
        with opened(home) as indexing:
            reader = indexing.readers["image"]
            indexing.readers["image"] = Slow(decoder=reader.decoder)  # type: ignore[attr-defined]
            indexing.index([], Telling(), stop)

    running = threading.Thread(target=index)
    running.start()
    try:
        assert began.wait(60)
        with opened(home) as library:
            done = library.annotate(media_id, caption="the lighthouse keeper")
            assert (done.searchable, done.note) == (True, "")
            assert best(library, "lighthouse keeper") == ["red.png"]
            assert running.is_alive()  # it was not waited for
    finally:
        stop.set()
        running.join(60)


def test_who_holds_the_lease_and_takes_nothing_in_is_waited_for_only_a_while(
    home: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmrag_plugin.library_annotating.WAIT_S", 0.5)
    with opened(home) as library, opened(home) as other:
        library.index([photos])
        media_id = row_of(library, photos / "red.png").media_id
        with other.ledger.writer("backing up"):
            done = library.annotate(media_id, caption="the lighthouse keeper", tags=["coast"])
        assert not done.searchable
        assert "backing up" in done.note
        assert library.browse("tag").values[0].label == "coast"  # the ledger knows already
        library.index([])
        assert best(library, "lighthouse keeper") == ["red.png"]


def test_an_annotation_that_comes_while_words_are_written_is_not_lost(
    home: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(home) as library:
        library.index([photos])
        media_id = row_of(library, photos / "red.png").media_id
        store, late = type(library.stores()["words"]), [True]
        original = store.add

        def add(self: Any, nodes: Any, **options: Any) -> Any:
            if late.pop() if late else False:  # between the look-up of words and their entry
                library.ledger.annotate(media_id, [Annotation("caption", "a second thought")])
            return original(self, nodes, **options)

        monkeypatch.setattr(store, "add", add)
        library.annotate(media_id, caption="a first thought")
        assert library.ledger.unwritten_annotations() == [media_id]
        library.index([])
        assert best(library, "second thought") == ["red.png"]
        assert_agrees(library)


# ---- a run that is stopped -----------------------------------------------------------------------


class Stopping(Progress):
    """Stops a run once a stage has advanced."""

    def __init__(self, stage: Stage, stop: threading.Event) -> None:
        self.stage, self.stop = stage, stop

    def begin(self, stage: Stage, total: int) -> None:
        if stage == self.stage and not total:
            self.stop.set()

    def advance(self, stage: Stage, count: int) -> None:
        if stage == self.stage:
            self.stop.set()


@pytest.mark.parametrize("stage", ["scan", "read", "embed"])
def test_a_run_that_is_stopped_keeps_what_is_done_and_the_next_goes_on(
    home: Path, photos: Path, stage: Stage
) -> None:
    for number in range(150):
        picture(photos / f"many {number}.png", "white", number=number + 50)
    with opened(home) as library:
        stop = threading.Event()
        report = library.index([photos], Stopping(stage, stop), stop)
        assert report.stopped_by is not None
        assert report.stopped_by.kind == "stopped"
        assert any("Stopped" in warning for warning in report.warnings)
        assert_agrees(library)
        if stage == "embed":
            assert 0 < report.stages["embed"].done < 154
            assert report.stages["embed"].done + report.stages["embed"].pending == 154
        done = library.index([])
        assert done.stopped_by is None
        assert {name: s.pending for name, s in done.stages.items() if s.pending} == {}
        assert library.stores()["visual"].count() == 154
        assert_agrees(library)


def test_a_run_that_is_stopped_switches_to_no_half_made_model(
    home: Path, photos: Path, minidual: Path
) -> None:
    with opened(home) as library:
        library.index([photos])
    stop = threading.Event()
    with opened(home, visual_model=str(minidual)) as library:
        stop.set()
        assert library.index([], stop=stop).stopped_by is not None
    with opened(home, visual_model="auto") as library:
        assert library.search("red").hits[0].path.endswith("red.png")


# ---- files ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("sqlite_alone")
@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_what_was_exported_comes_into_another_library(
    home: Path, photos: Path, tmp_path: Path, suffix: str
) -> None:
    target = tmp_path / f"mine{suffix}"
    with opened(home) as library:
        library.index([photos])
        media_id = row_of(library, photos / "red.png").media_id
        library.annotate(
            media_id, caption='He said "hello", then\tleft', tags=["a tag"], people=["Ann"]
        )
    done = mmrag_here(home, "annotations", "export", str(target))
    assert done.returncode == 0, done.stderr
    assert mmrag_here(home, "annotations", "export", str(target)).returncode == 2  # not overwritten
    elsewhere = tmp_path.resolve() / "copy"
    shutil.copytree(photos, elsewhere)
    (elsewhere / "red.png").rename(elsewhere / "other name.png")
    with opened(home, "second") as library:
        library.index([elsewhere])
    done = mmrag_here(home, "annotations", "import", str(target), "-l", "second", "--json")
    assert json.loads(done.stdout)["added"] == 3
    with opened(home, "second") as library:
        assert best(library, "hello") == ["other name.png"]
        assert library.import_annotations(read(target)).known == 3


def test_files_of_others_come_in_line_by_line(home: Path, photos: Path, tmp_path: Path) -> None:
    source = tmp_path / "mine.jsonl"
    lines = [
        '{"file": "red.png", "caption": ["a barn", "a shed"], "tags": ["farm"]}',
        '{"path": "%s", "people": "Anna"}' % (photos / "blue.png"),
        '{"file": "nowhere.png", "caption": "lost"}',
        "no json at all",
        '{"file": "green.png", "kind": "rating", "text": "5"}',
        '{"file": "green.png", "caption": "late", "start_s": "soon"}',
        '{"file": "../../etc/passwd", "caption": "evil"}',
    ]
    source.write_text("\n".join(lines))
    with opened(home) as library:
        library.index([photos])
    done = mmrag_here(home, "annotations", "import", str(source), "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["added"], len(told["refused"])) == (1, 4, 5)
    assert told["refused"][0].startswith("line 3: ")
    with opened(home) as library:
        assert best(library, "barn") == ["red.png"]
        assert library.browse("person").values[0].label == "Anna"


_text = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30)
_items = st.builds(
    Annotation,
    st.sampled_from(["caption", "tag", "person"]),
    _text,
    st.none() | st.floats(0, 1e6, allow_nan=False),
    st.none() | st.floats(0, 1e6, allow_nan=False),
)


@settings(max_examples=100, deadline=None)
@given(items=st.lists(_items, max_size=5), as_csv=st.booleans())
def test_annotations_written_to_a_file_are_read_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, items: list[Annotation], as_csv: bool
) -> None:
    path = tmp_path_factory.mktemp("files") / ("a.csv" if as_csv else "a.jsonl")
    kept = [KeptAnnotation("ab12", "cd34", '/p/é,"x".jpg', item) for item in items]
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(written(kept, as_csv=as_csv))
    records = [record for _, record in read(path)]
    assert [(record["kind"], record["text"]) for record in records] == [
        (item.kind, item.text) for item in items
    ]
    assert [
        float(record["start_s"]) if record["start_s"] not in (None, "") else None
        for record in records
    ] == [item.start_s for item in items]


@settings(max_examples=200, deadline=None)
@given(
    record=st.dictionaries(
        st.sampled_from(["kind", "text", "caption", "tags", "people", "start_s", "end_s"]),
        st.recursive(
            st.none() | st.text(max_size=20) | st.floats() | st.booleans(),
            lambda inner: st.lists(inner, max_size=3),
            max_leaves=5,
        ),
    )
)
def test_no_record_breaks_the_import(record: dict[str, Any]) -> None:
    row = MediaRow("a", "video", "/a.mp4", "/", None, "", 1, 1, 9.0, None, None)
    try:
        items = annotations_in(row, record)
    except MmragError:
        return
    assert items
    assert not any(category(char) in ("Cc", "Cs") for item in items for char in item.text)


def test_the_command_annotates_and_tells(home: Path, photos: Path) -> None:
    with opened(home) as library:
        library.index([photos])
    red = str(photos / "red.png")
    done = mmrag_here(home, "annotate", red, "--caption", "a barn", "--tag", "farm,old", "--json")
    assert [item["text"] for item in json.loads(done.stdout)["annotations"]] == [
        "a barn",
        "farm",
        "old",
    ]
    assert "a barn" in mmrag_here(home, "search", "barn").stdout
    assert "tag: farm" in mmrag_here(home, "annotate", "1").stdout  # the first hit shown last
    gone = mmrag_here(home, "annotate", red, "--tag", "old", "--remove")
    assert "old" not in gone.stdout
    assert mmrag_here(home, "annotate", red, "--remove", "--tag", "never").returncode == 2
    assert mmrag_here(home, "annotate", "nobody", "--tag", "x").returncode == 1
    assert mmrag_here(home, "annotate", red, "--tag", "x", "--start", "0:01").returncode == 2
