"""The watch over runs: not ready while one hangs, lost when it hangs for good, and what the gauges show of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from modelyard.repository import LoadedVersion
from modelyard.watch import BackendWatch
from tests.unit.strategies import metric


class Chain:
    def __init__(self) -> None:
        self.active = SimpleNamespace(name="tensorrt", precision="fp16")
        self.degraded = ""
        self.sufficient = True
        self.hangs: list[bool] = []
        self.lost = ""

    def hang(self, *, hangs: bool) -> None:
        self.hangs.append(hangs)

    def lose(self, why: str) -> None:
        self.lost = why


def watched(chain: Chain, seconds: float = 10.0) -> BackendWatch:
    loaded: Any = SimpleNamespace(
        chain=chain,
        version="1",
        spec=SimpleNamespace(name="watched"),
        manifest=SimpleNamespace(digest="0123456789abcdef"),
    )
    return BackendWatch(cast("LoadedVersion", loaded), seconds)


def test_a_run_that_takes_too_long_hangs_until_it_comes_back() -> None:
    chain = Chain()
    watch = watched(chain)
    for age in (0.0, 9.0, 11.0, 12.0, 0.0):
        watch.settle(age)
    assert chain.hangs == [True, False]
    assert chain.lost == ""


def test_a_run_that_never_comes_back_is_the_end_of_the_process() -> None:
    chain = Chain()
    watched(chain).settle(20.5)
    assert "20 s" in chain.lost


def test_the_gauge_of_readiness_says_what_the_probes_say() -> None:
    chain = Chain()
    watch = watched(chain)
    assert metric("model_ready", model="watched", version="1") == 1
    chain.sufficient = False
    watch.settle(0.0)
    assert metric("model_ready", model="watched", version="1") == 0
    chain.sufficient = True
    watch.close()
    watch.settle(0.0)
    assert metric("model_ready", model="watched", version="1") == 0


def test_without_a_limit_nothing_hangs() -> None:
    chain = Chain()
    watched(chain, 0.0).settle(1e6)
    assert chain.hangs == []
    assert metric("backend_run_age_seconds", model="watched", version="1") == 1e6


@pytest.mark.parametrize("degraded", ["", "tensorrt: no driver"])
def test_the_gauges_follow_the_active_backend(degraded: str) -> None:
    chain = Chain()
    watch = watched(chain)
    labels = {"model": "watched", "version": "1", "digest": "0123456789ab"}
    assert metric("model_info", backend="tensorrt", precision="fp16", **labels) == 1
    chain.active = SimpleNamespace(name="onnxruntime-cpu", precision="fp32")
    chain.degraded = degraded
    watch.settle(0.0)
    assert metric("model_info", backend="tensorrt", precision="fp16", **labels) == 0
    assert metric("model_info", backend="onnxruntime-cpu", precision="fp32", **labels) == 1
    assert metric("backend_degraded", model="watched", version="1") == bool(degraded)
    watch.close()
    assert metric("model_info", backend="onnxruntime-cpu", precision="fp32", **labels) == 0
    assert metric("model_ready", model="watched", version="1") == 0
