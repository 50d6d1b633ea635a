"""The load test passes on a healthy service, and fails by each threshold for a real cause, with the right message."""

from __future__ import annotations

import re
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.integration.calls import until
from tests.integration.families import family
from tests.integration.harness import Server, free_port, serve
from tests.integration.load_runs import KINDS, PATIENT, against, drop_golden, rewrite, run, start, with_wrong_labels

FILES = ("report.html", "summary.json", "summary.txt", "requests.csv", "failures.csv", "history.csv", "locust.json")
NAMES = [f"wine {kind}" for kind in KINDS]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return family("wine", tmp_path_factory)


@pytest.fixture(scope="module")
def wine(repository: Path) -> Iterator[Server]:
    with serve(repository, "wine") as server:
        yield server


def version_of(repository: Path) -> Path:
    return max((repository / "wine" / "versions").iterdir(), key=lambda path: int(path.name))


def test_it_starts_a_service_asks_it_in_every_way_and_passes(repository: Path, tmp_path: Path) -> None:
    done = run(tmp_path, "--model", "wine", "--repository", repository, "-t", "6s", "--shape", "step")
    assert done.code == 0, done.out
    assert "every threshold held" in done.out
    assert done.out.rstrip().endswith("exit code 0")
    assert f"report: {tmp_path}/report.html" in done.out
    assert list(done.answered()) == NAMES
    assert all(count > 5 for count in done.answered().values())
    thresholds = {verdict["threshold"]: verdict for verdict in done.summary["thresholds"]}
    assert {"error ratio", "achieved / target", "wrong answers", "accuracy"} < set(thresholds)
    assert all(verdict["held"] for verdict in thresholds.values())
    for name in FILES:
        assert (tmp_path / name).stat().st_size > 0, name
    assert "wine grpc" in (tmp_path / "report.html").read_text()
    assert re.search(r"^typed,wine typed,\d+,0,", (tmp_path / "requests.csv").read_text(), re.MULTILINE)
    assert "accuracy" in (tmp_path / "summary.txt").read_text()


def test_prometheus_can_follow_a_run(wine: Server, repository: Path, tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/metrics"

    def answered() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=5) as reply:
                text = reply.read().decode()
        except OSError:
            return False
        found = re.search(r'^modelyard_loadtest_requests_total\{.*"good".*"json".*\} (\d+)', text, re.MULTILINE)
        return found is not None and int(found[1]) > 0 and "modelyard_loadtest_users 20.0" in text

    arguments = [*PATIENT, *against(wine, repository), "-t", "60s", "--reports", tmp_path, "--metrics-port", str(port)]
    with start(*arguments) as process:
        until(answered, "figures of a run under way", 50)
        process.terminate()  # what was measured so far is judged and shown
        out, _ = process.communicate(timeout=60)
    assert "accuracy" in out
    assert (tmp_path / "summary.json").exists()


def test_a_slow_answer_and_a_target_out_of_reach_are_named(wine: Server, repository: Path, tmp_path: Path) -> None:
    limits = ["--p99", "30000,wine grpc=0.001", "--users", "4", "--rate", "1000000", "--achieved", "0.98"]
    done = run(tmp_path, *against(wine, repository), "-t", "3s", *limits)
    assert done.code == 1, done.out
    p99, achieved = done.broken
    assert re.fullmatch(r"p99 of wine grpc: wanted at most 0.001 ms, measured [\d.]+ ms", p99)
    assert re.match(
        r"achieved / target: wanted at least 0.98, measured 0\.\d+ \([\d,]+ answered of [\d,]+ due\)", achieved
    )


def test_a_service_that_refuses_breaks_the_error_ratio(repository: Path, tmp_path: Path) -> None:
    settings = {"MODELYARD_API_KEYS": "alice:key-of-alice-123", "MODELYARD_TENANT_REQUESTS_PER_SECOND": "5"}
    key = {"LOADTEST_API_KEY": "key-of-alice-123"}
    with serve(repository, "wine", env=settings) as server:
        done = run(tmp_path, *against(server, repository), "-t", "4s", "--rate", "100", env=key)
    assert done.code == 1, done.out
    assert sum(done.answered().values()) > 0, done.out
    (line,) = [line for line in done.broken if line.startswith("error ratio")]
    assert re.match(r"error ratio: wanted at most 0.100%, measured [\d.]+% \([\d,]+ of [\d,]+\)", line)
    assert "status 429" in done.out
    assert "RESOURCE_EXHAUSTED" in done.out
    assert "key-of-alice" not in done.out + "".join((tmp_path / name).read_text() for name in FILES)


def test_answers_that_are_not_the_truth_break_the_accuracy(wine: Server, repository: Path, tmp_path: Path) -> None:
    shutil.copytree(repository, tmp_path / "models")
    rewrite(version_of(tmp_path / "models"), "evaluation.npz", with_wrong_labels)
    done = run(tmp_path / "run", *against(wine, tmp_path / "models"), "-t", "4s")
    assert done.code == 1, done.out
    (line,) = done.broken
    assert re.match(
        r"accuracy: wanted at least 0\.\d+ \(the export measured 0\.\d+\), measured 0\.\d+ on \d+ of 60", line
    )


def another_model(path: Path) -> None:
    """The same inputs and outputs, and for every wine the same answer."""
    label = numpy_helper.from_array(np.zeros(1, np.int64), "zero")
    probabilities = numpy_helper.from_array(np.array([[1, 0, 0]], np.float32), "sure")
    nodes = [
        helper.make_node("Shape", ["features"], ["rows"], end=1),
        helper.make_node("Expand", ["zero", "rows"], ["label"]),
        helper.make_node("Slice", ["features", "start", "end", "axis"], ["three"]),
        helper.make_node("Mul", ["three", "nothing"], ["zeros"]),
        helper.make_node("Add", ["zeros", "sure"], ["probabilities"]),
    ]
    bounds = [
        numpy_helper.from_array(np.array([value]), name) for name, value in (("start", 0), ("end", 3), ("axis", 1))
    ]
    nothing = numpy_helper.from_array(np.array(0, np.float32), "nothing")
    graph = helper.make_graph(
        nodes,
        "another",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", 13])],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, ["n"]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 3]),
        ],
        [label, probabilities, nothing, *bounds],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)


def test_another_model_under_the_same_version_gives_wrong_answers(repository: Path, tmp_path: Path) -> None:
    shutil.copytree(repository, tmp_path / "models")
    rewrite(version_of(tmp_path / "models"), "model.onnx", another_model)
    drop_golden(version_of(tmp_path / "models"))
    with serve(tmp_path / "models", "wine") as server:
        done = run(tmp_path / "run", *against(server, repository), "-t", "4s")
    assert done.code == 1, done.out
    assert any(line.startswith("wrong answers: wanted at most 0.000%") for line in done.broken), done.out
    assert "of a golden row is not as published" in done.out


def test_another_version_than_the_expected_one_gives_wrong_answers(
    wine: Server, repository: Path, tmp_path: Path
) -> None:
    shutil.copytree(repository, tmp_path / "models")
    version = version_of(tmp_path / "models")
    later = version.rename(version.with_name("77"))
    manifest = later / "manifest.json"
    manifest.write_text(re.sub(r'"version": "\d+"', '"version": "77"', manifest.read_text(), count=1))
    done = run(tmp_path / "run", *against(wine, tmp_path / "models"), "-t", "2s")
    assert done.code == 1, done.out
    assert re.search(r"version \d+ answered, the rows are of version 77", done.out)
    assert any(line.startswith("wrong answers") for line in done.broken), done.out


def test_a_host_where_nobody_answers_breaks_the_requests(repository: Path, tmp_path: Path) -> None:
    nobody = ["--host", f"http://127.0.0.1:{free_port()}", "--grpc", f"127.0.0.1:{free_port()}", "--timeout", "2"]
    done = run(tmp_path, "--model", "wine", "--repository", repository, *nobody, "-t", "4s")
    assert done.code == 1, done.out
    assert [f"requests of {name}: wanted at least 1 answered, measured 0 answered" for name in NAMES] == done.broken[:4]
    assert any(line.startswith("error ratio: wanted at most 0.100%, measured 100.000%") for line in done.broken)
