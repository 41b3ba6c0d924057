"""Models that another process keeps loaded: the same answers, sooner, and nothing in the way."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from commands import MMRAG, environment
from media_made import end_owners, picture
from mmrag_plugin import model_keeper
from mmrag_plugin.errors import ModelMismatch, NotFound, ServiceError, UsageError
from mmrag_plugin.library import MediaLibrary
from mmrag_plugin.model_keeper import KeeperLost, KeptVisual, ModelKeeper, ask, keeper_of, kept
from mmrag_plugin.settings import Settings, load_settings
from test_embeddings_transformers import build_clip

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="the keeper needs unix sockets and fork"
)

KEEP_S = 60.0


def settings_of(home: Path, **more: Any) -> Settings:
    off = {"ocr": "off", "speech": "off", "text_model": "off", "visual_model": "palette"}
    return load_settings(home=home, **{"keep_models": KEEP_S, **off, **more})


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home with a library of three pictures."""
    home = tmp_path_factory.mktemp("home")
    photos = home / "photos"
    for colour in ("red", "green", "blue"):
        picture(photos / f"{colour}.png", colour)
    with MediaLibrary.open(settings_of(home), create=True) as library:
        library.index([photos])
    yield home
    model_keeper.unload(home)
    end_owners(home)


@pytest.fixture
def keeper(home: Path) -> ModelKeeper:
    return ModelKeeper(settings_of(home))


def never() -> Any:
    pytest.fail("the model was loaded here")


def visual_of(keeper: ModelKeeper, here: Any = never) -> KeptVisual:
    opened = keeper.open()
    assert opened is not None
    visual = opened.visual(here)
    assert isinstance(visual, KeptVisual)
    return visual


def own_model(home: Path, **more: Any) -> Any:
    with MediaLibrary.open(settings_of(home, **more)) as library:
        return library.models.in_use()[0]


def pid_of(home: Path) -> int:
    found = kept(home)
    assert found is not None
    return int(found["pid"])


# ---- the same answers ------------------------------------------------------------------------


def test_vectors_through_the_keeper_are_those_of_the_model_bit_by_bit(
    home: Path, keeper: ModelKeeper
) -> None:
    visual, own = visual_of(keeper), own_model(home)
    texts = ["something red", "das grüne Haus \ud800", "", "no colour word"]
    pictures = [Image.effect_noise((67, 41), 80).convert("RGB"), Image.new("RGB", (9, 300), "red")]
    for theirs, ours in (
        (visual.embed_texts(texts), own.embed_texts(texts)),
        (visual.embed_texts([]), own.embed_texts([])),
        (visual.embed_pictures(pictures), own.embed_pictures(pictures)),
    ):
        assert theirs.dtype == ours.dtype
        assert theirs.shape == ours.shape
        assert theirs.tobytes() == ours.tobytes()
    for text in texts:
        assert visual.understands(text) is own.understands(text)
    for name in "stamp setting model_name dim input_px max_tokens compares_texts".split():
        assert getattr(visual, name) == getattr(own, name), name


def test_a_picture_too_large_for_a_message_is_embedded_here(
    home: Path, keeper: ModelKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    visual, own = visual_of(keeper, lambda: own_model(home)), own_model(home)
    monkeypatch.setattr(model_keeper, "MAX_BODY_BYTES", 1000)
    shown = [Image.new("RGB", (50, 50), "blue")]
    assert visual.embed_pictures(shown).tobytes() == own.embed_pictures(shown).tobytes()


def test_errors_of_the_library_come_through_as_what_they_are(home: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no library 'nowhere'"):
        ModelKeeper(settings_of(home, library="nowhere")).open()
    folder = tmp_path / "no model"
    folder.mkdir()
    with pytest.raises(model_keeper.MmragError) as met:
        ModelKeeper(settings_of(home, visual_model=str(folder))).open()
    assert (met.value.kind, met.value.exit_code) == ("model", 2)
    assert "holds no model" in met.value.message
    assert type(model_keeper._error(UsageError("a", "b").as_dict())) is UsageError


# ---- one, for its user alone ----------------------------------------------------------------


def test_several_commands_at_once_start_one_keeper(home: Path) -> None:
    model_keeper.unload(home)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: visual_of(ModelKeeper(settings_of(home))).stamp, range(4)))
    assert len(set(found)) == 1
    log = keeper_of(home).log_file.read_text()
    assert log.count("serving at") == log.count("closed") + 1


def test_socket_address_and_log_are_for_their_user_alone(home: Path, keeper: ModelKeeper) -> None:
    visual_of(keeper)
    shared = keeper_of(home)
    published = shared.published()
    assert published is not None
    path = Path(published["uri"].removeprefix("unix:"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    for file in (shared.address_file, shared.lock_file, shared.log_file):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("token", ["", "wrong", None])
def test_who_has_not_the_token_gets_no_answer(
    home: Path, keeper: ModelKeeper, token: str | None
) -> None:
    visual_of(keeper)
    published = keeper_of(home).published()
    assert published is not None
    with pytest.raises(KeeperLost, match="hung up"):
        ask({**published, "token": token}, {"call": "probe"}, b"", 5)


@pytest.mark.parametrize(
    "message",
    [
        b"GET / HTTP/1.0\r\n\r\n",
        struct.pack(">IQ", 2**31, 0) + b"x" * 100,
        struct.pack(">IQ", 2, 2**60) + b"{}",
        struct.pack(">IQ", 4, 0) + b"[1]\xff",
        b"\x00",
    ],
)
def test_what_is_no_message_ends_the_call_and_not_the_keeper(
    home: Path, keeper: ModelKeeper, message: bytes
) -> None:
    visual = visual_of(keeper)
    published = keeper_of(home).published()
    assert published is not None
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(published["uri"].removeprefix("unix:"))
        link.sendall(message)
        link.settimeout(10)
        with suppress(ConnectionError):  # it hung up with some of it unread
            link.shutdown(socket.SHUT_WR)
            assert link.recv(10) == b""
    assert visual.embed_texts(["red"]).any()


def test_secrets_of_other_services_are_not_sent(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    real = model_keeper.send

    def hear(link: socket.socket, head: dict[str, Any], body: bytes = b"") -> None:
        sent.append(json.dumps(head))
        real(link, head, body)

    monkeypatch.setattr(model_keeper, "send", hear)
    secrets = {"milvus_token": "m" * 30, "token": "t" * 30}
    visual_of(ModelKeeper(settings_of(home, **secrets)))
    assert any('"open"' in head for head in sent)
    assert not any(secret in head for head in sent for secret in secrets.values())


# ---- broken, replaced, gone ------------------------------------------------------------------


def test_a_killed_keeper_is_replaced_in_the_middle_of_a_command(
    home: Path, keeper: ModelKeeper
) -> None:
    visual = visual_of(keeper)
    before = visual.embed_texts(["red"])
    pid = pid_of(home)
    os.kill(pid, signal.SIGKILL)
    assert visual.embed_texts(["red"]).tobytes() == before.tobytes()
    assert pid_of(home) != pid


def test_a_model_that_is_asked_for_in_two_ways_is_kept_once(home: Path) -> None:
    keys = set()
    for more in ({"visual_model": "palette"}, {"visual_model": "auto"}, {"text_model": "auto"}):
        opened = ModelKeeper(settings_of(home, **more)).open()
        assert opened is not None
        keys.add(opened.told["key"])
    assert len(keys) == 1


def test_a_model_that_took_the_place_of_the_kept_one_embeds_nothing_for_it(
    home: Path, keeper: ModelKeeper
) -> None:
    other = own_model(home)
    other.stamp = "another"
    visual = visual_of(keeper, lambda: other)
    visual._key = "of a library before it was indexed with another model"
    with pytest.raises(ServiceError, match="another model"):
        visual.embed_texts(["red"])


def test_a_frozen_keeper_holds_nobody_up(
    home: Path, keeper: ModelKeeper, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    caplog.set_level(logging.INFO, logger="mmrag")
    visual_of(keeper)
    monkeypatch.setattr(model_keeper, "PROBE_S", 0.2)
    monkeypatch.setattr(model_keeper, "FROZEN_S", 0.5)
    pid = pid_of(home)
    os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        assert keeper.open() is None
        assert time.monotonic() - began < 5
        assert "models are loaded here" in caplog.text
        with MediaLibrary.open(settings_of(home), kept_models=True) as library:
            assert library.search("red").hits
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_home_that_cannot_be_written_goes_without(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setattr(model_keeper, "keeper_of", lambda _: keeper_of(blocked))
    assert ModelKeeper(settings_of(home)).open() is None


def test_a_command_in_other_surroundings_loads_the_model_itself(
    home: Path, keeper: ModelKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    visual_of(keeper)
    pid = pid_of(home)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    assert keeper.open() is None
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert visual_of(keeper)
    assert pid_of(home) == pid


def test_an_idle_keeper_leaves_and_takes_its_files_with_it(home: Path) -> None:
    visual_of(ModelKeeper(settings_of(home)))
    shared = keeper_of(home)
    published = shared.published()
    assert published is not None
    visual_of(ModelKeeper(settings_of(home, keep_models=0.4)))  # the last command's wish counts
    deadline = time.monotonic() + 15
    while shared.is_running() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not shared.is_running()
    assert not shared.address_file.exists()
    assert not Path(published["uri"].removeprefix("unix:")).parent.exists()
    assert kept(home) is None


def test_a_keeper_whose_home_is_deleted_leaves_and_makes_nothing_again(
    home: Path, tmp_path: Path
) -> None:
    other = tmp_path / "home"
    shutil.copytree(home, other, ignore=shutil.ignore_patterns(".keeper", "owner.*"))
    visual_of(ModelKeeper(settings_of(other)))
    pid = pid_of(other)
    shutil.rmtree(other)
    deadline = time.monotonic() + 15
    while _lives(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _lives(pid)
    assert not other.exists()


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


# ---- as commands use it -----------------------------------------------------------------------


def test_quick_models_and_no_setting_start_no_keeper(home: Path) -> None:
    model_keeper.unload(home)
    for more in ({}, {"keep_models": 0.0}):
        with MediaLibrary.open(settings_of(home, **more), kept_models=True) as library:
            assert library.search("red").hits
    assert not keeper_of(home).is_running()
    assert model_keeper.unload(home) is False


@pytest.fixture(scope="module")
def clip_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home with a library whose vectors a small CLIP with random weights made."""
    home = tmp_path_factory.mktemp("clip home")
    build_clip(home / "clip")
    photos = home / "photos"
    for number, colour in enumerate(("red", "green", "blue", "white")):
        picture(photos / f"{colour}.png", colour, number=number)
    with MediaLibrary.open(_clip(home), create=True) as library:
        library.index([photos])
    yield home
    model_keeper.unload(home)
    end_owners(home)


def _clip(home: Path, **more: Any) -> Settings:
    models = {"visual_model": str(home / "clip"), "text_model": "visual"}
    return settings_of(home, **{**models, **more})


@pytest.mark.slow
def test_searches_in_a_terminal_use_the_keeper_and_load_no_model_library(clip_home: Path) -> None:
    program = (
        "import atexit, sys\n"
        "heavy = 'torch transformers llama_index.core onnxruntime'.split()\n"
        "atexit.register(lambda: sys.stderr.write(repr([n for n in heavy if n in sys.modules])))\n"
        "from mmrag_plugin.cli import main; main()\n"
    )
    words = ["search", "something red", "--json"]
    env = environment(clip_home, MMRAG_KEEP_MODELS="60", MMRAG_VISUAL_MODEL="auto")

    def run(command: list[str], **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *words],
            env={**env, **more},
            capture_output=True,
            text=True,
            timeout=100,
            check=True,
        )

    by_keeper = run([sys.executable, "-c", program])
    assert by_keeper.stderr.endswith("[]")
    here = run(MMRAG, MMRAG_KEEP_MODELS="0")
    assert json.loads(by_keeper.stdout) == json.loads(here.stdout)
    found = kept(clip_home)
    assert found is not None
    assert any("clip" in name for name in found["models"])


@pytest.mark.slow
def test_text_and_pictures_of_a_network_come_through_bit_by_bit(clip_home: Path) -> None:
    model_keeper.unload(clip_home)  # the one of another test may be of other surroundings
    keeper = ModelKeeper(_clip(clip_home))
    visual, own = visual_of(keeper), own_model(clip_home, **{"visual_model": "auto"})
    shown = [Image.effect_noise((91, 60), 60).convert("RGB")]
    assert visual.embed_pictures(shown).tobytes() == own.embed_pictures(shown).tobytes()
    texts = ["a dog on the beach", "red"]
    assert visual.embed_texts(texts).tobytes() == own.embed_texts(texts).tobytes()
    with MediaLibrary.open(_clip(clip_home), kept_models=True) as library:
        text = library.searcher().text
        assert text is not None
        ours = library.models.text_in_use(library.models.recorded("words"), own)  # type: ignore[arg-type]
        assert ours is not None
        assert text.stamp == ours.stamp
        asked, embedded = text.query_vector("a dog").tobytes(), text.embed(texts).tobytes()
        assert asked == ours.query_vector("a dog").tobytes()
        assert embedded == ours.embed(texts).tobytes()
        os.kill(pid_of(clip_home), signal.SIGKILL)
        assert text.query_vector("a cat").tobytes() == ours.query_vector("a cat").tobytes()
        assert text.embed(texts).tobytes() == embedded


@pytest.mark.slow
def test_a_home_and_a_model_may_be_named_from_the_current_folder(
    clip_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(clip_home.parent)
    here = Path(clip_home.name)
    visual = visual_of(ModelKeeper(_clip(here)))
    assert visual.setting == str((clip_home / "clip").resolve())
    monkeypatch.chdir(clip_home)
    visual = visual_of(ModelKeeper(_clip(clip_home, visual_model="clip")))
    assert visual.embed_texts(["red"]).any()


@pytest.mark.slow
def test_other_weights_in_the_same_folder_are_noticed(clip_home: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(clip_home, home, ignore=shutil.ignore_patterns(".keeper", "owner.*"))
    shutil.copytree(clip_home / "clip", home / "mine")
    settings = settings_of(home, visual_model=str(home / "mine"), text_model="off")
    try:
        with MediaLibrary.open(settings) as library:
            library.index([])
        assert visual_of(ModelKeeper(settings)).embed_texts(["red"]).any()
        shutil.rmtree(home / "mine")
        build_clip(home / "mine", number=5)
        with pytest.raises(ModelMismatch):
            ModelKeeper(settings).open()
        with MediaLibrary.open(settings) as library:
            library.index([])
        mine = own_model(home, visual_model="auto", text_model="off")
        again = visual_of(ModelKeeper(settings))
        assert again.stamp == mine.stamp
        assert again.embed_texts(["red"]).tobytes() == mine.embed_texts(["red"]).tobytes()
    finally:
        model_keeper.unload(home)
        end_owners(home)


def test_it_keeps_at_most_the_models_last_used(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmrag_plugin import model_keeper_process
    from mmrag_plugin.model_keeper import surroundings

    monkeypatch.setattr(model_keeper_process, "MAX_KEPT", 1)
    inside = model_keeper_process.Keeper(60)

    def opened(**more: Any) -> str:
        dumped = settings_of(home, **more).model_dump(mode="json")
        head = {"call": "open", "settings": dumped, "surroundings": surroundings()}
        return str(inside.answer(head, b"")[0]["key"])

    first = opened()
    assert opened() == first
    second = opened(allow_remote=True)
    assert second != first
    body = json.dumps(["red"]).encode()
    rows, _ = inside.answer({"call": "texts", "key": second}, body)
    assert rows["shape"][0] == 1
    with pytest.raises(KeeperLost, match="not kept any more"):
        inside.answer({"call": "texts", "key": first}, body)
    assert np.dtype(rows["type"]) == np.float32
