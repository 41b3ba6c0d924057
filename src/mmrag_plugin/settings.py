"""Settings, built at the edge: flags over environment over the library's file over defaults."""

from __future__ import annotations

import os
import re
import shlex
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import platformdirs
from pydantic import AliasChoices, Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from mmrag_plugin.errors import UsageError
from mmrag_plugin.ollama_host import DEFAULT_HOST, checked_host

CONFIG_FILE = "config.toml"
MADE_FOLDER, CONVERSATIONS_FOLDER = "made", "conversations"  # the person's, in a library
LEARNED_FOLDER = "learned"  # out of the person's annotations
NOT_IN_FILE = frozenset({"home", "library"})  # they say where the file is
FLAGS = frozenset(
    "home library visual_model text_model vlm allow_remote milvus_uri keyframes "
    "speech captions caption_workers verify_with personal generator ray".split()
)
# no leading dot: `.` and `..` lead elsewhere, and `.models` lies beside the libraries
_LIBRARY_NAME = re.compile(r"[^./\\\x00-\x1f][^/\\\x00-\x1f]{0,79}")


def _default_home() -> Path:
    return Path(platformdirs.user_data_dir("mmrag", appauthor=False))


class Settings(BaseSettings):
    """Everything that can be set. Each field reads ``MMRAG_<NAME>`` unless it says otherwise."""

    model_config = SettingsConfigDict(
        env_prefix="MMRAG_", env_ignore_empty=True, extra="forbid", populate_by_name=True
    )

    home: Path = Field(
        default_factory=_default_home,
        description="Where libraries live.",
    )
    library: str = Field("default", description="The library's name.")
    visual_model: str = Field(
        "auto", description="`auto`, `palette`, a catalogue name, a hub name or a folder."
    )
    text_model: str = Field(
        "auto",
        description="`auto`, `off`, `visual` (the visual model's text tower), `ollama:NAME`, "
        "a hub name or a folder.",
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16", "int8"] = Field(
        "auto",
        description="The numbers that visual and text models calculate with; `auto` is what is "
        "quickest on this machine and agrees with `float32`. `int8` needs a copy of the visual "
        "model (`mmrag models quantize`).",
    )
    device: str = Field(
        "auto",
        pattern="^(auto|cpu|mps|cuda(:[0-9]{1,2})?)$",
        description="What visual and text models run on: `auto` (a GPU where there is one), "
        "`cpu`, `cuda`, `cuda:1` or `mps`.",
    )
    vlm: str = Field("gemma3:4b", description="The Ollama model that looks at pictures.")
    vlm_timeout: float = Field(
        900.0,
        gt=0,
        description="Seconds that an answer of the VLM may take; a third of them until it begins.",
    )
    ollama_host: str = Field(
        DEFAULT_HOST,
        validation_alias=AliasChoices("ollama_host", "OLLAMA_HOST"),
        description="Where Ollama listens (`OLLAMA_HOST`).",
    )
    allow_remote: bool = Field(
        False, description="Let pictures go to a VLM on another machine (`--allow-remote`)."
    )
    keep_models: float = Field(
        300.0,
        ge=0,
        le=86_400,
        description="For how many seconds a process keeps models loaded for the next search in a "
        "terminal; 0: it is not started.",
    )
    milvus_uri: str = Field(
        "", description="A Milvus server or cluster; empty means the library's own embedded Milvus."
    )
    milvus_token: str = Field("", repr=False, description="The token or `user:password` of Milvus.")
    milvus_database: str = Field("", description="The database on the Milvus server.")
    milvus_ca_file: str = Field(
        "",
        description="A PEM file with the certificates that vouch for a Milvus server at an "
        "`https://` address; empty means the system's.",
    )
    milvus_client_certificate: str = Field(
        "", description="A PEM file, for a Milvus server that wants certificates of its clients."
    )
    milvus_client_key: str = Field("", description="The key of that certificate, in PEM.")
    milvus_server_name: str = Field(
        "", description="The name in the Milvus server's certificate, if not the address's."
    )
    milvus_index: Literal[
        "auto", "HNSW", "HNSW_SQ", "IVF_FLAT", "IVF_SQ8", "IVF_RABITQ", "SCANN", "DISKANN"
    ] = Field(
        "auto",
        description="The index of vectors on a Milvus server, changed at the end of an index run; "
        "`auto`: HNSW, and from a million rows on what takes a quarter of its memory.",
    )
    token: str = Field(
        "",
        repr=False,
        description="What clients of `mmrag-mcp --http` must send as `Authorization: Bearer TOKEN`;"
        " needed wherever others can reach the server. 24 or more characters.",
    )
    ledger_url: str = Field(
        "",
        repr=False,
        description="A PostgreSQL URL for the ledger; empty means SQLite in the library.",
    )
    ray: str = Field(
        "",
        description="A Ray cluster whose nodes look at media for `mmrag index` (extra `[ray]`): "
        "`HOST:PORT`, or `auto` for the one that this machine is a node of; empty means this "
        "machine alone.",
    )
    ocr: Literal["auto", "all", "off"] = Field(
        "auto",
        description="Read text in pictures: `auto` in all of a small library, and in a large one "
        "only where a quick look finds something like writing; `all` in every picture.",
    )
    ocr_all_below: int = Field(
        10_000,
        ge=0,
        description="How many pictures make a library a large one, for `ocr`.",
    )
    ocr_languages: str = Field(
        "",
        description="The languages of text in pictures, as `en,de,ru`; empty means Chinese, "
        "Japanese and those in Latin letters.",
    )
    ocr_models: str = Field(
        "",
        description="A folder with further recognition models of RapidOCR (`*_rec_*.onnx`), for "
        "other scripts; empty means those that `mmrag models pull` fetched.",
    )
    speech: str = Field(
        "auto",
        description="Who writes down what is said in films without subtitles (extra `[speech]`): "
        "`auto` (the first Whisper of `mmrag models list` that is on this disk), `off`, a "
        "catalogue name, a hub name or a folder; `script:FILE` hears what a subtitle file says, "
        "for tests.",
    )
    speech_language: str = Field(
        "",
        pattern="^([a-z]{2,3})?$",
        description="What is spoken in films, such as `en`; empty: it is found out. Of several "
        "tracks the one in this language is heard.",
    )
    speech_threads: int = Field(
        0, ge=0, le=256, description="Processor cores that listen; 0: up to 4."
    )
    speech_compute: str = Field(
        "auto",
        pattern="^[a-z0-9_]{3,20}$",
        description="The numbers that Whisper calculates with, a compute type of CTranslate2 such "
        "as `int8` or `float32`; `auto`: `int8`, or `float16` on a GPU.",
    )
    captions: Literal["off", "new", "missing", "all"] = Field(
        "off",
        description="What `mmrag index` has a VLM caption, after everything else: media that the "
        "run took in (`new`), those without any caption (`missing`), or those without one by the "
        "present model and prompts (`all`).",
    )
    caption_workers: int = Field(
        1, ge=1, le=16, description="How many captions are asked for at once."
    )
    verify_with: str = Field(
        "", description="A second Ollama model, which checks captions; empty means none."
    )
    personal: bool = Field(
        True,
        description="Show the VLM annotated photos that look much like the one it captions, so "
        "that it learns your names for things.",
    )
    generator: str = Field(
        "",
        description="What makes new pictures (`mmrag imagine`): the folder or hub name of a "
        "diffusers model on this disk; `plain` paints plain colours; empty means none.",
    )
    keyframes: Literal["auto", "iframes", "scenes", "uniform"] = Field(
        "auto",
        description="How video frames are chosen; `auto` is as the library was made, else "
        "`iframes`.",
    )
    shots: Literal["exact", "quick"] = Field(
        "exact",
        description="Where `iframes` looks for cuts: `exact` decodes frames between key frames "
        "where the picture changes; `quick` looks at key frames alone, where these are not far "
        "apart.",
    )
    log: Literal["debug", "info", "warning", "error"] = Field(
        "warning", description="From which level on mmrag logs (`--verbose`: `info`)."
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="How it logs to stderr and to `log_file`: `text`, or JSON lines."
    )
    log_file: str = Field(
        "",
        description="A file that it logs to as well, of up to 5 MB and three older ones; a "
        "relative path begins in the library's directory. Empty means none.",
    )
    trace_content: bool = Field(
        False,
        description="Let spans and logs carry questions, paths and error messages, which they "
        "otherwise leave out.",
    )

    @field_validator("home")
    @classmethod
    def _home_is_somebodys(cls, home: Path) -> Path:
        return _expanded(home)

    @field_validator("library")
    @classmethod
    def _name_is_a_folder_name(cls, name: str) -> str:
        if not _LIBRARY_NAME.fullmatch(name) or not name.strip(". "):
            raise ValueError(
                "a library's name is 1 to 80 characters without slashes and begins with no dot"
            )
        return name

    @field_validator("visual_model", "text_model", "vlm", "speech")
    @classmethod
    def _model_has_a_name(cls, name: str) -> str:
        if not name.strip():
            raise ValueError("a model has a name")
        return name

    @field_validator("ollama_host")
    @classmethod
    def _host_is_an_address(cls, host: str) -> str:
        return checked_host(host if host.strip() else DEFAULT_HOST)

    @property
    def directory(self) -> Path:
        """The library's directory."""
        return self.home / self.library

    @property
    def log_path(self) -> Path | None:
        """Where the log file lies, if there is one."""
        return self.directory / Path(self.log_file).expanduser() if self.log_file else None

    @property
    def flags(self) -> str:
        """What a command line needs besides the environment to mean this library."""
        flags = ""
        if self.library != (os.environ.get("MMRAG_LIBRARY") or "default"):
            flags += f" --library {shlex.quote(self.library)}"
        if self.home != _expanded(Path(os.environ.get("MMRAG_HOME") or _default_home())):
            flags += f" --home {shlex.quote(str(self.home))}"
        return flags

    @property
    def models_home(self) -> Path:
        """Where fetched models lie: beside the libraries, which share them."""
        return self.home / ".models"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources; the library's file can only be found once home and name are known."""
        path = _config_file({**env_settings(), **init_settings()})
        return init_settings, env_settings, _LibraryFile(settings_cls, path)


class _LibraryFile(TomlConfigSettingsSource):
    """The library's own file, whose every key must be one that it may set."""

    def __init__(self, settings_cls: type[BaseSettings], path: Path) -> None:
        try:
            super().__init__(settings_cls, toml_file=path)
        except (OSError, ValueError) as error:
            raise UsageError(f"{path} can't be read: {error}.", "Mend it or remove it.") from None
        known = settings_cls.model_fields.keys() - NOT_IN_FILE
        for key in self.toml_data.keys() - known:
            if key in NOT_IN_FILE:
                raise UsageError(
                    f"{path} sets {key}, which says where this file is.",
                    f"Take it out; set it by --{key} or MMRAG_{key.upper()}.",
                )
            near = get_close_matches(key.lower().removeprefix("mmrag_"), known, 1)
            raise UsageError(
                f"{path} sets {key!r}, which is no setting.",
                f"Write {near[0]}." if near else f"It may set {', '.join(sorted(known))}.",
            )


def _config_file(known: dict[str, Any]) -> Path:
    home = Path(known.get("home") or _default_home())
    try:
        home = _expanded(home)
    except ValueError:  # which the validator reports
        home = home.absolute()
    return home / str(known.get("library") or "default") / CONFIG_FILE


def _expanded(home: Path) -> Path:
    try:
        return home.expanduser()
    except RuntimeError:
        raise ValueError("there is nobody of that name here") from None


def load_settings(**flags: Any) -> Settings:
    """Build settings; flags that are None were not given. Raises UsageError for a wrong value."""
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"]).lower()
        reason = first["msg"].removeprefix("Value error, ")
        places = [f"--{name.replace('_', '-')}"] if name in FLAGS else []
        places.append("OLLAMA_HOST" if name == "ollama_host" else f"MMRAG_{name.upper()}")
        if name not in NOT_IN_FILE:
            places.append(f"the library's {CONFIG_FILE}")
        secret = name in Settings.model_fields and not Settings.model_fields[name].repr
        value = "" if secret else f" = {first.get('input')!r}"
        raise UsageError(
            f"Setting {name}{value}: {reason}.",
            f"Mend {', '.join(places[:-1])} or {places[-1]}.",
        ) from None
