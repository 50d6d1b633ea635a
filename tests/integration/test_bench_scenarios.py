"""The scenarios of the benchmark against real servers, for seconds: their results are filled, wrong answers are found.

What is measured in so short a time says nothing of speed; nothing here asks for any.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from loadtests.bench import cache_curve, core, hangover, observe, open_loop, ours, overload, soak
from loadtests.bench.open_loop import Plan
from modelyard.authoring.ports import free_port


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Repositories and logs of the test alone: a benchmark may be running."""
    monkeypatch.setattr(ours, "REPOSITORIES", tmp_path / "repositories")
    monkeypatch.setattr(observe, "LOGS", tmp_path / "logs")
    ours.repository.cache_clear()
    yield
    ours.repository.cache_clear()


@pytest.fixture
def wrong_echo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers of `echo` that add a hundredth too much to the last value of a row."""
    added = np.ones(64, np.float32)
    added[-1] += 0.01
    weights = [numpy_helper.from_array(np.array([2.0], np.float32), "two"), numpy_helper.from_array(added, "added")]
    nodes = [helper.make_node("Mul", ["x", "two"], ["doubled"]), helper.make_node("Add", ["doubled", "added"], ["y"])]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 64]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "echo", ends[:1], ends[1:], weights)
    path = tmp_path / "wrong.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    monkeypatch.setattr(observe, "model_path", lambda _: path)


def test_overload_of_a_real_server_gives_right_answers_and_refuses_the_rest(tmp_path: Path) -> None:
    result = overload.run(2.0, (3.0,), ("queue",), calm=1.0, peak_seconds=1.0)
    (case,) = result["cases"]
    (load,) = case["loads"]
    assert case["wrong"] == 0
    assert case["peak"]["rate"] > 0
    assert load["offered"] == pytest.approx(2 * 3 * case["peak"]["rate"], rel=0.3)
    assert sum(load["counts"].values()) == load["offered"]
    assert load["counts"]["ok"] > 0
    assert load["counts"]["refused"] > 0
    assert load["counts"]["failed"] == load["counts"]["broken"] == 0
    assert load["latency"]["refused"]["count"] == load["counts"]["refused"]
    assert load["probes"]["count"] > 0
    assert load["memory"]["rows"]
    assert case["recovery"]["p99_after"] > 0
    _said(overload, result, tmp_path)


def test_soak_of_a_real_server_finds_every_answer_right(tmp_path: Path) -> None:
    result = soak.run(3.0, share=0.3, peak_seconds=1.0)
    counts = result["counts"]
    assert counts["ok"] > 0
    assert {name: counts[name] for name in ("wrong", "failed", "broken", "lost")} == dict.fromkeys(
        ("wrong", "failed", "broken", "lost"), 0
    )
    assert set(result["lanes"]) == {"oip-json", "oip-binary", "oip-grpc"}
    assert all(lane.get("ok", 0) > 0 for lane in result["lanes"].values())
    assert result["cache_rows"]["hit_memory"] > 0
    assert len(result["held"]) >= 3
    assert all(row["series"] for row in result["held"])
    assert result["trend"]["fds"]["first"] > 0
    assert set(result["lane_latency"]) == set(result["front"]["lane_latency"]) == set(result["lanes"])
    assert result["front"]["counts"]["ok"] > 0
    bars = {bar.name: bar.held for bar in soak.bars(result)}
    assert bars["soak: wrong answers"]
    assert bars["soak: growth of memory after the warm-up"] is None  # not after three seconds
    _said(soak, result, tmp_path)


@pytest.mark.usefixtures("wrong_echo")
def test_soak_of_a_wrong_server_finds_every_answer_wrong(tmp_path: Path) -> None:
    result = soak.run(2.0, share=0.3, peak_seconds=1.0)
    assert result["counts"]["ok"] == 0
    assert result["counts"]["wrong"] == result["offered"] > 0
    assert set(result["lanes"]) == {"oip-json", "oip-binary", "oip-grpc"}
    assert any(text.startswith("wrong answer by oip-") for text in result["errors"])
    assert not {bar.name: bar.held for bar in soak.bars(result)}["soak: wrong answers"]
    _said(soak, result, tmp_path)


@pytest.mark.usefixtures("wrong_echo")
def test_a_wrong_answer_ends_the_hangover() -> None:
    with pytest.raises(RuntimeError, match="answered"):
        hangover.run(0.5, 0.5, 1, ("echo",))


def test_hangover_of_a_real_server(tmp_path: Path) -> None:
    result = hangover.run(1.0, 0.3, 1, ("echo",))
    (case,) = result["cases"]
    assert case["ratio"] > 0
    assert case["rounds"][0]["crowd"]["counts"]["ok"] > 0
    _said(hangover, result, tmp_path)


def test_cache_curve_with_real_servers_and_a_real_redis(tmp_path: Path) -> None:
    result = cache_curve.run(cache_curve.Scale(0.1, 4, 4), ("dial_100us",), (0.0, 0.5))
    cells = result["cells"]
    assert [(cell["ratio"], cell["tier"]) for cell in cells] == [
        (ratio, tier) for ratio in (0.0, 0.5) for tier in ("memory", "redis", "none")
    ]
    assert all(cell["rate"] > 0 for cell in cells)
    assert [cell["hits"] for cell in cells if cell["ratio"] == 0.0 or cell["tier"] == "none"] == [0.0] * 4
    memory = next(cell for cell in cells if cell["ratio"] == 0.5 and cell["tier"] == "memory")
    # a server that finds the model too cheap on this machine keeps it out
    assert memory["kept_out"] or memory["hits"] == pytest.approx(0.5, abs=0.1)
    _said(cache_curve, result, tmp_path)


def test_a_load_generator_that_fails_says_why() -> None:
    nobody = core.Endpoint("oip-json", core.HOST, free_port(), "/v2/models/echo/infer", "echo")
    with pytest.raises(RuntimeError, match="ConnectionRefusedError"):
        open_loop.drive(Plan("echo", [nobody], 0.5, rate=10.0))


def _said(scenario: Any, result: dict[str, Any], folder: Path) -> None:
    """What the page shows of it can be made."""
    text = scenario.markdown(result)
    assert "| " in text
    assert "None" not in text
    assert scenario.bars(result)
    scenario.plot(result, folder / "plots" / "picture.png")
    assert (folder / "plots" / "picture.png").stat().st_size > 1000
