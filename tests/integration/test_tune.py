"""`modelyard tune`: a sweep of real small models, what it prints, writes and refuses, and how it is interrupted."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.integration.harness import CommandResult, clean_environment, import_model, modelyard, serve
from tests.integration.onnx_models import identity, slow, two_inputs

MODEL_YAML = """\
# a busy model
name: busy
inputs:
    - {name: x, datatype: FP32, shape: [-1, 1]}   # one number
outputs:
    - {name: y, datatype: FP32, shape: [-1, 1]}
batching:
    max_batch_size: 16   # what callers rely on
    merge_rows: 1        # a poor choice

    # the cache comes next
cache: {enabled: true}
"""
QUICK = ("--seconds", "0.15", "--concurrency", "4,8", "--batch-sizes", "1,8", "--delays", "0", "--executors", "1")
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def repository(busy: Path) -> Path:
    """The model `busy` with the model.yaml above, whatever an earlier test wrote."""
    (busy / "busy" / "model.yaml").write_text(MODEL_YAML)
    return busy


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run takes 2 ms whatever the rows: merging pays."""
    repository = tmp_path_factory.mktemp("busy")
    import_model(repository, "busy", slow(2.0))
    return repository


def tune(repository: Path, folder: Path, *arguments: str | Path, name: str = "busy") -> CommandResult:
    env = {"MODELYARD_EXECUTORS": "2"}
    return modelyard("tune", name, "--repository", repository, *arguments, cwd=folder, env=env)


def refused(result: CommandResult, *words: str) -> None:
    """Exit code 1 and one clear line on stderr."""
    assert result.code == 1, result
    (line,) = result.err.splitlines()
    assert line.startswith("error: "), result.err
    for word in words:
        assert word in line


def test_what_is_found_is_shown_written_and_served(repository: Path, tmp_path: Path) -> None:
    figures, curves = tmp_path / "figures.json", tmp_path / "folder" / "curves.png"
    result = tune(repository, tmp_path, *QUICK, "--write", "--json", figures, "--plot", curves)
    assert result.code == 0, result.err
    assert result.err == ""
    for words in ("req/s", "p50 ms", "p99 ms", "at 8"):
        assert words in result.out
    assert "chosen: batches of up to 8, 1 thread, no delay" in result.out
    assert curves.read_bytes().startswith(PNG)

    document: dict[str, Any] = json.loads(figures.read_text())
    assert document["complete"]
    assert document["current"] == {"merge_rows": 1, "executors": 2, "max_queue_delay_ms": 0.0}
    assert document["chosen"] == {"merge_rows": 8, "executors": 1, "max_queue_delay_ms": 0.0}
    assert document["gain"][-1]["rate"] > 1.5
    assert {cell["concurrency"] for cell in document["cells"]} == {4, 8}
    assert all(cell["requests"] and not cell["errors"] for cell in document["cells"])

    expected = MODEL_YAML.replace("merge_rows: 1        #", "merge_rows: 8        #")
    expected = expected.replace("# a poor choice\n", "# a poor choice\n    executors: 1\n")
    assert (repository / "busy" / "model.yaml").read_text() == expected
    with serve(repository, "busy") as server:
        question = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 1], "data": [3.0, 4.0]}]}
        answer = httpx.post(f"{server.url}/v2/models/busy/infer", json=question, timeout=10)
        assert answer.status_code == 200
        assert answer.json()["outputs"][0]["data"] == [3.0, 4.0]


def test_nothing_is_written_unless_it_is_asked_for(repository: Path, tmp_path: Path) -> None:
    result = tune(repository, tmp_path, *QUICK)
    assert result.code == 0, result.err
    assert "merge_rows: 8" in result.out
    assert "--write" in result.out
    assert (repository / "busy" / "model.yaml").read_text() == MODEL_YAML
    assert (tmp_path / "build" / "tune" / "busy.png").read_bytes().startswith(PNG)


def test_a_limit_that_nothing_keeps_is_an_error_after_the_table(repository: Path, tmp_path: Path) -> None:
    result = tune(repository, tmp_path, *QUICK, "--write", "--p99-ms", "0.01")
    refused(result, "p99", "0.01 ms")
    assert "req/s" in result.out
    assert (repository / "busy" / "model.yaml").read_text() == MODEL_YAML


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--batch-sizes", "1,two"], "--batch-sizes"),
        (["--batch-sizes", "0"], "--batch-sizes"),
        (["--executors", "3"], "MODELYARD_EXECUTORS"),
        (["--delays", "nan"], "--delays"),
        (["--concurrency", "0"], "--concurrency"),
        (["--seconds", "0"], "--seconds"),
        (["--rows", "17"], "--rows"),
        (["--p99-ms", "-1"], "--p99-ms"),
        (["--dim", "x=4"], "--dim"),
        (["--model-version", "9"], "version '9'"),
        (["--plot", "."], "cannot be written"),
        (["--json", "/dev/null/figures.json"], "/dev/null"),
    ],
)
def test_a_bad_option_is_one_clear_line(repository: Path, tmp_path: Path, arguments: list[str], word: str) -> None:
    result = tune(repository, tmp_path, *QUICK[:2], "--write", *arguments)
    refused(result, word)
    assert (repository / "busy" / "model.yaml").read_text() == MODEL_YAML


def test_an_unknown_model_and_wrong_usage(repository: Path, tmp_path: Path) -> None:
    refused(tune(repository, tmp_path, name="nobody"), "nobody")
    wrong = tune(repository, tmp_path, "--seconds", "long")
    assert wrong.code == 2
    assert "Traceback" not in wrong.err


def test_an_interrupt_shows_what_is_measured_and_writes_nothing(repository: Path, tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    command = [sys.executable, "-m", "modelyard", "tune", "busy", "--repository", str(repository), "--write"]
    command += ["--seconds", "0.9", "--concurrency", "4", "--json", str(figures)]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=clean_environment({"MODELYARD_EXECUTORS": "2"}),
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if "Ctrl-C" in line:
                break
        with pytest.raises(subprocess.TimeoutExpired):  # some slices of 0.3 s
            process.wait(1.5)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait(10)
    assert process.returncode == 130, err
    assert err == ""
    assert "req/s" in out
    assert "nothing is chosen: it was interrupted" in out
    document = json.loads(figures.read_text())
    assert not document["complete"]
    assert document["chosen"] is None
    assert document["cells"]
    assert (repository / "busy" / "model.yaml").read_text() == MODEL_YAML


def test_without_a_batch_dimension_threads_alone_are_swept(tmp_path: Path) -> None:
    def alone(spec: dict[str, Any]) -> None:
        spec["batching"]["max_batch_size"] = 0

    import_model(tmp_path, "pair", two_inputs(), edit=alone)
    figures = tmp_path / "figures.json"
    arguments = ("--seconds", "0.03", "--concurrency", "2", "--json", figures)
    result = tune(tmp_path, tmp_path, *arguments, name="pair")
    assert result.code == 0, result.err
    cells = json.loads(figures.read_text())["cells"]
    assert [(cell["merge_rows"], cell["executors"]) for cell in cells] == [(0, 1), (0, 2)]
    refused(tune(tmp_path, tmp_path, *arguments, "--delays", "2", name="pair"), "no batch dimension")


def test_free_dimensions_are_said_or_chosen(tmp_path: Path) -> None:
    import_model(tmp_path, "echo", identity())
    quick = ("--seconds", "0.03", "--concurrency", "1", "--json", tmp_path / "figures.json")
    result = tune(tmp_path, tmp_path, *quick, "--batch-sizes", "64", name="echo")
    assert result.code == 0, result.err
    assert "WARNING: the free dimension x.1 is 2" in result.out
    assert json.loads((tmp_path / "figures.json").read_text())["inputs"] == {"x": [1, 2]}
    result = tune(tmp_path, tmp_path, *quick, "--dim", "x=7", "--rows", "3", name="echo")
    assert result.code == 0, result.err
    assert "WARNING" not in result.out
    assert json.loads((tmp_path / "figures.json").read_text())["inputs"] == {"x": [3, 7]}
    assert yaml.safe_load((tmp_path / "echo" / "model.yaml").read_text())["batching"] == {"max_batch_size": 32}
