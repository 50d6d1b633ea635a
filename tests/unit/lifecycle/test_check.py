"""The checks of a version: what each says of a good one, and what makes each fail."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from modelyard.lifecycle import check as checks
from modelyard.lifecycle.check import CHECKS, Finding, Report, check
from modelyard.lifecycle.compare import Latency
from modelyard.lifecycle.versions import read_model
from modelyard.manifest import Interface
from tests.integration import onnx_models
from tests.unit.lifecycle.models import (
    INPUT,
    NAME,
    OUTPUT,
    X,
    add,
    named_output,
    spoil,
    tensors,
    without_interface,
    write_spec,
)


def checked(model: Path, version: str = "2", max_slowdown: float | None = None) -> Report:
    return check(read_model(model.parent, NAME), version, max_slowdown=max_slowdown)


def states(report: Report) -> dict[str, str]:
    return {finding.name: finding.state for finding in report.findings}


def finding(report: Report, name: str) -> Finding:
    return next(each for each in report.findings if each.name == name)


@pytest.fixture(autouse=True)
def _no_warning_of_a_slow_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "SLOWER", float("inf"))


def test_a_good_version_passes_every_check(model: Path) -> None:
    add(model, "1")
    add(model, "2", 3.0)
    report = checked(model)
    assert states(report) == dict.fromkeys(CHECKS, "ok")
    assert (report.beside, report.failed, len(report.latencies)) == ("1", [], 2)
    assert "2 files" in finding(report, "digest").text
    assert f"{len(X)} golden rows" in finding(report, "golden").text
    assert "row by row" in finding(report, "parity").text


def test_the_only_version_has_nothing_to_stand_beside(model: Path) -> None:
    add(model, "1")
    report = checked(model, "1")
    assert report.beside is None
    left_out = {name for name, state in states(report).items() if state == "left out"}
    assert left_out == {"interface", "latency"}
    assert report.failed == []


def test_changed_files_are_not_even_opened(model: Path) -> None:
    add(model, "1")
    spoil(add(model, "2"))
    report = checked(model)
    assert states(report) == {"digest": "failed"} | dict.fromkeys(CHECKS[1:], "left out")
    assert "sha256" in finding(report, "digest").text


def test_a_changed_interface_fails_and_is_told(model: Path) -> None:
    add(model, "1")
    write_spec(model.parent, outputs=[OUTPUT | {"name": "z"}])
    add(model, "2", rows=0, model=named_output("z"))
    report = checked(model)
    assert report.failed == ["interface"]
    assert "version 1" in finding(report, "interface").text
    assert "output 'y' is gone" in finding(report, "interface").text


def test_a_new_output_is_no_break(model: Path) -> None:
    add(model, "1")
    write_spec(model.parent, outputs=[OUTPUT, OUTPUT | {"name": "z"}])
    add(model, "2", rows=0, model=named_output("y", "z"))
    found = finding(checked(model), "interface")
    assert (found.state, "'z'" in found.text) == ("ok", True)


def test_versions_published_before_manifests_named_the_interface(model: Path) -> None:
    without_interface(add(model, "1"))
    without_interface(add(model, "2"))
    assert states(checked(model))["interface"] == "ok"


def test_wrong_golden_rows_fail(model: Path) -> None:
    add(model, "1")
    add(model, "2", 2.0, golden=2.5)
    report = checked(model)
    assert report.failed == ["golden"]
    assert "differs from the golden one" in finding(report, "golden").text
    assert states(report)["parity"] == "left out"


def test_a_version_without_golden_rows_is_loaded_all_the_same(model: Path) -> None:
    add(model, "1")
    add(model, "2", rows=0)
    report = checked(model)
    assert report.failed == []
    assert states(report)["golden"] == states(report)["parity"] == "left out"


def test_a_file_that_cannot_be_opened_fails(model: Path) -> None:
    add(model, "1")
    broken = onnx_models.affine(np.eye(2, dtype=np.float32), np.zeros(2, np.float32))
    broken.graph.node[0].op_type = "NoSuchOperator"
    add(model, "2", model=broken, interface=Interface(inputs=tensors(INPUT), outputs=tensors(OUTPUT)))
    assert checked(model).failed == ["golden"]


def test_rows_that_depend_on_each_other_fail_parity(model: Path) -> None:
    """y = x - mean of the rows, with golden rows that were made all at once."""
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["mean"], keepdims=1),
        helper.make_node("Sub", ["x", "mean"], ["y"]),
    ]
    value = onnx_models.value
    dependent = onnx_models.build(nodes, [value("x", "FP32", (-1, 2))], [value("y", "FP32", (-1, 2))])
    add(model, "1")
    add(model, "2", model=dependent, expected=X - X.mean())
    report = checked(model)
    assert report.failed == ["parity"]
    assert "in runs of 1 row" in finding(report, "parity").text


def test_a_variant_is_held_to_the_tolerance_of_its_number_format(model: Path) -> None:
    add(model, "1")
    add(model, "2", 2.0, golden=2.02, precision="int8")
    assert checked(model).failed == []


def test_a_neighbour_that_does_not_load_leaves_the_latency_out(model: Path) -> None:
    add(model, "1", 2.0, golden=2.5)
    add(model, "2")
    report = checked(model)
    assert report.failed == []
    assert finding(report, "latency") == Finding("latency", "left out", finding(report, "latency").text)
    assert "version 1 does not load" in finding(report, "latency").text


@pytest.mark.parametrize(
    ("ratio", "limit", "state"),
    [(1.0, None, "ok"), (9.0, None, "warning"), (9.0, 10.0, "warning"), (1.2, 1.1, "failed"), (0.5, 1.0, "ok")],
)
def test_slower_is_a_warning_or_a_failure_beyond_the_limit(
    model: Path, monkeypatch: pytest.MonkeyPatch, ratio: float, limit: float | None, state: str
) -> None:
    add(model, "1")
    add(model, "2")
    monkeypatch.setattr(checks, "SLOWER", 1.25)
    monkeypatch.setattr(checks, "latency", lambda *_: [Latency(1, 1.0, ratio)])
    report = checked(model, max_slowdown=limit)
    assert states(report)["latency"] == state
    assert report.failed == (["latency"] if state == "failed" else [])
    assert f"{ratio:.2f} times" in finding(report, "latency").text
