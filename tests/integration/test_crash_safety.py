"""kill -9 at every point of a command, and many commands at once: the repository loads, and nothing is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.integration.harness import clean_environment, import_model, modelyard
from tests.integration.onnx_models import affine

PROJECT = Path(__file__).resolve().parents[2]
LEAST_POINTS = {"promote": 15, "rollback": 15, "candidate": 15, "publish": 40, "export": 40, "import": 40}
LEAST_POINTS |= {"pack": 30, "unpack": 60, "unpack-beside": 60}


def drive(*arguments: str | Path) -> dict[str, Any]:
    """Run the driver; its findings."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.crash_driver", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=600,
        cwd=PROJECT,
        env=clean_environment(),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.timeout(600)
@pytest.mark.parametrize("scenario", LEAST_POINTS)
def test_a_kill_at_any_point_leaves_a_repository_that_loads(scenario: str, tmp_path: Path) -> None:
    result = drive("kill", scenario, tmp_path / "work")
    assert result["faults"] == []
    assert result["points"] >= LEAST_POINTS[scenario], "the points are where the command touches the repository"
    assert result["end"] == "new", "the command that nobody killed did its work"
    assert result["found"][0] == "old"
    assert "new" in result["found"], "some kills come after the change"
    assert result["found"] == sorted(result["found"], reverse=True), "first the old state, from one point on the new"


@pytest.mark.timeout(300)
def test_writers_at_once_and_killed_writers_lose_no_change(tmp_path: Path) -> None:
    result = drive("race", tmp_path / "work")
    assert result["told"] == 100
    assert result["lost"] == []
    assert result["invented"] == []
    assert result["reads"] > 0
    assert result["chain"], "each change follows the one before it"
    assert result["killed"] == 60
    assert result["served"] in {"1", "2", "3"}


def test_two_promotes_at_once_both_stand_in_the_history(tmp_path: Path) -> None:
    for version in ("1", "2", "3"):
        model = affine(np.eye(2, dtype=np.float32) * float(version), np.zeros(2, np.float32))
        import_model(tmp_path, "scaled", model, version)
    with ThreadPoolExecutor(2) as pool:
        for _ in range(3):
            ends = list(pool.map(lambda v: modelyard("promote", "scaled", v, "--repository", tmp_path), ("1", "2")))
            assert [end.code for end in ends] == [0, 0], ends
    told = json.loads(modelyard("history", "scaled", "--json", "--repository", tmp_path).out)
    changes = told["changes"]
    assert told["stable"] == changes[-1]["version"]
    assert all(later["before"] == earlier["version"] for earlier, later in pairwise(changes))
    assert len(changes) >= 4, "of two at once one may find its version stable already, never both"
