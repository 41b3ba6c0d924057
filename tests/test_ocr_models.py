"""Models for other scripts come from where RapidOCR says, after a yes, whole or not at all."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from commands import mmrag_here, told
from mmrag_plugin.errors import ModelError, ServiceError, StorageError
from mmrag_plugin.signals import ocr_models
from mmrag_plugin.signals.ocr_choice import choose_reader, wheel_models
from mmrag_plugin.signals.ocr_languages import LANGUAGES
from mmrag_plugin.signals.ocr_models import Fetchable, fetch, fetchable, model_named

NAME = "made_up_rec_mobile.onnx"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def offered(tmp_path: Path) -> Iterator[Fetchable]:
    """The wheel's own model, offered under another name by a server of ours."""
    folder = tmp_path / "served"
    folder.mkdir()
    content = wheel_models()["rec"].read_bytes()
    (folder / NAME).write_bytes(content)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/{NAME}"
    yield Fetchable(NAME, url, hashlib.sha256(content).hexdigest())
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_model_is_fetched_whole_and_then_used(offered: Fetchable, tmp_path: Path) -> None:
    path = fetch(offered, tmp_path / "models")
    assert path == tmp_path / "models" / "ocr" / NAME
    assert [found.name for found in path.parent.iterdir()] == [NAME]
    assert (
        fetch(Fetchable(NAME, "http://127.0.0.1:9/", offered.sha256), tmp_path / "models") == path
    )
    chosen = choose_reader("de", models_home=tmp_path / "models")
    assert set(chosen.by.values()) == {"RapidOCR"}, "which the wheel's own model reads"


def test_what_is_not_the_model_is_thrown_away(offered: Fetchable, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is not made_up"):
        fetch(Fetchable(NAME, offered.url, "0" * 64), tmp_path)
    assert list((tmp_path / "ocr").iterdir()) == []


def test_a_server_that_has_it_not_and_a_disk_that_takes_it_not_are_said(
    offered: Fetchable, tmp_path: Path
) -> None:
    with pytest.raises(ServiceError, match="can't be fetched from 127"):
        fetch(Fetchable(NAME, f"{offered.url}.gone", offered.sha256), tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="can't be written"):
        fetch(offered, tmp_path / "file")


def test_nothing_is_fetched_without_a_yes(
    offered: Fetchable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ocr_models, "fetchable", lambda language: offered)
    home = tmp_path / "home"
    asked = mmrag_here(home, "models", "pull", "ocr-ru", "--json")
    assert asked.returncode == 2
    assert "only fetched after a yes" in asked.stdout
    assert not (home / ".models" / "ocr").exists()
    got = told(mmrag_here(home, "models", "pull", "ocr-ru", "--json", "--yes"), 0)
    assert Path(got["path"]) == home / ".models" / "ocr" / NAME


@pytest.mark.parametrize("name", ["ocr-", "ocr-xx", "ocr-de", "ocr-ar", "ocr-../ru"])
def test_what_rapidocr_has_no_model_for_is_said(name: str, tmp_path: Path) -> None:
    assert model_named(name) is None
    done = mmrag_here(tmp_path, "models", "pull", name, "--json")
    assert done.returncode == 2
    assert "is no model for text" in done.stdout


@pytest.mark.parametrize("code", ["ru", "uk", "bg", "ko", "th", "el", "hi", "ta", "te"])
def test_rapidocr_still_names_its_models(code: str) -> None:
    found = fetchable(LANGUAGES[code])
    assert found is not None
    assert found.url.startswith("https://")
    assert found.file.endswith("_rec_mobile.onnx")
    assert len(found.sha256) == 64
