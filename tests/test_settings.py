"""Settings: which source wins, and what a wrong value says."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from mmrag_plugin.errors import UsageError
from mmrag_plugin.settings import CONFIG_FILE, Settings, load_settings


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for field, info in Settings.model_fields.items():
        monkeypatch.delenv(f"MMRAG_{field.upper()}", raising=False)
        assert info.description, f"{field} has no description"
    monkeypatch.delenv("OLLAMA_HOST", raising=False)
    monkeypatch.setenv("MMRAG_HOME", str(tmp_path))


def write_config(home: Path, text: str, library: str = "default") -> None:
    (home / library).mkdir(parents=True, exist_ok=True)
    (home / library / CONFIG_FILE).write_text(text)


def test_without_anything_said_the_defaults_hold() -> None:
    found = load_settings()
    assert (found.library, found.visual_model, found.ocr) == ("default", "auto", "auto")
    assert found.ollama_host == "http://127.0.0.1:11434"
    assert not found.allow_remote


def test_flags_win_over_environment_over_file_over_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_settings().visual_model == "auto"
    write_config(tmp_path, 'visual_model = "from-file"\nocr = "off"\n')
    assert load_settings().visual_model == "from-file"
    monkeypatch.setenv("MMRAG_VISUAL_MODEL", "from-environment")
    assert load_settings().visual_model == "from-environment"
    assert load_settings(visual_model="from-flag").visual_model == "from-flag"
    assert load_settings(visual_model=None).visual_model == "from-environment"
    assert load_settings().ocr == "off", "what only the file says still counts"


def test_the_file_is_that_of_the_library_that_was_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config(tmp_path, 'visual_model = "a"\n', "one")
    write_config(tmp_path, 'visual_model = "b"\n', "two")
    write_config(tmp_path / "elsewhere", 'visual_model = "c"\n', "one")
    assert load_settings(library="one").visual_model == "a"
    monkeypatch.setenv("MMRAG_LIBRARY", "two")
    assert load_settings().visual_model == "b"
    assert load_settings(library="one", home=tmp_path / "elsewhere").visual_model == "c"


def test_environment_names_are_the_documented_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = {
        "MMRAG_TEXT_MODEL": "text_model",
        "MMRAG_VLM": "vlm",
        "OLLAMA_HOST": "ollama_host",
        "MMRAG_MILVUS_URI": "milvus_uri",
        "MMRAG_MILVUS_TOKEN": "milvus_token",
        "MMRAG_LEDGER_URL": "ledger_url",
    }
    for name in expected:
        monkeypatch.setenv(name, "http://there:1234")
    found = load_settings()
    assert {getattr(found, field) for field in expected.values()} == {"http://there:1234"}


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("127.0.0.1:11434", "http://127.0.0.1:11434"),
        ("gpu-box", "http://gpu-box:11434"),
        ("http://gpu-box/", "http://gpu-box"),
        (":11434", "http://127.0.0.1:11434"),
        ("::1", "http://[::1]:11434"),
        ("[::]:11434", "http://[::1]:11434"),
        ("https://ollama.example", "https://ollama.example"),
        ("http://0.0.0.0:11434", "http://127.0.0.1:11434"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("[::1]", "http://[::1]:11434"),
        ("  ", "http://127.0.0.1:11434"),
    ],
)
def test_ollama_hosts_are_read_as_ollama_reads_them(
    said: str, meant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_HOST", said)
    assert load_settings().ollama_host == meant


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ({"ocr": "maybe"}, "'maybe'"),
        ({"keyframes": "every"}, "'every'"),
        ({"allow_remote": "perhaps"}, "'perhaps'"),
        ({"library": "a/b"}, "'a/b'"),
        ({"library": ".."}, "'..'"),
        ({"library": "..."}, "'...'"),
        ({"library": ""}, "''"),
        ({"library": "x" * 81}, "x" * 81),
        ({"library": "line\nbreak"}, r"line\nbreak"),
        ({"library": ".models"}, "'.models'"),
        ({"vlm": ""}, "''"),
        ({"visual_model": " "}, "' '"),
    ],
)
def test_a_wrong_value_is_named_with_its_setting_and_where_to_mend_it(
    flags: dict[str, str], named: str
) -> None:
    with pytest.raises(UsageError) as caught:
        load_settings(**flags)
    [setting] = flags
    assert named in caught.value.message
    assert setting in caught.value.message
    assert f"MMRAG_{setting.upper()}" in caught.value.remedy
    assert (f"--{setting.replace('_', '-')}" in caught.value.remedy) == (setting != "ocr")
    assert (CONFIG_FILE in caught.value.remedy) == (setting != "library"), "it is in one already"


def test_a_wrong_value_in_the_environment_or_the_file_is_named_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MMRAG_OCR", "loud")
    with pytest.raises(UsageError, match="ocr = 'loud'"):
        load_settings()
    monkeypatch.delenv("MMRAG_OCR")
    write_config(tmp_path, 'ocr = "loud"\n')
    with pytest.raises(UsageError, match="ocr = 'loud'"):
        load_settings()


@pytest.mark.parametrize("text", ["ocr = ", "\x00", "[[[", "ocr = 'off'\nocr = 'off'"])
def test_a_config_file_that_is_no_toml_says_so(tmp_path: Path, text: str) -> None:
    write_config(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        load_settings()
    assert f"{tmp_path / 'default' / CONFIG_FILE} can't be read" in caught.value.message


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("visual_modle = 'palette'", "Write visual_model."),
        ("MMRAG_OCR = 'off'", "Write ocr."),
        ("colour = 'red'", "It may set allow_remote, caption_workers, captions, d"),
        ("home = '/elsewhere'", "Take it out; set it by --home or MMRAG_HOME."),
        ("library = 'other'", "Take it out; set it by --library or MMRAG_LIBRARY."),
    ],
)
def test_a_config_file_with_a_key_that_it_can_not_set_is_refused(
    tmp_path: Path, text: str, remedy: str
) -> None:
    write_config(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        load_settings()
    assert str(tmp_path / "default" / CONFIG_FILE) in caught.value.message
    assert text.split(maxsplit=1)[0] in caught.value.message
    assert caught.value.remedy.startswith(remedy)


def test_an_empty_variable_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MMRAG_HOME", "MMRAG_LIBRARY", "MMRAG_VLM", "MMRAG_OCR", "OLLAMA_HOST"):
        monkeypatch.setenv(name, "")
    found = load_settings()
    assert found.home.is_absolute()
    assert (found.library, found.vlm, found.ocr) == ("default", "gemma3:4b", "auto")
    assert found.flags == ""


def test_flags_name_a_library_where_the_environment_names_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_settings().flags == ""
    assert load_settings(library="my films").flags == " --library 'my films'"
    assert load_settings(home="/else where").flags == " --home '/else where'"
    monkeypatch.setenv("MMRAG_LIBRARY", "films")
    assert load_settings(library="films", home=tmp_path).flags == ""
    assert load_settings(library="default").flags == " --library default"


def test_a_config_file_in_another_encoding_says_so(tmp_path: Path) -> None:
    write_config(tmp_path, "")
    (tmp_path / "default" / CONFIG_FILE).write_bytes(b"vlm = '\xff\xfe'")
    with pytest.raises(UsageError, match=CONFIG_FILE):
        load_settings()


def test_secrets_are_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMRAG_MILVUS_TOKEN", "hush")
    monkeypatch.setenv("MMRAG_LEDGER_URL", "postgresql://me:hush@localhost/mine")
    assert "hush" not in repr(load_settings())


def test_a_wrong_value_of_a_secret_is_not_repeated(tmp_path: Path) -> None:
    write_config(tmp_path, "milvus_token = 31415926\n")
    with pytest.raises(UsageError, match="Setting milvus_token: ") as caught:
        load_settings()
    assert "31415926" not in str(caught.value)


def test_a_home_of_nobody_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="nobody-here") as caught:
        load_settings(home="~nobody-here/media")
    assert "--home" in caught.value.remedy
    monkeypatch.setenv("MMRAG_HOME", "~nobody-here/media")
    with pytest.raises(UsageError, match="nobody-here"):
        load_settings()


def test_a_home_with_a_tilde_is_the_persons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere")
    assert load_settings(home="~/media").directory == Path("/somewhere/media/default")


@hypothesis_settings(max_examples=60, deadline=None)
@given(st.text(max_size=90))
def test_a_librarys_name_never_leads_out_of_home(name: str) -> None:
    home = Path("/nowhere/home")
    try:
        found = load_settings(library=name, home=home)
    except UsageError:
        return
    assert found.directory.parent == home
    assert found.directory.name not in ("", ".", "..")
