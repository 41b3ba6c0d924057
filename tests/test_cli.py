"""The command line from outside: exit codes, JSON, and what a person reads."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from commands import MMRAG, environment, mmrag, mmrag_here, refused, told
from media_made import end_owners, picture
from mmrag_plugin.cli.finding import LAST_SEARCH
from mmrag_plugin.embeddings.local_models import folder_name
from mmrag_plugin.ledger import Ledger
from mmrag_plugin.library import MediaLibrary
from mmrag_plugin.library_place import LEDGER_FILE
from mmrag_plugin.signals.ocr_rapid import RapidOcrReader
from ollama_double import Model, OllamaDouble

DEMO_MEDIA = Path(__file__).resolve().parents[1] / "src" / "mmrag_plugin" / "demo_media"
HIT_KEYS = set(
    "rank media_id path kind start_s end_s score confidence why reason text taken_at".split()
)


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four photos and a film; one photo's name is in Greek."""
    folder = tmp_path_factory.mktemp("media")
    for name in ("Farm weekend", "Spring", "Films"):
        shutil.copytree(DEMO_MEDIA / name, folder / name)
    photo = next((folder / "Spring").glob("*.jpg"))
    photo.rename(photo.with_name("Άνοιξη.jpg"))
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, media: Path) -> Iterator[Path]:
    """The place of a library of these media."""
    place = tmp_path_factory.mktemp("home")
    report = told(mmrag(place, "index", media, "--no-ocr", "--json"), 0)
    assert (report["added"], report["failed"]) == (5, [])
    yield place
    end_owners(place)


@pytest.fixture
def other_home(tmp_path: Path) -> Iterator[Path]:
    """The place of libraries that a test makes for itself."""
    place = tmp_path / "home"
    place.mkdir()
    yield place
    end_owners(place)


@pytest.fixture(scope="module")
def found(home: Path) -> dict[str, Any]:
    """What a search for a red barn finds."""
    answer: dict[str, Any] = told(mmrag(home, "search", "red barn", "--json"), 0)
    return answer


# -- index ----------------------------------------------------------------------------------------


def test_index_reports_what_it_did_and_each_file_that_failed(
    other_home: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "media"
    folder.mkdir()
    PIL.Image.new("RGB", (64, 48), "red").save(folder / "fine.jpg")
    (folder / "words.jpg").write_text("no picture at all")
    (folder / "empty.png").touch()
    whole = (folder / "fine.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 4])

    report = told(mmrag_here(other_home, "index", folder, "--no-ocr", "--json"), 1)
    assert report.keys() == set(
        "added updated unchanged moved removed failed stages warnings".split()
    )
    assert report["added"] >= 1
    failed = {Path(problem["path"]).name: problem for problem in report["failed"]}
    assert failed.keys() == {"words.jpg", "empty.png", "cut.jpg"}
    assert all(problem["reason"] and problem["remedy"] for problem in failed.values())
    for stage in report["stages"].values():
        assert stage.keys() == {"done", "pending", "seconds"}

    plan = told(mmrag_here(other_home, "index", folder, "--dry-run", "--json"), 0)
    assert plan["added"] == 0


def test_files_that_failed_earlier_are_counted_and_status_lists_them(
    other_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmrag_plugin.embeddings.choose.on_disk", lambda *_: None)
    folder = tmp_path / "media"
    folder.mkdir()
    (folder / "words.jpg").write_text("no picture at all")
    (folder / "empty.png").touch()
    index = ("index", folder, "--no-ocr")
    first = mmrag_here(other_home, *index, COLUMNS="300", MMRAG_VISUAL_MODEL="auto")
    assert "1 added, 2 failed in" in first.stdout
    assert f"  {folder / 'words.jpg'}\n    It is not a readable picture. Open it" in first.stdout
    assert "note:" in first.stderr

    again = mmrag_here(other_home, *index, COLUMNS="300", MMRAG_VISUAL_MODEL="auto")
    assert again.returncode == 0
    assert "empty.png" not in again.stdout
    assert "words.jpg" not in again.stdout
    assert "2 files failed earlier and have not changed" in again.stdout
    assert "note:" not in again.stderr, "the models were spoken of before"
    (folder / "empty.png").unlink()
    [failed] = told(mmrag_here(other_home, *index, "--json"), 0)["failed"]
    assert failed["path"] == str(folder / "words.jpg")

    shown = mmrag_here(other_home, "status", COLUMNS="300").stdout
    assert "1 file: mmrag index --retry" in shown
    assert f"  {folder / 'words.jpg'}\n    It is not a readable picture. Open it" in shown
    status = told(mmrag_here(other_home, "status", "--json"), 0)
    assert status["failed"] == 1
    assert status["failures"] == [{"stage": "read", **failed}]
    assert mmrag_here(other_home, *index, "--retry").returncode == 1
    only = mmrag_here(other_home, "status", "--failures", COLUMNS="300").stdout
    assert only.startswith(f"  {folder / 'words.jpg'}\n    It is not a readable picture.")


def test_status_shows_the_first_failures_and_all_of_them_when_asked(
    other_home: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "media"
    folder.mkdir()
    assert mmrag_here(other_home, "index", folder).returncode == 0
    assert "Every file that was found could be read" in (
        mmrag_here(other_home, "status", "--failures").stdout
    )
    for number in range(25):
        (folder / f"{number:02}.jpg").write_text("no picture at all")
    mmrag_here(other_home, "index", folder)
    shown = mmrag_here(other_home, "status", COLUMNS="300").stdout
    assert "19.jpg" in shown
    assert "20.jpg" not in shown
    assert "and 5 more: mmrag status --failures lists them" in shown
    every = mmrag_here(other_home, "status", "--failures", COLUMNS="300").stdout
    assert every.count("It is not a readable picture.") == 25


def test_a_second_writer_is_told_that_another_one_is_writing(home: Path, media: Path) -> None:
    ledger = Ledger(f"sqlite:///{home / 'default' / LEDGER_FILE}")
    with ledger.writer("indexing"):
        kind, message, _ = refused(mmrag_here(home, "index", media, "--json"), 3)
    ledger.close()
    assert kind == "busy"
    assert str(os.getpid()) in message


def test_ctrl_c_stops_with_one_sentence(other_home: Path) -> None:
    # A shell's background jobs ignore SIGINT, and so would what they start
    listening = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    python, option, program = MMRAG
    with subprocess.Popen(
        [python, option, listening + program, "demo", "--profile"],
        env=environment(other_home),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "Indexing" in line:
                process.send_signal(signal.SIGINT)
                break
        _, complaint = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Stopped. Nothing is lost" in complaint
    assert "Traceback" not in complaint
    assert "100.0%" in complaint[complaint.index("where the time went") :]


def test_ctrl_c_ends_an_index_in_good_order_and_a_second_one_at_once(
    other_home: Path, tmp_path: Path
) -> None:
    many = tmp_path / "many"
    for number in range(400):
        picture(many / f"{number}.png", "red", number=number)
    slow = (  # so that it is under way for a while, on whatever machine
        "import signal, time; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from mmrag_plugin.embeddings.palette import Palette as P\n"
        "embed = P.embed_pictures\n"
        "def late(*a):\n    print('embedding', flush=True); time.sleep({}); return embed(*a)\n"
        "P.embed_pictures = late\n"
    )
    python, option, program = MMRAG

    def interrupted(times: int, sleep_s: float) -> tuple[int, str, str]:
        with subprocess.Popen(
            [python, option, slow.format(sleep_s) + program, "index", str(many)],
            env=environment(other_home),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "embedding\n"
            for _ in range(times):
                process.send_signal(signal.SIGINT)
                time.sleep(0.5)
            out, err = process.communicate(timeout=90)
        return process.returncode, out, err

    code, _, complaint = interrupted(2, 60)
    assert code == 130
    assert "Ctrl-C again ends it at once" in complaint
    code, told, complaint = interrupted(1, 0.3)
    assert code == 130
    assert "400 unchanged" in told, "what was scanned is kept"
    assert "Stopped. Nothing is lost" in complaint
    assert "Traceback" not in complaint
    report = json.loads(mmrag_here(other_home, "index", many, "--json").stdout)
    assert 0 < report["stages"]["embed"]["done"] < 400, "what was embedded is kept"


# -- search ---------------------------------------------------------------------------------------


def test_search_prints_the_documented_json(found: dict[str, Any]) -> None:
    assert found.keys() == {"query", "hits", "warnings"}
    assert found["query"] == "red barn"
    assert [hit["rank"] for hit in found["hits"]] == list(range(1, len(found["hits"]) + 1))
    for hit in found["hits"]:
        assert hit.keys() == HIT_KEYS
        assert hit["kind"] in ("image", "video")
        assert hit["confidence"] in ("strong", "weak", "none")
        assert hit["why"]
        assert set(hit["why"]) <= {"visual", "bm25"}
        assert (hit["start_s"] is None) == (hit["kind"] == "image")
    best = found["hits"][0]
    assert Path(best["path"]).name == "IMG_3101.jpg"
    assert "The old red barn" in best["text"]
    assert best["taken_at"].startswith("2022-07-16")


def test_nothing_found_is_exit_1_and_says_so(home: Path) -> None:
    done = mmrag(home, "search", "zwitterion")
    assert done.returncode == 1
    assert done.stdout == "Nothing found.\n"


def test_a_batch_answers_line_by_line_in_order(home: Path) -> None:
    lines = b"\xef\xbb\xbfred barn\r\n\n\xff barn\npicnic\n"
    done = mmrag_here(home, "search", "--batch", "-", stdin=lines)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["query"] for answer in answers] == ["red barn", "", r"\xff barn", "picnic"]
    assert [bool(answer["hits"]) for answer in answers] == [True, False, False, True]
    assert "UTF-8" in answers[2]["warnings"][0]


def test_queries_that_cannot_be_read_are_one_sentence(home: Path) -> None:
    for batch, stdin, why in (("/", "", "Is a directory"), ("-", None, "it is closed")):
        done = mmrag_here(home, "search", "--batch", batch, "--json", stdin=stdin)
        kind, message, _ = refused(done, 2)
        name = "stdin" if batch == "-" else batch
        assert (kind, message) == ("usage", f"{name} can't be read: {why}.")


def test_queries_and_names_that_are_no_text_are_no_surprise(home: Path) -> None:
    done = mmrag_here(home, "search", "red barn \udcff", "--json")
    assert told(done, 0)["query"] == "red barn \udcff"
    done = mmrag_here(home, "similar", "bytes\udcff.jpg")
    assert "bytes\\udcff.jpg does not exist" in done.stderr


@pytest.mark.parametrize("columns", [40, 140])
def test_hits_fit_the_terminal(home: Path, columns: int) -> None:
    done = mmrag(home, "search", "red barn", "--explain", COLUMNS=str(columns))
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= columns
    assert "IMG_3101.jpg" in done.stdout.replace("\n", "").replace(" ", "")
    assert "ranks:" in done.stdout


def test_names_that_the_terminal_cannot_show_are_no_failure(home: Path) -> None:
    done = mmrag(home, "search", "pink blossom", "-n", "1", LC_ALL="C")
    assert done.returncode == 0, done.stderr
    assert "Spring/" in done.stdout
    ascii_only = mmrag(home, "search", "pink", "-n", "1", "--json", PYTHONIOENCODING="ascii")
    assert told(ascii_only, 0)["hits"][0]["path"].endswith("Άνοιξη.jpg")


def test_hits_are_exported_and_nothing_is_overwritten(home: Path, tmp_path: Path) -> None:
    table, links = tmp_path / "hits.csv", tmp_path / "links"
    assert mmrag_here(home, "search", "red barn", "--export", table).returncode == 0
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert set(rows[0]) == HIT_KEYS
    assert mmrag_here(home, "search", "red barn", "--export", links).returncode == 0
    assert any(link.resolve().name == "IMG_3101.jpg" for link in links.iterdir())
    one = mmrag_here(
        home, "search", "red barn", "-n1", "--export", tmp_path / "1.csv", COLUMNS="300"
    )
    assert f"1 hit in {tmp_path / '1.csv'}" in one.stdout
    none = tmp_path / "none.csv"
    assert mmrag_here(home, "search", "zwitterion", "--export", none).returncode == 1
    assert none.read_text() == table.read_text().splitlines()[0] + "\n"


def test_where_hits_cannot_be_exported_is_said_before_the_search(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MediaLibrary, "search", lambda *_, **__: pytest.fail("it searched"))
    (tmp_path / "hits.csv").touch()
    for target, why in (
        (tmp_path / "hits.csv", "exists already"),
        (tmp_path / "hits.pdf", "can't be written as .pdf"),
        (tmp_path / "missing" / "hits.csv", f"there is no folder {tmp_path / 'missing'}"),
    ):
        for command in ("search", "similar"):
            done = mmrag_here(home, command, "red", "--export", target, "--json")
            assert why in refused(done, 2)[1]


def test_similar_takes_a_hits_number_and_filters(home: Path, media: Path) -> None:
    best = told(mmrag_here(home, "search", "red barn", "--json"), 0)["hits"][0]
    dates = ("--since", "2022-07", "--until", "2022")
    then = told(mmrag_here(home, "similar", "1", *dates, "--json"), 0)
    assert then["query"] == best["media_id"]
    assert {hit["taken_at"][:7] for hit in then["hits"]} == {"2022-07"}
    films = told(mmrag_here(home, "similar", "1", "--folder", "Films", "--json"), 0)
    assert {Path(hit["path"]).parent.name for hit in films["hits"]} == {"Films"}


def test_similar_leaves_the_picture_itself_out(home: Path, media: Path) -> None:
    barn = media / "Farm weekend" / "IMG_3101.jpg"
    answer = told(mmrag_here(home, "similar", barn, "--json", "-n", "2"), 0)
    assert answer.keys() == {"query", "hits", "warnings"}
    assert len(answer["hits"]) == 2
    assert str(barn) not in [hit["path"] for hit in answer["hits"]]


# -- open -----------------------------------------------------------------------------------------


def _opener(folder: Path, script: str) -> dict[str, str]:
    """A system whose opener does as it is told."""
    program = folder / ("open" if sys.platform == "darwin" else "xdg-open")
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return {"PATH": f"{folder}:/usr/bin:/bin", "COLUMNS": "300"}


def test_a_viewer_that_stays_open_is_not_waited_for(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmrag_plugin.cli.finding.REFUSES_WITHIN_S", 0.1)
    best = told(mmrag_here(home, "search", "red barn", "--json"), 0)["hits"][0]
    place = _opener(tmp_path, f'echo $$ "$1" > {tmp_path}/seen; echo noise; exec sleep 60')
    began = time.monotonic()
    with pytest.warns(ResourceWarning, match="still running"):
        done = mmrag_here(home, "open", "1", **place)
    pid, shown = (tmp_path / "seen").read_text().split(maxsplit=1)
    try:
        assert time.monotonic() - began < 10
        assert (done.returncode, done.stdout) == (0, f"{best['path']}\n")
        assert shown.strip() == best["path"]
        assert os.getsid(int(pid)) != os.getsid(0), "it would end with the terminal"
    finally:
        os.kill(int(pid), signal.SIGKILL)


def test_without_an_opener_it_is_named_and_one_that_refuses_is_not_blamed_on_it(
    home: Path, tmp_path: Path
) -> None:
    told(mmrag_here(home, "search", "red barn", "--json"), 0)
    done = mmrag_here(home, "open", "1", PATH=str(tmp_path))
    assert done.returncode == 2
    assert "is not installed" in done.stderr
    done = mmrag_here(home, "open", "1", **_opener(tmp_path, "exit 3"))
    assert done.returncode == 2
    assert "No program here opens" in done.stderr


# -- what a person gets wrong ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["search"],
        ["search", "red", "--batch", "-"],
        ["search", ""],
        ["search", "red", "--kind", "song"],
        ["search", "red", "--min-confidence", "very"],
        ["search", "red", "--channels", "visual,smell"],
        ["search", "red", "--since", "yesterday"],
        ["search", "red", "--since", "2023", "--until", "2022-12"],
        ["search", "--batch", "-", "--camera", "nobody's"],
        ["search", "--batch", "-", "--since", "2023", "--until", "2022"],
        ["search", "red", "--home", "~nobody-here/media"],
        ["search", "--batch", "-", "--explain"],
        ["search", "--batch", "-", "--export", "hits.csv"],
        ["ask", "red", "--vlm", ""],
        ["search", "red", "--limit", "0"],
        ["search", "red", "--limit", "many"],
        ["search", "red", "--lmit", "3"],
        ["search", "red", "--library", "../other"],
        ["search", "--batch", "/no/such/file"],
        ["describe", "1", "--detail", "endless"],
        ["index", "--keyframes", "all"],
        ["describe"],
        ["nonsense"],
    ],
)
def test_wrong_usage_is_exit_2_with_a_remedy(home: Path, arguments: list[str]) -> None:
    kind, _, _ = refused(mmrag_here(home, *arguments, "--json"), 2)
    assert kind == "usage"


@pytest.mark.parametrize("content", ["[]", '{"hits": [{"rank": 1}]}', "{", "null"])
def test_damaged_numbers_of_the_last_search_are_none(home: Path, content: str) -> None:
    (home / "default" / LAST_SEARCH).write_text(content)
    kind, _, remedy = refused(mmrag_here(home, "similar", "1", "--json"), 1)
    assert kind == "not_found"
    assert "Search first" in remedy


def test_a_folder_of_links_is_not_made_for_nothing(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        nothing = ("search", "xyzzy", "--channels", "bm25", "--export", "links")
        assert mmrag_here(home, *nothing).returncode == 1
    assert not (tmp_path / "links").exists()


def test_wrong_usage_reads_well_without_json_too(home: Path) -> None:
    done = mmrag(home, "search", "red", "--lmit", "3")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "--lmit" in done.stderr
    assert "mmrag search --help" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["describe", "99"],
        ["open", "99"],
        ["similar", "99"],
        ["describe", "no-such-media"],
        ["open", "no-such-media"],
        ["similar", "no-such-media"],
        ["forget", "/no/such/folder"],
        ["relocate", "/no/such/folder", "/tmp"],
    ],
)
def test_an_unknown_hit_or_media_is_named(home: Path, arguments: list[str]) -> None:
    done = mmrag_here(home, *arguments, COLUMNS="300")
    assert done.returncode == 1, (done.stdout, done.stderr)
    message, _ = done.stderr.splitlines()
    assert arguments[1] in message
    assert "any more" not in message, "it never was"


@pytest.mark.parametrize(
    "arguments",
    [
        ["index", "/no/such/folder"],
        ["similar", "/no/such/picture.jpg"],
        ["describe", "/no/such/picture.jpg"],
        ["open", "/no/such/picture.jpg"],
        ["relocate", "/old", "/no/such/folder"],
    ],
)
def test_a_path_that_is_not_there_is_wrong_usage(home: Path, arguments: list[str]) -> None:
    done = mmrag_here(home, *arguments, COLUMNS="300")
    assert done.returncode == 2, (done.stdout, done.stderr)
    message, _ = done.stderr.splitlines()
    assert arguments[-1] in message


@pytest.mark.parametrize(
    "arguments", [["search", "red"], ["status"], ["ask", "what?"], ["similar", "x.jpg"]]
)
def test_a_library_that_is_not_there_says_how_to_make_it(
    other_home: Path, arguments: list[str]
) -> None:
    kind, message, remedy = refused(mmrag_here(other_home, *arguments, "--json"), 1)
    assert kind == "not_found"
    assert "'default'" in message
    assert "mmrag index" in remedy
    assert list(other_home.iterdir()) == []


def test_a_library_that_is_not_there_is_made_by_the_command_that_is_shown(
    other_home: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "else where"
    said = ["search", "red", "-l", "my films", "--home", elsewhere, "--json"]
    _, _, remedy = refused(mmrag_here(other_home, *said), 1)
    assert f"mmrag index FOLDER --library 'my films' --home '{elsewhere}'" in remedy
    _, _, remedy = refused(mmrag_here(other_home, *said[:4], "--json"), 1)
    assert remedy.endswith("mmrag index FOLDER --library 'my films'")


def test_a_ledger_elsewhere_says_what_is_missing(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for url in ("foo", "mysql://u:secret@h/d"):
        done = mmrag_here(home, "status", "--json", MMRAG_LEDGER_URL=url)
        kind, message, remedy = refused(done, 2)
        assert kind == "usage"
        assert "MMRAG_LEDGER_URL" in message
        assert "postgresql://" in remedy
        assert "secret" not in done.stdout
    monkeypatch.setattr("mmrag_plugin.ledger_database.find_spec", lambda _: None)
    done = mmrag_here(home, "status", "--json", MMRAG_LEDGER_URL="postgresql://h/d")
    kind, _, remedy = refused(done, 2)
    assert kind == "missing_extra"
    assert 'pip install "mmrag-plugin[postgres]"' in remedy


def test_a_directory_that_is_no_library_is_left_alone(other_home: Path, media: Path) -> None:
    (other_home / "letters").mkdir()
    (other_home / "letters" / "dear.txt").write_text("Dear")
    for arguments in (["search", "red"], ["index", str(media)]):
        done = mmrag_here(other_home, *arguments, "-l", "letters", "--json")
        assert refused(done, 2)[0] == "not_a_library"
    assert [path.name for path in (other_home / "letters").iterdir()] == ["dear.txt"]


def test_an_empty_library_finds_nothing(other_home: Path, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    report = mmrag_here(other_home, "index", tmp_path / "nothing", COLUMNS="300")
    assert report.returncode == 0
    assert f"No photos or films in {tmp_path / 'nothing'}." in report.stdout
    done = mmrag_here(other_home, "search", "red")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_a_home_that_cannot_be_written_is_said(tmp_path: Path, media: Path) -> None:
    place = tmp_path / "file"
    place.write_text("in the way")
    kind, message, _ = refused(mmrag_here(place, "index", media, "--json", HOME=str(tmp_path)), 1)
    assert kind == "storage"
    assert str(place) in message


def test_a_library_of_another_model_is_not_mixed(home: Path, minidual: Path) -> None:
    done = mmrag_here(home, "search", "red", "--visual-model", minidual, "--json")
    kind, message, remedy = refused(done, 2)
    assert kind == "model_mismatch"
    assert "made by palette" in message
    assert "mmrag index" in remedy
    done = mmrag_here(home, "search", "red", "--visual-model", "/no/such/model", "--json")
    assert refused(done, 2)[0] == "model_missing"


# -- Ollama ---------------------------------------------------------------------------------------


def test_without_ollama_ask_and_describe_are_exit_3(home: Path, media: Path) -> None:
    barn = media / "Farm weekend" / "IMG_3101.jpg"
    for arguments in (["ask", "red barn"], ["describe", barn]):
        kind, message, remedy = refused(mmrag_here(home, *arguments, "--json"), 3)
        assert kind == "ollama_unavailable"
        assert "127.0.0.1:9" in message
        assert "ollama" in remedy.lower()


def test_an_ollama_without_the_model_says_how_to_get_it(home: Path) -> None:
    with OllamaDouble() as ollama:
        done = mmrag_here(
            home, "ask", "red barn", "--json", "--vlm", "absent", OLLAMA_HOST=ollama.url
        )
    kind, message, remedy = refused(done, 2)
    assert kind == "model_missing"
    assert "absent" in message
    assert "ollama pull absent" in remedy


def test_a_model_that_cannot_see_is_refused(home: Path) -> None:
    with OllamaDouble({"blind:latest": Model(capabilities=("completion",))}) as ollama:
        done = mmrag_here(
            home, "ask", "red barn", "--json", "--vlm", "blind", OLLAMA_HOST=ollama.url
        )
    kind, message, _ = refused(done, 2)
    assert kind == "model_cannot_see"
    assert "blind" in message


def test_ask_and_describe_print_the_documented_json(home: Path, media: Path) -> None:
    with OllamaDouble() as ollama:
        eye = {"OLLAMA_HOST": ollama.url, "MMRAG_VLM": "eye"}
        answer = told(mmrag_here(home, "ask", "red barn", "--json", **eye), 0)
        barn = media / "Farm weekend" / "IMG_3101.jpg"
        described = told(mmrag_here(home, "describe", barn, "--json", **eye), 0)
        spoken = mmrag_here(home, "ask", "red barn", **eye)
        cited = told(mmrag_here(home, "describe", "1", "--json", **eye), 0)
    assert answer.keys() == {"answer", "sources", "model", "warnings"}
    assert answer["model"] == "eye"
    assert "I see" in answer["answer"]
    assert all(source.keys() == HIT_KEYS for source in answer["sources"])
    assert Path(answer["sources"][0]["path"]).name == "IMG_3101.jpg"
    assert described.keys() == {"answer", "model", "warnings"}
    assert described["answer"].startswith("I see 1 picture")
    assert spoken.returncode == 0
    assert "[1] Farm weekend/IMG_3101.jpg" in spoken.stdout
    assert cited == described, "the number of a source is one that other commands know"


def test_a_picture_is_described_without_any_library(other_home: Path, media: Path) -> None:
    barn = media / "Farm weekend" / "IMG_3101.jpg"
    with OllamaDouble() as ollama:
        more = {"OLLAMA_HOST": ollama.url, "MMRAG_VLM": "eye"}
        described = told(mmrag_here(other_home, "describe", barn, "--json", **more), 0)
        unknown = mmrag_here(other_home, "describe", "1", "--json", **more)
    assert described["answer"].startswith("I see 1 picture")
    assert "There is no library" in refused(unknown, 1)[1]
    assert list(other_home.iterdir()) == []


# -- looking after a library ----------------------------------------------------------------------


def test_status_counts_and_agrees_with_milvus(home: Path, media: Path) -> None:
    status = told(mmrag_here(home, "status", "--verify", "--json"), 0)
    assert status["media"] == {"image": 4, "video": 1}
    assert status["roots"] == [str(media)]
    assert status["models"]["visual"] == "palette"
    assert {"stages", "signals", "milvus"} <= status.keys()
    assert not any(entry["missing"] or entry["surplus"] for entry in status["verify"])
    for columns in ("40", "140"):
        done = mmrag_here(home, "status", COLUMNS=columns)
        assert done.returncode == 0
        assert max(map(len, done.stdout.splitlines())) <= int(columns)


def test_a_library_is_backed_up_relocated_and_forgotten(
    home: Path, media: Path, other_home: Path, tmp_path: Path
) -> None:
    copied = told(mmrag_here(home, "backup", other_home / "default", "--json"), 0)
    assert copied.keys() == {"path", "bytes"}
    new = tmp_path / "elsewhere"
    shutil.copytree(media, new)
    assert told(mmrag_here(other_home, "relocate", media, new, "--json"), 0)["moved"] == 5
    answer = told(mmrag_here(other_home, "search", "red barn", "--json", "-n", "1"), 0)
    assert answer["hits"][0]["path"] == str(new / "Farm weekend" / "IMG_3101.jpg")
    gone = told(mmrag_here(other_home, "forget", new / "Farm weekend", "--json"), 0)
    assert gone == {"removed": 3}
    assert (new / "Farm weekend" / "IMG_3101.jpg").exists()
    assert mmrag_here(other_home, "search", "barn").returncode == 1


def test_doctor_says_what_mends_what_does_not_work(home: Path) -> None:
    report = told(mmrag_here(home, "doctor", "--json"), 1)
    checks = {check["name"]: check for check in report["checks"]}
    assert {name for name, check in checks.items() if not check["works"]} == {"VLM (Ollama)"}
    assert "ollama" in checks["VLM (Ollama)"]["remedy"].lower()
    assert "Gate 42" in checks["text in pictures"]["found"]
    assert "a_day_out.mp4" in checks["films"]["found"]
    assert checks["library"]["found"] == f"default in {home / 'default'}"


def _doctor(home: Path, *arguments: str | Path, **more: str) -> dict[str, dict[str, Any]]:
    """What the doctor says of models, without looking at the slow rest; of a VLM that is named."""
    with pytest.MonkeyPatch.context() as patched:
        for slow in ("_milvus", "_ocr", "_films", *(() if "MMRAG_VLM" in more else ("_vlm",))):
            patched.setattr(f"mmrag_plugin.cli.doctor.{slow}", lambda *_: ("not tried", ""))
        report = json.loads(mmrag_here(home, "doctor", *arguments, "--json", **more).stdout)
    return {check["name"]: check for check in report["checks"]}


def test_doctor_shows_the_vlm_pictures_if_that_is_asked_for(home: Path) -> None:
    with OllamaDouble() as ollama:
        eye = {"OLLAMA_HOST": ollama.url, "MMRAG_VLM": "eye"}
        assert "sees pictures" in _doctor(home, **eye)["VLM (Ollama)"]["found"]
        assert ollama.chats == []
        named = _doctor(home, "--sight", **eye)["VLM (Ollama)"]
        assert (named["works"], "names the colours" in named["found"]) == (True, True)
    with OllamaDouble() as ollama:
        ollama.script(*["A nice picture."] * 3)
        made_up = _doctor(home, "--sight", OLLAMA_HOST=ollama.url, MMRAG_VLM="eye")["VLM (Ollama)"]
    assert not made_up["works"]
    assert "A nice picture" in made_up["found"]


def test_doctor_tries_the_models_of_the_library_that_is_named(home: Path, minidual: Path) -> None:
    more = {"MMRAG_VISUAL_MODEL": "auto"}
    assert _doctor(home, **more)["visual model"]["found"].startswith("palette")
    asked = _doctor(home, MMRAG_VISUAL_MODEL=str(minidual))
    assert not asked["visual model"]["works"]
    assert "made by palette" in asked["visual model"]["found"]
    other = _doctor(home, "-l", "other", **more)
    assert not other["library"]["works"]
    assert "There is no library 'other'" in other["library"]["found"]
    assert not (home / "other").exists()


def test_doctor_says_where_libraries_can_not_be_kept(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    checks = _doctor(tmp_path, "--home", tmp_path / "file")
    assert not checks["libraries"]["works"]
    assert f"{tmp_path / 'file'} can't be written" in checks["libraries"]["found"]
    assert "--home" in checks["libraries"]["remedy"]
    assert checks["library"]["works"], "there is no default library on a new machine"


def test_doctor_fails_what_reads_wrong_words_and_what_decodes_no_film(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RapidOcrReader, "read", lambda *_: "Cate 4Z")
    monkeypatch.setattr("mmrag_plugin.cli.doctor.FILM", "a_day_out.srt")
    report = json.loads(mmrag_here(tmp_path, "doctor", "--json").stdout)
    checks = {check["name"]: check for check in report["checks"]}
    assert not checks["text in pictures"]["works"]
    assert "'Cate 4Z' where 'Gate 42'" in checks["text in pictures"]["found"]
    assert not checks["films"]["works"]
    assert "pip install" in checks["films"]["remedy"]


def _doctor_on_text(home: Path, **more: str) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patched:
        for slow in ("_milvus", "_films", "_vlm"):
            patched.setattr(f"mmrag_plugin.cli.doctor.{slow}", lambda *_: ("not tried", ""))
        report = json.loads(mmrag_here(home, "doctor", "--json", **more).stdout)
    found = {check["name"]: check for check in report["checks"]}["text in pictures"]
    assert isinstance(found, dict)
    return found


def test_doctor_says_in_which_languages_text_is_read_and_how_to_get_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = {"PATH": "/nowhere"}
    plain = _doctor_on_text(tmp_path, **nothing)
    assert plain["works"]
    assert "Chinese, Japanese and languages in Latin letters" in plain["found"]
    assert "MMRAG_OCR_LANGUAGES" in plain["remedy"]
    asked = _doctor_on_text(tmp_path, **nothing, MMRAG_OCR_LANGUAGES="en,fr,ru,ka")
    assert not asked["works"]
    assert asked["found"] == "Russian, Georgian can't be read in pictures"
    assert "rus.traineddata, kat.traineddata" in asked["remedy"]
    assert asked["remedy"].endswith("mmrag models pull ocr-ru")
    served = _doctor_on_text(tmp_path, **nothing, MMRAG_OCR_LANGUAGES="en,fr")
    assert served["works"]
    assert "English, French by RapidOCR" in served["found"]
    wrong = _doctor_on_text(tmp_path, **nothing, MMRAG_OCR_LANGUAGES="germn")
    assert "Write german." in wrong["remedy"]
    off = _doctor_on_text(tmp_path, **nothing, MMRAG_OCR="off")
    assert "not read" in off["found"]


def test_models_are_listed(home: Path) -> None:
    listed = told(mmrag_here(home, "models", "list", "--json"), 0)
    names = {model["name"] for model in listed["models"]}
    assert {"siglip2-base-256", "all-minilm-l6-v2"} <= names


def test_a_narrow_terminal_gets_a_block_for_each_model(home: Path) -> None:
    wide = mmrag_here(home, "models", "list", COLUMNS="120").stdout.splitlines()
    assert wide[0].split() == ["name", "reads", "size", "licence", "language", "on", "this", "disk"]
    for columns in (40, 80):
        lines = mmrag_here(home, "models", "list", COLUMNS=str(columns)).stdout.splitlines()
        assert max(map(len, lines)) <= columns
        assert "multilingual-minilm-l12-v2" in lines, "it can be copied"


def test_a_model_that_cannot_be_fetched_is_an_error_in_words(home: Path) -> None:
    done = mmrag_here(home, "models", "pull", "siglip2-base-256", "--json", "--yes")
    kind, _, _ = refused(done, done.returncode)
    assert done.returncode in (2, 3)
    assert kind != "unexpected"


@pytest.fixture
def pulled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was fetched, by a hub that hands out folders of nothing but their layout."""
    fetched: list[str] = []

    def fetch(name: str, models_home: Path) -> Path:
        fetched.append(name)
        folder = models_home / folder_name(name)
        folder.mkdir(parents=True)
        for file in ("config.json", "model.safetensors"):
            (folder / file).touch()
        if "mini" in name:
            (folder / "modules.json").touch()
        return folder

    monkeypatch.setattr("mmrag_plugin.embeddings.local_models.pull", fetch)
    return fetched


@pytest.mark.parametrize("answer", ["n\n", ""])
def test_no_to_a_download_fetches_nothing(
    home: Path, pulled: list[str], monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    monkeypatch.setattr("mmrag_plugin.cli.models._somebody_is_there", lambda: True)
    done = mmrag_here(home, "models", "pull", "siglip2-base-256", stdin=answer)
    assert done.returncode == 1
    assert "1510 MB" in done.stdout
    assert done.stderr.strip() == "Nothing was fetched."
    assert not pulled


def test_nobody_to_ask_is_told_to_say_yes(home: Path, pulled: list[str]) -> None:
    for arguments in (["--json"], []):
        done = mmrag_here(home, "models", "pull", "siglip2-base-256", *arguments, stdin="y\n")
        assert done.returncode == 2
        assert "1510 MB" in done.stdout + done.stderr
        assert "Add --yes." in done.stdout + done.stderr
    assert not pulled


def test_a_model_that_nobody_knows_is_not_asked_about(home: Path, pulled: list[str]) -> None:
    _, message, remedy = refused(mmrag_here(home, "models", "pull", "foo", "-y", "--json"), 2)
    assert "foo" in message
    assert "siglip2-base-256" in remedy
    assert not pulled


def test_after_a_pull_the_command_that_uses_the_model_is_shown(
    tmp_path: Path, pulled: list[str]
) -> None:
    for name, command in (
        ("clip-vit-b-32", "mmrag index --visual-model clip-vit-b-32\n"),
        ("siglip2-base-256", "mmrag index\n"),
        ("siglip-base", "mmrag index --visual-model siglip-base\n"),
        ("somebody/else", "mmrag index --visual-model somebody/else\n"),
        ("somebody/minilm", "mmrag index --text-model somebody/minilm\n"),
    ):
        more = {"HF_HUB_CACHE": str(tmp_path)}
        assert command in mmrag_here(tmp_path, "models", "pull", name, "--yes", **more).stdout
        assert "is in" in mmrag_here(tmp_path, "models", "pull", name, **more).stdout, "no question"
    assert len(pulled) == 5


def test_demo_needs_no_model_and_no_ollama(other_home: Path) -> None:
    done = mmrag(other_home, "demo", MMRAG_VISUAL_MODEL="auto", MMRAG_TEXT_MODEL="auto")
    assert done.returncode == 0, done.stderr
    for expected in ("13 added", "Screenshot_", "IMG_3101.jpg", "a_day_out.mp4", "IMG_2044.jpg"):
        assert expected in done.stdout
    again = mmrag(other_home, "demo")
    assert again.returncode == 0
    assert "13 unchanged" in again.stdout
