"""What is not kept: answers of a cache that is off, or unwanted; random ones, no numbers, old ones, too many."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.integration.calls import PROTOCOLS, Answer, Array, ask, row
from tests.integration.harness import Server, import_model, serve
from tests.integration.onnx_models import affine, random_normal, reciprocal

WEIGHT = np.array([[2.0], [3.0]], dtype=np.float32)
BIAS = np.array([1.0], dtype=np.float32)


def computed_rows(server: Server) -> float:
    """Rows that the model has run on so far."""
    return server.metric("modelyard_batch_rows_sum", model=server.name)


def bypasses(server: Server) -> float:
    """Rows that went past the cache so far."""
    return server.metric("modelyard_cache_rows_total", model=server.name, result="bypass")


def check_bypassed(server: Server, x: Array, protocol: str, **more: Any) -> list[Answer]:
    """Ask three times for the same rows: each time the model computes them."""
    computed, bypassed = computed_rows(server), bypasses(server)
    answers = [ask(server, {"x": x}, protocol, **more) for _ in range(3)]
    assert [answer.cache for answer in answers] == ["bypass"] * 3
    assert computed_rows(server) - computed == 3 * len(x)
    assert bypasses(server) - bypassed == 3 * len(x)
    return answers


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the model `line`: y = 2 a + 3 b + 1."""
    folder = tmp_path_factory.mktemp("line")
    import_model(folder, "line", affine(WEIGHT, BIAS))
    return folder


def changed(repository: Path, folder: Path, cache: dict[str, Any]) -> None:
    """Copy `repository` to `folder`, with another cache section in model.yaml."""
    shutil.copytree(repository, folder, dirs_exist_ok=True)
    path = folder / "line" / "model.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "cache": cache}))


@pytest.mark.parametrize("by", ["model.yaml", "environment"])
def test_a_cache_that_is_off_is_bypassed(line: Path, tmp_path: Path, by: str) -> None:
    changed(line, tmp_path, {"enabled": by == "environment"})
    environment = {"MODELYARD_CACHE_ENABLED": "false"} if by == "environment" else {}
    with serve(tmp_path, "line", environment) as server:
        x = np.array([[1, 2], [3, 4], [1, 2]], dtype=np.float32)
        for protocol in PROTOCOLS:
            for answer in check_bypassed(server, x, protocol):
                np.testing.assert_array_equal(answer.only, x @ WEIGHT + BIAS)


def test_a_request_that_wants_no_cache_neither_reads_nor_fills_it(line: Path) -> None:
    with serve(line, "line", {"MODELYARD_CACHE_FACTOR": "0"}) as server:
        for number, protocol in enumerate(PROTOCOLS):
            x, unwanted = row(number, 5), {"parameters": {"cache": False}}
            check_bypassed(server, x, protocol, **unwanted)
            assert ask(server, {"x": x}, protocol).cache == "miss", "nothing was kept"
            check_bypassed(server, x, protocol, **unwanted)
            assert ask(server, {"x": x}, protocol).cache == "hit"
            wanted = ask(server, {"x": x}, protocol, parameters={"cache": True})
            assert wanted.cache == "hit", "the parameter is no part of the key"


def test_a_random_model_is_imported_without_cache(tmp_path: Path) -> None:
    import_model(tmp_path, "noise", random_normal())
    spec = yaml.safe_load((tmp_path / "noise" / "model.yaml").read_text())
    assert spec["cache"]["enabled"] is False
    with serve(tmp_path, "noise") as server:
        for protocol in PROTOCOLS:
            answers = check_bypassed(server, row(1, 2, 3, 4), protocol)
            assert len({answer.only.tobytes() for answer in answers}) == 3


@pytest.fixture(scope="module")
def inverse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of y = 1 / x with the cache on."""
    folder = tmp_path_factory.mktemp("repository")
    import_model(folder, "inverse", reciprocal())
    with serve(folder, "inverse") as server:
        yield server


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("bad", [float("nan"), 0.0], ids=["nan", "infinity"])
def test_answers_that_are_no_numbers_are_given_but_not_kept(inverse: Server, bad: float, protocol: str) -> None:
    number = 2.0 if protocol == "http" else 4.0
    good = number + 64 * np.isnan(bad)
    x = np.array([[good, 1, 1, 1], [1, good, bad, 1]], dtype=np.float32)
    with np.errstate(divide="ignore"):
        expected = np.float32(1) / x
    for turn, (said, rows) in enumerate((("miss", 2), ("partial", 1), ("partial", 1))):
        before = computed_rows(inverse)
        answer = ask(inverse, {"x": x}, protocol)
        np.testing.assert_array_equal(answer.only, expected)
        assert answer.cache == said, f"turn {turn}"
        assert computed_rows(inverse) - before == rows
    mate = ask(inverse, {"x": x[:1]}, protocol)
    assert mate.cache == "hit", "the row beside it is kept"


def test_what_is_old_or_too_much_is_dropped(line: Path, tmp_path: Path) -> None:
    """The memory tier keeps within its bytes, and a row no longer than its time to live."""
    bound, ttl = 64 * 1024, 2.0

    changed(line, tmp_path, {"ttl_seconds": ttl})
    with serve(tmp_path, "line", {"MODELYARD_CACHE_MEMORY_BYTES": str(bound)}) as server:
        many = np.arange(2048, dtype=np.float32).reshape(32, 32, 2)
        for x in many:
            np.testing.assert_array_equal(ask(server, {"x": x}, "grpc").only, x @ WEIGHT + BIAS)
        assert 0 < server.metric("modelyard_cache_bytes") <= bound
        evicted = server.metric("modelyard_cache_evictions_total")
        assert 0 < evicted < 32 * 32
        began = time.monotonic()
        assert ask(server, {"x": many[0]}, "grpc").cache == "miss", "the oldest were pushed out"
        assert ask(server, {"x": many[0]}, "grpc").cache == "hit" or time.monotonic() - began > ttl
        time.sleep(max(0.0, began + ttl + 0.5 - time.monotonic()))
        assert ask(server, {"x": many[0]}, "grpc").cache == "miss", "its time is over"
