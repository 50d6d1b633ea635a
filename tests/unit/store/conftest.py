"""A model with versions on disk, and a store in memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard.store.remote import Remote
from tests.unit.lifecycle.models import add, write_spec
from tests.unit.store.memory_store import MemoryStore, new_remote


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Versions 1, 2, 3 of y = version * x."""
    folder = write_spec(tmp_path / "models")
    for version in ("1", "2", "3"):
        add(folder, version, float(version))
    return folder


@pytest.fixture(name="made")
def _made(monkeypatch: pytest.MonkeyPatch) -> tuple[MemoryStore, Remote]:
    """The child that looks at what comes is left out: it has tests of its own, and takes a second."""
    monkeypatch.setattr("modelyard.receiving.ask_child", lambda *_: {})
    return new_remote()


@pytest.fixture
def store(made: tuple[MemoryStore, Remote]) -> MemoryStore:
    return made[0]


@pytest.fixture
def remote(made: tuple[MemoryStore, Remote]) -> Remote:
    return made[1]
