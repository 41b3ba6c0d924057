"""Which Milvus holds a library's rows: by the settings, and by what `mmrag migrate` did."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from mmrag_plugin.errors import UsageError
from mmrag_plugin.ledger import Ledger
from mmrag_plugin.settings import CONFIG_FILE, Settings

if TYPE_CHECKING:
    from mmrag_plugin.milvus_connection import MilvusConnection

EMBEDDED = "lite"  # how the Milvus inside the library's directory is called
# What says, beside its address, how to talk to a server; of another one it says nothing.
OF_A_SERVER = (
    "milvus_token",
    "milvus_database",
    "milvus_ca_file",
    "milvus_client_certificate",
    "milvus_client_key",
    "milvus_server_name",
)
_FACT = "milvus_places"


@dataclass
class Moving:
    """A move that has begun; ``copied`` holds the last id that was copied of each collection."""

    origin: str
    target: str
    copied: dict[str, str] = field(default_factory=dict)


@dataclass
class Places:
    """What the ledger knows of the Milvuses that held or are to hold the library's rows.

    What stands at the places that were ``left`` is out of date.
    """

    left: list[str] = field(default_factory=list)
    moving: Moving | None = None


def connection_of(settings: Settings) -> MilvusConnection:
    """The connection to the Milvus that settings name: the library's own, or a server."""
    from mmrag_plugin.milvus_connection import MilvusConnection

    return MilvusConnection.of(settings, settings.directory)


def place_of(settings: Settings) -> str:
    """What the ledger calls the Milvus that settings name; no secrets are in it."""
    if not settings.milvus_uri:
        return EMBEDDED
    address = connection_of(settings).address.rstrip("/").lower()
    return f"{address}/{settings.milvus_database}" if settings.milvus_database else address


def known_places(ledger: Ledger) -> Places:
    """What the ledger knows."""
    found = ledger.fact(_FACT)
    if found is None:
        return Places()
    moving = found["moving"]
    return Places(found["left"], None if moving is None else Moving(**moving))


def note_places(ledger: Ledger, places: Places) -> None:
    """Have the ledger know it."""
    ledger.state(**{_FACT: asdict(places)})


def require_current(ledger: Ledger, settings: Settings) -> None:
    """Raise UsageError where the settings name a Milvus that the library has left.

    Another machine's settings, or a program that runs since before, may still do so.
    """
    left = known_places(ledger).left
    if left and (here := place_of(settings)) in left:
        raise UsageError(
            f"The vectors of library {settings.library!r} were moved, and the settings still name "
            f"where they were: {spoken(here)}.",
            f"Start this program again, or name their new place in {CONFIG_FILE} or "
            "MMRAG_MILVUS_URI; mmrag migrate --to URI brings them back.",
        )


def spoken(place: str) -> str:
    """A place as people read it."""
    return "the library's own Milvus" if place == EMBEDDED else f"Milvus at {place}"
