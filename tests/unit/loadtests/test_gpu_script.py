"""`python -m loadtests.gpu` from end to end: without a GPU, and with the fake one of tests/fakes.

What the fake device answers is right, since it computes on the CPU; how long it takes means nothing and is not asked.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from loadtests.bench.core import DOCS, ROOT

FAKES = ROOT / "tests" / "fakes"
SHORT = ("--quick", "--rounds", "1", "--seconds", "2", "--model", "mlp")  # on a busy machine an answer may take long
# it starts a process for each subject, and servers: much of it is the imports of torch and of the server
pytestmark = [pytest.mark.timeout(400), pytest.mark.flaky(reruns=1)]  # real clocks: as the integration tests


def _run(tmp_path: Path, *only: str, **environment: str) -> tuple[int, str, dict[str, Any]]:
    """Exit status, what was said, gpu.json."""
    options = [part for word in only for part in ("--only", word)]
    done = subprocess.run(
        [sys.executable, "-m", "loadtests.gpu", *SHORT, "--out", str(tmp_path), *options],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=380,
        check=False,
        env={**os.environ, "PYTHONPATH": "", **environment},
    )
    path = tmp_path / "benchmarks" / "gpu.json"
    assert path.exists(), done.stderr[-2000:]
    return done.returncode, done.stdout, json.loads(path.read_text())


def _fake(tmp_path: Path, **faults: Any) -> dict[str, str]:
    """The environment of a process with a fake GPU."""
    file = tmp_path / "faults.json"
    file.write_text(json.dumps({"report": str(tmp_path / "report.jsonl"), **faults}))
    return {"PYTHONPATH": str(FAKES), "FAKE_GPU": str(file)}


def test_without_a_gpu_it_says_what_could_not_run_and_that_is_no_failure(tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in DOCS.rglob("*")}
    status, said, document = _run(tmp_path, "fp32", CUDA_VISIBLE_DEVICES="")
    assert status == 0
    assert document["direct"] == document["served"] == document["checks"] == []
    assert document["device"]["absent"]
    names = {failure["name"] for failure in document["failures"]}
    assert {"torch eager fp32", "torch.compile fp32", "ONNX Runtime CUDA fp32", "TensorRT fp32"} <= names
    assert {"server, onnxruntime-cuda fp32", "server, tensorrt fp32"} <= names
    assert all(failure["reason"] and failure["reason"] in said for failure in document["failures"])
    assert "Nothing was measured on a GPU" in said
    assert before == {path: path.stat().st_mtime_ns for path in DOCS.rglob("*")}


def test_with_a_gpu_it_builds_checks_and_times_in_process_and_through_the_server(tmp_path: Path) -> None:
    status, said, document = _run(tmp_path, "TensorRT fp32", "CUDA fp16", **_fake(tmp_path))
    assert status == 0, said
    assert document["failures"] == [], said
    cells = {(cell["name"], cell["batch"]) for cell in document["direct"]}
    assert cells == {(name, batch) for name in ("TensorRT fp32", "ONNX Runtime CUDA fp16") for batch in (1, 32)}
    for cell in document["direct"]:
        assert cell["calls"] >= 10
        assert 0 < cell["p50"] <= cell["p99"]
        assert cell["rate"] > 0
        assert len(cell["rates"]) == len(cell["rounds"]) == 1
    ways = {(cell["name"], cell["face"], cell["connections"]) for cell in document["served"]}
    assert ways == {("server, tensorrt fp32", face, count) for face in ("oip-binary", "oip-grpc") for count in (1, 32)}
    assert all(cell["errors"] == 0 and cell["requests"] for cell in document["served"])
    for check in document["checks"]:
        assert check["right"]
        assert check["largest"] < (1e-5 if "fp32" in check["name"] else 1e-2)
    assert {check["how"] for check in document["checks"]} == {"in process", "oip-binary", "oip-grpc"}
    engine = next(load for load in document["loads"] if load["name"] == "TensorRT fp32")
    assert set(engine["build"]) == {"cold", "cached"}
    assert engine["memory_bytes"] > 0
    assert "Fake" in document["device"]["name"]
    assert {"tensorrt", "onnxruntime", "CUDA of the driver"} <= set(document["versions"])
    assert document["taken"]["rounds"] == 1
    reports = [json.loads(line) for line in (tmp_path / "report.jsonl").read_text().splitlines()]
    assert [report["violations"] for report in reports if report["violations"]] == []
    assert any(report["counts"] for report in reports)


def test_wrong_answers_are_the_only_failure_and_are_not_timed(tmp_path: Path) -> None:
    status, said, document = _run(tmp_path, "TensorRT fp32", **_fake(tmp_path, wrong_answers=True))
    assert status == 1
    assert "WRONG" in said
    assert not any(check["right"] for check in document["checks"])
    assert document["direct"] == document["served"] == []
    reasons = {failure["name"]: failure["reason"] for failure in document["failures"]}
    assert reasons == {"server, tensorrt fp32": "TensorRT fp32 answers wrong"}


def test_a_subject_that_crashes_takes_nothing_with_it(tmp_path: Path) -> None:
    faults = _fake(tmp_path, build={"fail": "crash"})
    status, _, document = _run(tmp_path, "TensorRT fp32", "CUDA fp16", **faults)
    assert status == 0
    assert {cell["name"] for cell in document["direct"]} == {"ONNX Runtime CUDA fp16"}
    reasons = {failure["name"]: failure["reason"] for failure in document["failures"]}
    assert "SIG" in reasons["TensorRT fp32"]
    assert reasons["server, tensorrt fp32"] == reasons["TensorRT fp32"]
