"""What these tests share: a model folder, and no time spent on measuring."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard.lifecycle import compare
from tests.unit.lifecycle.models import write_spec


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "MOST_RUNS", compare.LEAST_RUNS)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model folder without a version."""
    return write_spec(tmp_path)
