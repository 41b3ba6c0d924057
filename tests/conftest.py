"""What every test may use: the shared media, when they are there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

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
