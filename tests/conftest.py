"""What every test may use: the shared media, when they are there."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy as sa
from hypothesis import settings

import postgres_server
from mmrag_plugin.ledger_database import LedgerDatabase
from mmrag_plugin.library_place import LEDGER_FILE

# Chance finds new cases on a developer's machine; in CI a change is judged by its own cases alone.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")

# A terminal's size that somebody exported would be the width of all that tests print.
for size in ("COLUMNS", "LINES"):
    os.environ.pop(size, None)

# No test leaves a process behind that keeps models loaded, but those that are about it.
os.environ["MMRAG_KEEP_MODELS"] = "0"

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real photos and films that lies beside the project, or a skip."""
    if not (SHARED / "data").is_dir():
        pytest.skip("../shared/data is not there")
    return SHARED / "data"


@pytest.fixture(scope="session")
def minidual() -> Path:
    """The folder of the small real text-image model, or a skip."""
    if not (SHARED / "models" / "minidual").is_dir():
        pytest.skip("../shared/models/minidual is not there")
    return SHARED / "models" / "minidual"


@pytest.fixture(autouse=True, scope="module")
def _same_scheduling() -> Iterator[None]:
    """Fail where something has put this process before all others: tests behind it would starve."""
    if sys.platform != "linux":
        yield
        return
    before = os.sched_getscheduler(0)
    yield
    assert os.sched_getscheduler(0) == before


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the tests be run with every ledger that would be a SQLite file kept in PostgreSQL."""
    parser.addoption("--on-postgresql", action="store_true", help="keep ledgers in PostgreSQL")


@pytest.fixture(scope="session")
def postgres() -> Iterator[postgres_server.PostgresServer]:
    """A PostgreSQL server, or a skip."""
    if why := postgres_server.missing():
        pytest.skip(why)
    with postgres_server.PostgresServer() as server:
        yield server


@pytest.fixture(autouse=True, scope="session")
def _ledgers_on_postgresql(request: pytest.FixtureRequest) -> Iterator[None]:
    """With ``--on-postgresql``, open another ledger in PostgreSQL for each SQLite file.

    Commands that tests run find the ledger of the library ``default`` there, too.
    """
    if not request.config.getoption("--on-postgresql"):
        yield
        return
    import commands  # which opens the terminal: after its size was taken away

    server: postgres_server.PostgresServer = request.getfixturevalue("postgres")
    opened, environment = LedgerDatabase.__init__, commands.environment

    def elsewhere(database: LedgerDatabase, url: str, **options: bool) -> None:
        sqlite = sa.make_url(url)
        if sqlite.get_backend_name() == "sqlite":
            if sqlite.database:
                Path(sqlite.database).touch()  # a library looks for it
            url = server.url_for(sqlite.database or uuid4())
        opened(database, url, **options)

    def with_ledger(home: Path, **variables: str) -> dict[str, str]:
        ledger = server.url_for(home / "default" / LEDGER_FILE)
        return environment(home, **{"MMRAG_LEDGER_URL": ledger, **variables})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LedgerDatabase, "__init__", elsewhere)
        patch.setattr(commands, "environment", with_ledger)
        yield


@pytest.fixture
def sqlite_alone(request: pytest.FixtureRequest) -> None:
    """For tests of what only a ledger in a file of SQLite has."""
    if request.config.getoption("--on-postgresql"):
        pytest.skip("it is about SQLite")
