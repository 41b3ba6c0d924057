"""Settings, built at the edge: flags over environment over the library's file over defaults."""

from __future__ import annotations

import re
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

CONFIG_FILE = "config.toml"
# no leading dot: `.` and `..` lead elsewhere, and `.models` lies beside the libraries
_LIBRARY_NAME = re.compile(r"[^./\\\x00-\x1f][^/\\\x00-\x1f]{0,79}")


class Settings(BaseSettings):
    """Everything that can be set. Each field reads ``MMRAG_<NAME>`` unless it says otherwise."""

    model_config = SettingsConfigDict(env_prefix="MMRAG_", extra="ignore", populate_by_name=True)

    home: Path = Field(
        default_factory=lambda: Path(platformdirs.user_data_dir("mmrag", appauthor=False)),
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
    vlm: str = Field("gemma3:4b", description="The Ollama model that looks at pictures.")
    ollama_host: str = Field(
        "http://127.0.0.1:11434",
        validation_alias=AliasChoices("ollama_host", "OLLAMA_HOST"),
        description="Where Ollama listens (`OLLAMA_HOST`).",
    )
    allow_remote: bool = Field(
        False, description="Let pictures go to a VLM on another machine (`--allow-remote`)."
    )
    milvus_uri: str = Field(
        "", description="A Milvus server or cluster; empty means the library's own embedded Milvus."
    )
    milvus_token: str = Field("", repr=False, description="The token or `user:password` of Milvus.")
    ledger_url: str = Field(
        "", description="A PostgreSQL URL for the ledger; empty means SQLite in the library."
    )
    ocr: Literal["auto", "off"] = Field("auto", description="Read text in pictures.")
    keyframes: Literal["auto", "iframes", "scenes", "uniform"] = Field(
        "auto",
        description="How video frames are chosen; `auto` is as the library was made, else "
        "`iframes`.",
    )
    token: str = Field("", repr=False, description="HTTP access to `mmrag-mcp`.")

    @field_validator("library")
    @classmethod
    def _name_is_a_folder_name(cls, name: str) -> str:
        if not _LIBRARY_NAME.fullmatch(name) or not name.strip(". "):
            raise ValueError(
                "a library's name is 1 to 80 characters without slashes and begins with no dot"
            )
        return name

    @field_validator("ollama_host")
    @classmethod
    def _host_has_a_scheme(cls, host: str) -> str:
        host = host.strip().rstrip("/") or "127.0.0.1:11434"
        if "://" not in host:
            host = f"http://{host}"
        host = host.replace("//0.0.0.0", "//127.0.0.1")
        scheme, _, rest = host.partition("://")
        if scheme == "http" and re.fullmatch(r"(\[[^\]]*\]|[^:/]+)", rest):
            host += ":11434"  # what Ollama's own client assumes
        return host

    @property
    def directory(self) -> Path:
        """The library's directory."""
        return self.home.expanduser() / self.library

    @property
    def models_home(self) -> Path:
        """Where fetched models lie: beside the libraries, which share them."""
        return self.home.expanduser() / ".models"

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
        known = {**env_settings(), **init_settings()}
        home = Path(known.get("home") or platformdirs.user_data_dir("mmrag", appauthor=False))
        path = home.expanduser() / str(known.get("library") or "default") / CONFIG_FILE
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file=path)


def load_settings(**flags: Any) -> Settings:
    """Build settings; flags that are None were not given. Raises UsageError for a wrong value."""
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"]).lower()
        flag = name.replace("_", "-")
        variable = "OLLAMA_HOST" if name == "ollama_host" else f"MMRAG_{name.upper()}"
        reason = first["msg"].removeprefix("Value error, ")
        raise UsageError(
            f"Setting {name} = {first.get('input')!r}: {reason}.",
            f"Mend --{flag}, {variable} or the library's {CONFIG_FILE}.",
        ) from None
    except (OSError, ValueError) as error:  # an unreadable or malformed config file
        raise UsageError(
            f"The library's {CONFIG_FILE} can't be read: {error}.", "Mend it or remove it."
        ) from None
