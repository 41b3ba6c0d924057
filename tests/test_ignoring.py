"""What is left out of a library: .mmragignore, .nomedia, system folders."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mmrag_plugin.ignoring import IgnoreRules, in_words
from mmrag_plugin.ledger import Ledger, sqlite_url
from mmrag_plugin.scanning import scan
from mmrag_plugin.walking import News, walk

NO_SIDECARS = lambda *_: lambda name: ""  # noqa: E731


@pytest.fixture
def root(tmp_path: Path) -> Path:
    place = (tmp_path / "photos").resolve()
    place.mkdir()
    return place


def write(root: Path, *names: str, text: str = "x") -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def walked(root: Path, start: Path | None = None) -> tuple[list[str], News]:
    news = News()
    found = walk(start or root, root, NO_SIDECARS, news)
    names = [os.path.relpath(file.path, root) for folder in found for file in folder]
    return sorted(names), news


def test_a_folder_with_nomedia_is_left_out_with_all_below_it(root: Path) -> None:
    write(root, "a.jpg", "sent/b.jpg", "sent/.nomedia", "sent/deep/c.jpg")
    names, news = walked(root)
    assert names == ["a.jpg"]
    assert in_words(news.ignored) == "1 folder by .nomedia"
    assert walked(root, root / "sent" / "deep")[0] == []


@pytest.mark.parametrize(
    "folder",
    ["@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found", "__MACOSX",
     "Catalog Previews.lrdata", "Pictures.photoslibrary/resources"],
)  # fmt: skip
def test_what_only_systems_keep_is_no_media_of_the_persons(root: Path, folder: str) -> None:
    write(root, "a.jpg", f"{folder}/b.jpg")
    names, news = walked(root)
    assert names == ["a.jpg"]
    assert in_words(news.ignored) == "1 folder of the system's"


def test_the_originals_in_a_photo_programs_folder_are_taken_in(root: Path) -> None:
    write(root, "Pictures.photoslibrary/originals/1/b.heic")
    assert walked(root)[0] == ["Pictures.photoslibrary/originals/1/b.heic"]


def test_rules_count_from_their_folder_down_and_deeper_ones_win(root: Path) -> None:
    write(root, ".mmragignore", text="*.png\n/drafts/\n# a comment\n")
    write(root, "album/.mmragignore", text="!keep.png\nb.jpg\n")
    write(root, "a.png", "a.jpg", "drafts/x.jpg", "album/keep.png", "album/b.jpg", "b.jpg",
          "album/drafts/y.jpg", "album/deep/keep.png")  # fmt: skip
    names, news = walked(root)
    assert names == [
        "a.jpg",
        "album/deep/keep.png",
        "album/drafts/y.jpg",
        "album/keep.png",
        "b.jpg",
    ]
    assert in_words(news.ignored) == "2 files and 1 folder by .mmragignore"


def test_a_part_of_a_root_keeps_to_the_rules_of_the_folders_above(root: Path) -> None:
    write(root, ".mmragignore", text="/drafts/\n*.png\n")
    write(root, "drafts/deep/a.jpg", "album/a.png", "album/b.jpg")
    assert walked(root, root / "drafts" / "deep")[0] == []
    assert walked(root, root / "album")[0] == ["album/b.jpg"]


def test_a_line_that_is_no_pattern_is_told_and_the_others_count(root: Path) -> None:
    write(root, ".mmragignore", text="!\n*.png\n")
    write(root, "a.png", "b.jpg")
    names, news = walked(root)
    assert names == ["b.jpg"]
    assert news.warnings == [f"Line 1 of {root / '.mmragignore'} is no pattern and was passed by."]


def test_nothing_of_a_folder_is_taken_in_when_its_rules_cannot_be_read(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(root, "secret/.mmragignore", "secret/a.jpg", "b.jpg")

    def refused(rules: IgnoreRules, folder: Path, *_: object) -> IgnoreRules:
        if folder.name == "secret":
            raise PermissionError(13, "Permission denied")
        return rules

    monkeypatch.setattr(IgnoreRules, "with_those_of", refused)
    names, news = walked(root)
    assert names == ["b.jpg"]
    assert [problem.path for problem in news.problems] == [str(root / "secret")]


def test_what_is_ignored_from_now_on_leaves_and_comes_back_without_the_rule(
    root: Path, tmp_path: Path
) -> None:
    ledger = Ledger(sqlite_url(tmp_path / "ledger.sqlite3"))
    ledger.add_root(str(root), is_file=False)
    write(root, "a.jpg")
    write(root, "b.jpg", text="another")
    assert scan(ledger, [root], NO_SIDECARS).added == 2
    write(root, ".mmragignore", text="*\n")
    found = scan(ledger, [root], NO_SIDECARS)
    assert len(found.removed) == 2
    assert not found.warnings  # a folder that is wholly ignored is no drive that is missing
    ledger.drop_media(found.removed)
    (root / ".mmragignore").unlink()
    assert scan(ledger, [root], NO_SIDECARS).added == 2
    ledger.close()


NAMES = st.sampled_from(["a", "b", "raw", "x.jpg", "y.png"])
PATTERNS = st.sampled_from(
    ["a", "/a", "a/", "*.jpg", "!x.jpg", "**/raw", "raw/**", "/b/*", "!/b/a", "x.*", "[xy].png",
     "a/x.jpg", "!a/", "*", "!*/", "\\!x"]
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(
    files=st.sets(
        st.tuples(st.lists(NAMES.filter(lambda n: "." not in n), max_size=3),
                  NAMES.filter(lambda n: "." in n)).map(lambda t: "/".join([*t[0], t[1]])),
        min_size=1, max_size=8,
    ),
    rules=st.dictionaries(
        st.sampled_from(["", "a/", "b/", "raw/"]), st.lists(PATTERNS, max_size=4), max_size=3
    ),
)  # fmt: skip
@example(files={"a/a/x.jpg"}, rules={"a/": ["!a/"], "": ["x.*"]})
@example(files={"a/b/x.jpg"}, rules={"": ["*", "!*/", "!x.jpg"]})
@example(files={"a/b/x.jpg"}, rules={"": ["a/*", "!a/b"]})
def test_a_walk_leaves_out_what_git_leaves_out(
    tmp_path_factory: pytest.TempPathFactory, files: set[str], rules: dict[str, list[str]]
) -> None:
    root = tmp_path_factory.mktemp("tree").resolve()
    write(root, *files)
    for folder, lines in rules.items():
        for name in (".mmragignore", ".gitignore"):
            write(root, folder + name, text="\n".join(lines) + "\n")
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    listed = subprocess.run(
        ["git", "ls-files", "-o", "--exclude-standard", "-z"],
        cwd=root, check=True, capture_output=True, text=True,
        env={**os.environ, "GIT_CONFIG_GLOBAL": os.devnull},
    ).stdout  # fmt: skip
    kept = sorted(name for name in listed.split("\0") if Path(name).suffix in (".jpg", ".png"))
    assert walked(root)[0] == kept


def test_the_words_for_what_was_left_out() -> None:
    assert in_words(Counter()) == ""
    told = Counter({"file:.mmragignore": 3, "folder:.mmragignore": 1, "folder:system folders": 2})
    assert in_words(told) == "3 files and 1 folder by .mmragignore, 2 folders of the system's"
