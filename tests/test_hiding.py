"""What a person hides is not there for assistants, whatever door they try; the person finds it."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from commands import mmrag_here
from ledgers_made import generated
from media_made import describe, end_owners, opened, picture
from mmrag_plugin.asked_index import index_for
from mmrag_plugin.browsing import count_by
from mmrag_plugin.errors import MmragError, NotFound, UsageError
from mmrag_plugin.filters import Filters
from mmrag_plugin.index_report import Progress
from mmrag_plugin.ledger import Ledger
from mmrag_plugin.ledger_hiding import HidingRule
from mmrag_plugin.ledger_tables import metadata
from mmrag_plugin.ledger_views import OPEN
from mmrag_plugin.library import MediaLibrary
from mmrag_plugin.media import Moment, Stage
from mmrag_plugin.upkeep import forget, leave_out, relocate, status

COLOURS = ["red", "green", "blue", "yellow", "orange", "purple", "pink", "brown", "white", "black"]

HIDDEN = {colour for number, colour in enumerate(COLOURS) if number % 2}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "home"
    end_owners(tmp_path / "home")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return make_photos(tmp_path)


def make_photos(place: Path) -> Path:
    """Ten photos, five of them in a folder ``private``; all are called a wall in words."""
    folder = place.resolve() / "photos"
    for number, colour in enumerate(COLOURS):
        place = folder / "private" if number % 2 else folder
        path = picture(
            place / f"{colour}.jpg",
            colour,
            number=number,
            taken_at=f"20{10 + number}:05:06 10:00:00",
            camera="SecretCam" if number % 2 else "OpenCam",
        )
        describe(path, f"a wall painted {colour} by {'Mallory' if number % 2 else 'Anna'}")
    return folder


def names(hits: list[Any]) -> list[str]:
    return [Path(hit.path).stem for hit in hits]


def media_id_of(library: MediaLibrary, path: Path) -> str:
    row = library.find(str(path))
    assert row is not None
    return row.media_id


# ---- every door ----------------------------------------------------------------------------------


def test_every_table_is_seen_through_a_view_or_is_about_the_library_alone() -> None:
    """A new table about media is hidden by itself; one without media_id has to be thought of."""
    known = {"roots", "left_out", "not_taken_in", "bad_sidecars", "hiding", "left_out_files"}
    known |= {"heard", "heard_out"}  # which they see nothing of
    for name, table in metadata.tables.items():
        assert name in OPEN or name in known or "media_id" in table.c, name


@dataclass(frozen=True)
class Doors:
    """A library with a hidden folder, as the person and as assistants have it."""

    library: MediaLibrary
    assistants: MediaLibrary
    photos: Path
    secret: str  # the id of a hidden media


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    place = tmp_path_factory.mktemp("doors")
    photos = make_photos(place)
    with opened(place / "home") as library:
        library.index([photos])
        assistants = library.for_assistants()
        assert len(assistants.search("wall", limit=20).hits) == 10
        assert library.hide(str(photos / "private")) == 5
        secret = media_id_of(library, photos / "private" / "green.jpg")
        yield Doors(library, assistants, photos, secret)
    end_owners(place / "home")


def test_a_page_of_hits_is_full_and_in_the_order_that_it_had(doors: Doors) -> None:
    mine = doors.library.search("wall", limit=20).hits
    assert sorted(names(mine)) == sorted(COLOURS)
    shown = [name for name in names(mine) if name not in HIDDEN]
    assert names(doors.assistants.search("wall", limit=5).hits) == shown
    assert {hit.hidden for hit in mine if Path(hit.path).stem in HIDDEN} == {True}
    assert not any(hit.hidden for hit in mine if Path(hit.path).stem not in HIDDEN)
    assert doors.library.similar(doors.secret).hits


def test_no_search_finds_what_is_hidden(doors: Doors) -> None:
    assistants = doors.assistants
    for question in ("green", "green wall Mallory", "a wall painted green by Mallory"):
        assert HIDDEN.isdisjoint(names(assistants.search(question, limit=20).hits))
        assert HIDDEN.isdisjoint(names(assistants.search_question(question, limit=20).hits))
        nodes = assistants.as_retriever(limit=20).retrieve(question)
        assert not any("private" in str(node.node.metadata["path"]) for node in nodes)
    assert assistants.search("Mallory", channels=["bm25"], limit=20).hits == []
    assert assistants.search_question('"wall painted green"').hits == []
    counted = assistants.search_question("how many photos are there?")
    assert counted.count == 5
    assert HIDDEN.isdisjoint(names(counted.hits))


def test_no_id_path_filter_or_name_leads_to_what_is_hidden(doors: Doors) -> None:
    assistants, secret = doors.assistants, doors.secret
    path = str(doors.photos / "private" / "green.jpg")
    assert assistants.find(secret) is None
    assert assistants.find(path) is None
    for refused in (
        lambda: assistants.similar(secret),
        lambda: assistants.similar(path),
        lambda: assistants.moment_pictures(Moment(secret, "image")),
        lambda: assistants.thumbnail(secret),
        lambda: assistants.preview(secret),
        lambda: assistants.search("x", filters=Filters(folder="private")),
        lambda: assistants.search("x", filters=Filters(folder=str(doors.photos / "private"))),
        lambda: assistants.search("x", filters=Filters(camera="SecretCam")),
        lambda: assistants.search("x", filters=Filters(near="Mallory")),
        lambda: assistants.browse_media(by="camera", value="SecretCam"),
    ):
        with pytest.raises(MmragError) as told:
            refused()
        assert "SecretCam" not in told.value.remedy
    assert assistants.words_of(Moment(secret, "image")) == ""


def test_the_ledger_of_assistants_knows_nothing_of_it(doors: Doors) -> None:
    ledger, secret = doors.assistants.ledger, doors.secret
    assert ledger.media_rows([secret]) == {}
    assert len(ledger.media_rows()) == 5
    assert ledger.paths_of([secret]) == {}
    assert ledger.signals_of([secret])[secret] == []
    assert ledger.media_ids_under(str(doors.photos / "private")) == frozenset()
    assert ledger.media_ids_in_folders_called("private") == frozenset()
    assert "private" not in ledger.folder_names()
    assert ledger.media_ids_telling("Mallory") == frozenset()
    assert ledger.texts_naming("Mallory") == []
    assert ledger.cameras_like("") == ("OpenCam",)
    assert str(ledger.dates()[1]).startswith("2018")
    assert ledger.counts()["kinds"] == {"image": 5}
    assert ledger.hiding_rules() == []
    assert not doors.library.ledger.hidden_among([secret]).isdisjoint([secret])


def test_nothing_hidden_is_counted(doors: Doors) -> None:
    assistants = doors.assistants
    years = {value.value: value.count for value in assistants.browse("year").values}
    assert years == {str(2010 + number): 1 for number in range(0, 10, 2)}
    (inside,) = assistants.browse("folder", folder=str(doors.photos)).values
    assert inside.count == 5
    assert assistants.browse_media().total == 5
    assert doors.library.browse_media().total == 10


def test_milvus_gives_nothing_of_it(doors: Doors) -> None:
    rows = [f"{doors.secret}:0", f"{doors.secret}:combined"]
    for store in doors.assistants.stores().values():
        assert doors.secret not in {media_id for _, media_id in store.row_ids()}
        assert store.vectors(rows) == {}
        assert store.get_nodes(rows) == []
        assert store.count() == 5
    for store in doors.library.stores().values():
        assert store.count() == 10


def test_agents_of_llamaindex_see_it_only_where_that_is_asked_for(doors: Doors) -> None:
    def ask(tools: list[Any], name: str, **given: str) -> str:
        (tool,) = [tool for tool in tools if tool.metadata.name == name]
        return str(tool.call(**given))

    tools = doors.library.as_tools(pictures=False)
    assert "private" not in ask(tools, "search_media", query="Mallory green wall")
    assert "There is no media" in ask(tools, "look_at_media", media_id=doors.secret)
    assert "5 images" in ask(tools, "library_info")
    tools = doors.library.as_tools(pictures=False, hidden=True)
    assert "Mallory" in ask(tools, "look_at_media", media_id=doors.secret)
    assert "10 images" in ask(tools, "library_info")


# ---- rules ---------------------------------------------------------------------------------------


def test_assistants_can_neither_hide_nor_write(home: Path, photos: Path) -> None:
    with opened(home) as library:
        library.index([photos])
        assistants = library.for_assistants()
        library.hide(str(photos / "private"))
        for attempt in (
            lambda: assistants.show(str(photos / "private")),
            lambda: assistants.hide(str(photos)),
            lambda: assistants.ledger.show("folder", str(photos / "private")),
            lambda: assistants.ledger.drop_media(["x"]),
            lambda: assistants.ledger.mint("0" * 64, "image"),
        ):
            with pytest.raises(MmragError):
                attempt()
        assert len(library.hidden()) == 1


def test_a_long_keyword_is_hidden_and_counted_and_spoils_no_other(home: Path, photos: Path) -> None:
    (photos / "red.xmp").write_text(
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
        'xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:subject><rdf:Bag><rdf:li>beach</rdf:li>'
        "<rdf:li>private!</rdf:li><rdf:li>our trip to the lake district</rdf:li>"
        "</rdf:Bag></dc:subject></rdf:Description></rdf:RDF></x:xmpmeta>"
    )
    with opened(home) as library:
        library.index([photos])
        tags = {value.label for value in library.browse("tag").values}
        assert tags == {"beach", "private!", "our trip to the lake district"}
        for tag in tags:
            assert library.hide(f"tag:{tag}") == 1
            assert len(library.for_assistants().ledger.media_rows()) == 9
            library.show(f"tag:{tag}")


@pytest.mark.parametrize("target", ["tag:Secret", "person:mallory", "media"])
def test_a_tag_a_person_and_one_media_are_hidden(home: Path, photos: Path, target: str) -> None:
    (photos / "red.xmp").write_text(
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
        'xmlns:dc="http://purl.org/dc/elements/1.1/" '
        'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"><dc:subject><rdf:Bag>'
        "<rdf:li>secret</rdf:li></rdf:Bag></dc:subject><Iptc4xmpExt:PersonInImage><rdf:Bag>"
        "<rdf:li>Mallory</rdf:li></rdf:Bag></Iptc4xmpExt:PersonInImage>"
        "</rdf:Description></rdf:RDF></x:xmpmeta>"
    )
    with opened(home) as library:
        library.index([photos])
        assistants = library.for_assistants()
        secret = media_id_of(library, photos / "red.jpg")
        assert library.hide(secret if target == "media" else target) == 1
        assert assistants.find(secret) is None
        assert len(assistants.ledger.media_rows()) == 9
        assert "red" not in names(assistants.search("wall", limit=20).hits)
        library.show(str(photos / "red.jpg") if target == "media" else target)
        assert assistants.find(secret) is not None


def test_a_rule_holds_for_what_comes_and_not_for_what_leaves(home: Path, photos: Path) -> None:
    with opened(home) as library:
        library.index([photos])
        assistants = library.for_assistants()
        library.hide(str(photos / "private"))
        picture(photos / "private" / "new.jpg", "red", number=99)
        shutil.move(photos / "red.jpg", photos / "private" / "red.jpg")
        for name in ("green.jpg", "green.txt"):
            shutil.move(photos / "private" / name, photos / name)
        library.index([])
        seen = {Path(row.path).stem for row in assistants.ledger.media_rows().values()}
        assert seen == {"blue", "orange", "pink", "white", "green"}
        assert set(names(assistants.search("wall", limit=20).hits)) == seen


def test_a_copy_in_a_hidden_folder_hides_a_media(home: Path, photos: Path) -> None:
    with opened(home) as library:
        shutil.copy(photos / "red.jpg", photos / "private" / "copy of red.jpg")
        library.index([photos])
        library.hide(str(photos / "private"))
        found = library.for_assistants().search("wall", limit=20).hits
        assert "red" not in names(found)


def test_a_rule_moves_with_its_folder(home: Path, photos: Path, tmp_path: Path) -> None:
    with opened(home) as library:
        library.index([photos])
        library.hide(str(photos / "private"))
        photos.rename(tmp_path.resolve() / "elsewhere")
        relocate(library, str(photos), tmp_path / "elsewhere")
        assert len(library.for_assistants().ledger.media_rows()) == 5


def test_folders_whose_names_begin_alike_are_not_hidden_together(home: Path, photos: Path) -> None:
    picture(photos / "private parts of the house" / "door.jpg", number=77)
    picture(photos / "privat%" / "window.jpg", number=78)
    with opened(home) as library:
        library.index([photos])
        library.hide(str(photos / "private"))
        seen = {Path(r.path).stem for r in library.for_assistants().ledger.media_rows().values()}
        assert {"door", "window"} <= seen


def test_what_nobody_knows_is_not_hidden(home: Path, photos: Path) -> None:
    with opened(home) as library:
        library.index([photos])
        for target in ("beach", "/nowhere/at/all", "tag:", "person:  "):
            with pytest.raises((NotFound, UsageError)):
                library.hide(target)
        with pytest.raises(NotFound, match="is not hidden"):
            library.show("tag:beach")
        assert library.hide("tag:beach") == 0  # it waits for its first media
        assert library.hidden()[0][0] == HidingRule("tag", "beach", "beach")


@pytest.mark.parametrize("edited", [False, True], ids=["as it was", "edited"])
def test_a_hidden_media_stays_hidden_when_its_file_was_away(
    home: Path, photos: Path, tmp_path: Path, edited: bool
) -> None:
    secret = photos / "red.jpg"
    with opened(home) as library:
        library.index([photos])
        assistants = library.for_assistants()
        library.hide(str(secret))
        old = secret.read_bytes()
        picture(secret, "red", number=500)
        library.index([])
        new = secret.read_bytes()
        secret.unlink()
        library.index([])
        (photos / "back.jpg").write_bytes(new if edited else old)
        library.index([])
        assert assistants.find(str(photos / "back.jpg")) is None
        assert "back" not in names(assistants.search("wall", limit=20).hits)
        assert [count for _, count in library.hidden()] == [1]
        library.show(str(photos / "back.jpg"))
        assert assistants.find(str(photos / "back.jpg")) is not None
        (photos / "another.jpg").write_bytes(old if edited else new)
        library.index([])
        assert assistants.find(str(photos / "another.jpg")) is not None


def test_an_edited_copy_of_a_hidden_media_is_hidden(home: Path, photos: Path) -> None:
    copy = photos / "copy of red.jpg"
    shutil.copy(photos / "red.jpg", copy)
    with opened(home) as library:
        library.index([photos])
        assistants = library.for_assistants()
        library.hide(str(photos / "red.jpg"))
        picture(copy, "red", number=500)
        library.index([])
        assert assistants.find(str(copy)) is None
        assert [count for _, count in library.hidden()] == [1, 1]
        library.show(str(copy))
        assert assistants.find(str(copy)) is not None
        assert assistants.find(str(photos / "red.jpg")) is None


def test_a_new_file_under_the_old_name_of_a_hidden_media_is_seen(home: Path, photos: Path) -> None:
    with opened(home) as library:
        library.index([photos])
        library.hide(str(photos / "red.jpg"))
        (photos / "red.jpg").rename(photos / "older.jpg")
        picture(photos / "red.jpg", "green", number=500)
        library.index([])
        assistants = library.for_assistants()
        assert assistants.find(str(photos / "red.jpg")) is not None
        assert assistants.find(str(photos / "older.jpg")) is None


@pytest.mark.parametrize("target", ["tag:private", "person:Anna Lee"])
def test_what_was_never_read_is_hidden_where_a_name_is(
    home: Path, photos: Path, target: str
) -> None:
    with opened(home) as library:
        library.index([photos])
        assistants = library.for_assistants()
        library.hide(target)
        describe(picture(photos / "new.jpg", "white", number=500), "private")
        (photos / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
        seen: list[set[str]] = []

        class Watch(Progress):
            def begin(self, stage: Stage, total: int) -> None:
                there = {Path(row.path).stem for row in assistants.ledger.media_rows().values()}
                mine = library.ledger.media_rows()
                hidden = library.ledger.hidden_media_ids()
                assert there == {
                    Path(row.path).stem for media_id, row in mine.items() if media_id not in hidden
                }
                seen.append(there)

        library.index([], Watch())
        known = set(COLOURS)
        after = known if target == "tag:private" else known | {"new"}
        assert all(known <= there <= after for there in seen), seen
        library.ledger.redo("read", list(library.ledger.media_rows()))
        there = {Path(row.path).stem for row in assistants.ledger.media_rows().values()}
        assert there == after  # what was read once is not hidden while it is read again


# ---- indexing that an assistant asks for ---------------------------------------------------------


@pytest.mark.parametrize("hidden", [False, True])
def test_no_assistant_takes_in_what_the_person_took_out(
    home: Path, photos: Path, hidden: bool
) -> None:
    private = photos / "private"
    with opened(home) as library:
        library.index([photos])
        forget(library, private)
        if hidden:
            library.hide(str(photos / "red.jpg"))
        assistants = library.for_assistants()
        (private / "deep").mkdir()
        refusals = set()
        for folder in (private, private / "deep", "photos/private", photos / "missing"):
            for allowed in ([], [private]):
                with pytest.raises(UsageError, match="may not be indexed") as refused:
                    index_for(assistants, str(folder), allowed)
            refusals.add(refused.value.message.replace(str(folder), "it"))
        assert len(refusals) == 1
        report = index_for(assistants, "photos")
        assert report.warnings == []
        assert library.ledger.left_out() == [str(private)]
        assert len(library.ledger.media_rows()) == 5


@pytest.mark.parametrize("hidden", [False, True])
def test_progress_for_assistants_counts_nothing_where_something_is_hidden(
    home: Path, photos: Path, hidden: bool
) -> None:
    heard: list[tuple[Stage, int]] = []

    class Heard(Progress):
        def begin(self, stage: Stage, total: int) -> None:
            heard.append((stage, total))

        def advance(self, stage: Stage, count: int) -> None:
            heard.append((stage, count))

    with opened(home) as library:
        library.index([photos / "private"])
        if hidden:
            library.hide(str(photos / "private"))
        index_for(library.for_assistants(), str(photos), [photos], Heard())
    assert {"scan", "read", "embed"} <= {stage for stage, _ in heard}
    assert any(count for _, count in heard) is not hidden


# ---- left out altogether -------------------------------------------------------------------------


def test_what_is_left_out_is_gone_and_comes_back_when_shown(home: Path, photos: Path) -> None:
    with opened(home) as library:
        library.index([photos])
        assert leave_out(library, str(photos / "private")) == 5
        assert len(library.search("wall", limit=20).hits) == 5
        for store in library.stores().values():
            assert store.count() == 5
        report = library.index([])
        assert (report.added, report.unchanged) == (0, 5)
        with pytest.raises(UsageError, match="left out"):
            library.index([photos / "private"])
        assert status(library)["hidden"]["rules"][0]["level"] == "left_out"
        library.show(str(photos / "private"))
        assert library.index([]).added == 5
        assert len(library.search("wall", limit=20).hits) == 10


def test_a_tag_that_is_left_out_goes_wherever_it_turns_up(home: Path, photos: Path) -> None:
    describe(photos / "red.jpg", "secret")
    with opened(home) as library:
        library.index([photos])
        assert leave_out(library, "tag:secret") == 1
        assert library.index([]).added == 0
        describe(photos / "blue.jpg", "secret")  # tagged later
        (photos / "deep").mkdir()
        shutil.move(photos / "red.jpg", photos / "deep" / "red.jpg")  # and moved
        shutil.move(photos / "red.txt", photos / "deep" / "red.txt")
        library.index([])
        assert len(library.ledger.media_rows()) == 8
        assert {"red", "blue"}.isdisjoint(names(library.search("wall", limit=20).hits))
        library.show("tag:secret")
        library.index([])
        assert len(library.ledger.media_rows()) == 10


# ---- the command, and other processes ------------------------------------------------------------


def test_the_commands_hide_list_and_show(home: Path, photos: Path) -> None:
    with opened(home) as library:
        library.index([photos])
    assistants = MediaLibrary.open(library.settings).for_assistants()
    with assistants:
        done = mmrag_here(home, "hide", str(photos / "private"), "person:Anna Lee", "--json")
        assert json.loads(done.stdout)["hidden"] == {
            str(photos / "private"): 5,
            "person:Anna Lee": 0,
        }
        assert "person:Anna Lee is about nothing yet" in done.stderr
        assert "private" not in done.stderr
        assert len(assistants.search("wall", limit=20).hits) == 5  # at once, in another process
        listed = mmrag_here(home, "hide", "--list").stdout
        assert "person:Anna Lee" in listed
        assert "5" in mmrag_here(home, "status").stdout
        found = mmrag_here(home, "search", "wall", "-n", "20", "--json").stdout
        assert [hit["hidden"] for hit in json.loads(found)["hits"] if "hidden" in hit] == [True] * 5
        assert "hidden from assistants" in mmrag_here(home, "search", "wall").stdout
        assert mmrag_here(home, "show", str(photos / "private")).returncode == 0
        assert len(assistants.search("wall", limit=20).hits) == 10
    assert mmrag_here(home, "show", "tag:none").returncode == 1
    assert mmrag_here(home, "hide").returncode == 2


def test_a_ledger_of_an_earlier_program_can_be_hidden_in(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.sqlite3'}"
    ledger = Ledger(url)
    with ledger._database.writing() as connection:
        for name in ("hiding", "left_out_files"):
            connection.execute(sa.text(f"DROP TABLE {name}"))
    ledger.close()
    seen = Ledger(url, for_assistants=True)
    assert seen.media_rows() == {}
    seen.close()


@pytest.mark.slow
def test_a_large_hidden_folder_costs_assistants_little(tmp_path: Path) -> None:
    ledger = generated(tmp_path / "ledger.sqlite3", 100_000)
    ledger.hide(HidingRule("folder", "/photos/3", "/photos/3"))
    ledger.hide(HidingRule("tag", "tag 4", "tag 4"))
    seen = Ledger(ledger.url, for_assistants=True)
    began = time.monotonic()
    hidden = seen.hidden_media_ids()
    assert 5_000 < len(hidden) < 5_400
    assert count_by(seen, "year").total == 100_000 - len(hidden)
    assert time.monotonic() - began < 5.0
    began = time.monotonic()
    assert len(seen.media_rows([f"{n:016x}" for n in range(100)])) < 100
    assert time.monotonic() - began < 0.5
    seen.close()
    ledger.close()
