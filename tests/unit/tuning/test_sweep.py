"""Load on a real, small model."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from modelyard.errors import ConfigurationError
from modelyard.importer import import_onnx
from modelyard.repository import load_model
from modelyard.settings import Settings
from modelyard.tensors import Tensor
from modelyard.tuning.grid import Setting
from modelyard.tuning.sweep import Sweep
from tests.integration import onnx_models

GRID = [Setting(0.0, 1, 4), Setting(0.0, 2, 8)]


def request(index: int) -> list[Tensor]:
    return [Tensor("index", "INT64", np.array([[index]]))]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    source = tmp_path / "source.onnx"
    source.write_bytes(onnx_models.gather_table(10).SerializeToString())
    import_onnx(source, "m", tmp_path / "models")
    return tmp_path / "models"


def sweep_of(repository: Path, requests: list[list[Tensor]]) -> Sweep:
    model = load_model(repository, "m")
    return Sweep(model.versions["1"], Settings(cache_enabled=False), requests, GRID)


async def test_every_cell_is_measured_in_every_round(repository: Path) -> None:
    sweep = sweep_of(repository, [request(1), request(2)])
    slices = []
    await sweep.try_out()
    results = await sweep.measure(GRID, [1, 3], 0.03, lambda: slices.append(1))
    sweep.close()
    assert set(results) == {(setting, level) for setting in GRID for level in (1, 3)}
    assert len(slices) == len(results) * 3
    for tally in results.values():
        assert tally.requests > 0
        assert tally.errors == 0
        assert 0.03 <= tally.seconds < 1
        assert 0 < tally.p50_ms <= tally.p99_ms


async def test_it_stops_when_it_is_told(repository: Path) -> None:
    sweep = sweep_of(repository, [request(1)])
    results = await sweep.measure(GRID, [2], 0.03, lambda: setattr(sweep, "stopped", True))
    sweep.close()
    assert len(results) == 1


async def test_it_stops_within_a_slice(repository: Path) -> None:
    sweep = sweep_of(repository, [request(1)])
    asyncio.get_running_loop().call_later(0.1, lambda: setattr(sweep, "stopped", True))
    results = await asyncio.wait_for(sweep.measure(GRID, [2], 600.0, lambda: None), 10)
    sweep.close()
    assert sum(tally.requests for tally in results.values()) > 0


async def test_inputs_that_the_model_refuses_are_said_before_measuring(repository: Path) -> None:
    sweep = sweep_of(repository, [request(99)])
    with pytest.raises(ConfigurationError, match="--dim"):
        await sweep.try_out()
    sweep.close()


async def test_failing_requests_are_counted_apart(repository: Path) -> None:
    sweep = sweep_of(repository, [request(1), request(99)])
    results = await sweep.measure(GRID[:1], [1], 0.03, lambda: None)
    sweep.close()
    (tally,) = results.values()
    assert tally.errors > 0
    assert tally.requests > 0
