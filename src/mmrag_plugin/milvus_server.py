"""Where a Milvus server is, and what it takes to talk to it: token, database, certificates."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrag_plugin.errors import UsageError

if TYPE_CHECKING:
    from mmrag_plugin.settings import Settings

_ADDRESS = re.compile(r"(https?|tcp)://|unix:")


@dataclass(frozen=True)
class MilvusServer:
    """A server or cluster; an ``https`` address is talked to in TLS.

    ``ca_file`` holds the certificates (PEM) that vouch for the server; without it the system's do.
    ``client_certificate`` and ``client_key`` are for a server that wants to know its clients; then
    the ``ca_file`` is needed as well. ``server_name`` is the name in the server's certificate where
    it is not the address's. ``index`` is the kind of index that dense vectors get. Raises
    UsageError for what can't be.
    """

    uri: str
    token: str = field(default="", repr=False)
    database: str = ""
    ca_file: Path | None = None
    client_certificate: Path | None = None
    client_key: Path | None = None
    server_name: str = ""
    index: str = "auto"

    def __post_init__(self) -> None:
        if not _ADDRESS.match(self.uri):
            raise UsageError(
                f"{self.shown!r} is not a Milvus address.",
                "Write http://HOST:19530, or leave it out for the embedded Milvus.",
            )
        files = {
            "MMRAG_MILVUS_CA_FILE": self.ca_file,
            "MMRAG_MILVUS_CLIENT_CERTIFICATE": self.client_certificate,
            "MMRAG_MILVUS_CLIENT_KEY": self.client_key,
        }
        given = {name: path for name, path in files.items() if path is not None}
        if (given or self.server_name) and not self.uri.startswith("https://"):
            raise UsageError(
                f"Certificates need an address that begins with https://, not {self.shown}.",
                "Write MMRAG_MILVUS_URI so, or leave the certificates out.",
            )
        for name, path in given.items():
            if not path.is_file():
                raise UsageError(f"{name} names {path}, which is no file.", "Name a PEM file.")
        if (self.client_certificate or self.client_key) and len(given) < 3:
            missing = ", ".join(name for name in files if name not in given)
            raise UsageError(
                "A client's certificate needs its key and the server's CA beside it.",
                f"Set {missing} too.",
            )

    @classmethod
    def of(cls, settings: Settings) -> MilvusServer | None:
        """The server that settings name; None when they name none."""
        if not settings.milvus_uri:
            return None
        return cls(
            settings.milvus_uri,
            settings.milvus_token,
            settings.milvus_database,
            _file(settings.milvus_ca_file),
            _file(settings.milvus_client_certificate),
            _file(settings.milvus_client_key),
            settings.milvus_server_name,
            settings.milvus_index,
        )

    @property
    def shown(self) -> str:
        """The address as people may see it: without a password."""
        return re.sub(r"^([a-z+]+://)?.*@", r"\1", self.uri, flags=re.DOTALL)

    def options(self) -> dict[str, Any]:
        """What pymilvus's client takes beside the address."""
        options: dict[str, Any] = {"token": self.token, "db_name": self.database}
        if self.server_name:
            options["server_name"] = self.server_name
        if self.client_certificate is not None:
            options["client_pem_path"] = str(self.client_certificate)
            options["client_key_path"] = str(self.client_key)
            options["ca_pem_path"] = str(self.ca_file)
        elif self.ca_file is not None:
            options["server_pem_path"] = str(self.ca_file)  # pymilvus's word for it in this case
        return options


def _file(name: str) -> Path | None:
    return Path(name).expanduser() if name else None
