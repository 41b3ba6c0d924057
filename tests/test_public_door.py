"""What other programs import: the names of `mmrag_plugin`, each where it says it is."""

from __future__ import annotations

import importlib.metadata
import re
import sys
from pathlib import Path

import pytest

import mmrag_plugin

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("name", mmrag_plugin.__all__)
def test_every_public_name_is_there_and_says_what_it_is(name: str) -> None:
    found = getattr(mmrag_plugin, name)
    assert name == "__version__" or (found.__doc__ and found.__name__ == name)


def test_star_import_and_dir_agree_with_all() -> None:
    names: dict[str, object] = {}
    exec("from mmrag_plugin import *", names)
    assert set(mmrag_plugin.__all__) <= names.keys()
    assert dir(mmrag_plugin) == sorted(mmrag_plugin.__all__)


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        mmrag_plugin.Nonsense  # noqa: B018


def test_the_version_is_that_of_the_installed_distribution() -> None:
    assert importlib.metadata.version("mmrag-plugin") == mmrag_plugin.__version__


def test_the_changelog_has_an_entry_for_this_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## {re.escape(mmrag_plugin.__version__)}\b", changelog, re.MULTILINE)


def test_the_classes_named_for_llamahub_exist() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        hub = tomllib.load(file)["tool"]["llamahub"]
    assert hub["import_path"] == "mmrag_plugin"
    for name in hub["class_authors"]:
        assert name in mmrag_plugin.__all__


def test_both_commands_are_installed() -> None:
    scripts = importlib.metadata.entry_points(group="console_scripts")
    for name in ("mmrag", "mmrag-mcp"):
        assert callable(scripts[name].load())
