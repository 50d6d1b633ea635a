"""An engine runs in a child before anybody serves with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelyard.backends.engine import maker
from modelyard.backends.engine.maker import BuildFailed, ModelRefused
from modelyard.spec import TensorSpec
from tests.unit.backends.engine.fake_gpu import FakeGpu, Wish


def test_an_engine_that_faults_is_not_published_and_one_that_is_there_is_tried_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu, wish = FakeGpu(tmp_path, monkeypatch), Wish(tmp_path)
    gpu.set(execute={"error": 700})
    with pytest.raises(BuildFailed, match="700"):
        wish.ensure()
    assert wish.store.find(wish.key()) is None
    gpu.set()
    wish.ensure()
    maker.try_plan(wish.store, wish.key(), wish.spec, wish.backend, wish.stop)
    gpu.set(execute={"error": 700})
    with pytest.raises(BuildFailed, match="700") as caught:
        maker.try_plan(wish.store, wish.key(), wish.spec, wish.backend, wish.stop)
    assert caught.value.kind == "plan"


def test_a_trial_says_what_it_failed_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu, wish = FakeGpu(tmp_path, monkeypatch), Wish(tmp_path)
    wish.ensure()
    faults: tuple[tuple[dict[str, Any], str], ...] = (
        ({"calls": {"cudaStreamCreateWithFlags": 46}}, "other"),  # another process has the device for itself
        ({"calls": {"cudaGetDeviceCount": 999}}, "other"),
        ({"driver": False}, "other"),
        ({"plan": "corrupt"}, "plan"),
    )
    for fault, kind in faults:
        gpu.set(**fault)
        with pytest.raises(BuildFailed) as caught:
            maker.try_plan(wish.store, wish.key(), wish.spec, wish.backend, wish.stop)
        assert caught.value.kind == kind, fault


def test_only_a_crash_of_its_own_is_held_against_the_plan() -> None:
    kinds = {status: maker._ended(status, "ended").kind for status in (-11, -6, -9, -15, 1)}
    assert kinds == {-11: "crash", -6: "crash", -9: "memory", -15: "other", 1: "other"}


def test_an_engine_that_no_lane_can_run_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu, wish = FakeGpu(tmp_path, monkeypatch), Wish(tmp_path)
    gpu.set(data_dependent=["y"])
    for _ in range(2):
        with pytest.raises(ModelRefused, match=r"'y' depends on the data"):
            wish.ensure()
        assert gpu.count("builds") == 1
    assert wish.store.entries() == []


def test_an_engine_of_another_type_than_model_yaml_says_is_built_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu, wish = FakeGpu(tmp_path, monkeypatch), Wish(tmp_path)
    whole = (TensorSpec(name="y", datatype="INT32", shape=(-1, 3)),)
    wish.spec = wish.spec.model_copy(update={"outputs": whole})
    for _ in range(2):
        with pytest.raises(ModelRefused, match=r"'y' is INT32, the engine has FP32"):
            wish.ensure()
        assert gpu.count("builds") == 1
