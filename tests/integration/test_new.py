"""`modelyard new`: what it writes runs and passes at once, and `modelyard remove` takes all of it away."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import onnx
import pytest

from tests.integration.calls import until
from tests.integration.harness import CommandResult, clean_environment, modelyard, serve
from tests.integration.made_models import SKLEARN, TORCH, make
from tests.integration.onnx_models import loop, random_normal, strings, two_inputs

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.timeout(600)  # each runs many commands, and servers besides


@pytest.fixture(scope="module")
def torch_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(TORCH, tmp_path_factory.mktemp("torch"))


@pytest.fixture(scope="module")
def sklearn_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(SKLEARN, tmp_path_factory.mktemp("sklearn"))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """An empty folder of a user."""
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


@pytest.fixture
def checkout(project: Path) -> Path:
    """The parts of a checkout that a new test leans on."""
    tests = project / "tests"
    shutil.copytree(ROOT / "tests", tests, ignore=shutil.ignore_patterns("test_*", "unit", "fakes", "__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", project)
    return project


def new(project: Path, name: str, source: Path, *more: str) -> CommandResult:
    return modelyard("new", name, "--from", source, *more, cwd=project, timeout=300)


def brought(project: Path, name: str, source: Path, *more: str) -> str:
    done = new(project, name, source, *more)
    assert done.code == 0, done.err
    return done.out


def refused(done: CommandResult, *words: str) -> None:
    assert done.code == 1, done
    (line,) = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in done.err
    assert all(word in line for word in words), line


def run_tests(project: Path) -> str:
    """The tests that `new` wrote, in a process of their own. Returns what pytest says."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/integration"],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=300,
        env=clean_environment(),
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def files(project: Path) -> set[str]:
    return {
        str(path.relative_to(project)) for path in project.rglob("*") if path.is_file() and "__pyc" not in str(path)
    }


def test_an_onnx_file_in_an_empty_folder(project: Path, tmp_path: Path) -> None:
    onnx.save(two_inputs(), tmp_path / "two.onnx")
    onnx.save(strings(), tmp_path / "strings.onnx")
    onnx.save(random_normal(), tmp_path / "noise.onnx")
    out = brought(project, "two.v1", tmp_path / "two.onnx")
    assert "modelyard serve two.v1" in out
    brought(project, "strings", tmp_path / "strings.onnx")
    brought(project, "noise", tmp_path / "noise.onnx", "--protocol-only")
    assert "passed" in run_tests(project)
    listed = modelyard("list", cwd=project)
    assert all(name in listed.out for name in ("two.v1", "strings", "noise"))
    for name in ("two.v1", "strings", "noise"):
        gone = modelyard("remove", name, "--yes", cwd=project)
        assert gone.code == 0, gone.err
    assert files(project) == set()


def test_a_program_in_a_checkout(checkout: Path, torch_files: Path) -> None:
    out = brought(checkout, "diabetes", torch_files / "free.pt2")
    assert "agree within" in out
    assert "output" in out
    brought(checkout, "two", torch_files / "two.pt2")
    out = brought(checkout, "fixed", torch_files / "fixed.pt2")
    assert "dynamic_shapes" in out
    run_tests(checkout)
    row = np.zeros((2, 10)).tolist()
    with serve(checkout / "models", "diabetes") as server:
        answer = httpx.post(f"{server.url}/infer", json={"patient": row}, timeout=60)
        assert answer.status_code == 200, answer.text
        assert np.shape(answer.json()["output"]) == (2, 1)
        wrong = httpx.post(f"{server.url}/infer", json={"patient": [[1, 2]]}, timeout=60)
        assert (wrong.status_code, "patient: shape [1, 2]" in wrong.json()["error"]) == (400, True)


def test_pickles_of_scikit_learn(project: Path, sklearn_files: Path) -> None:
    source = sklearn_files / "boosting.pkl"
    refused(new(project, "boosting", source), "--trust", "whatever code")
    assert files(project) == set()
    done = new(project, "boosting", source, "--trust")
    assert done.code == 0, done.err
    assert "WARNING" in done.err
    assert "GradientBoostingRegressor" in (project / "models" / "boosting" / "README.md").read_text()
    for name in ("pipeline.joblib", "histogram.joblib", "text.pkl"):
        brought(project, name.partition(".")[0], sklearn_files / name, "--trust")
    run_tests(project)
    with np.load(sklearn_files / "diabetes.npz") as rows, serve(project / "models", "boosting") as server:
        answer = httpx.post(f"{server.url}/infer", json={"features": rows["x"].tolist()}, timeout=60).json()
        np.testing.assert_allclose(np.ravel(answer["prediction"]), rows["y"], rtol=1e-4)
    with serve(project / "models", "pipeline") as server:
        answer = httpx.post(f"{server.url}/infer", json={"features": [[5.1, 3.5, 1.4, 0.2]]}, timeout=60).json()
        assert answer["label"] == ["setosa"]


def test_a_second_version_of_a_program(project: Path, torch_files: Path) -> None:
    brought(project, "score", torch_files / "free.pt2", "--protocol-only")
    done = modelyard("import", torch_files / "free.pt2", "--name", "score", cwd=project)
    assert done.code == 0, done.err
    assert "version 2" in done.out
    refused(modelyard("import", torch_files / "two.pt2", "--name", "score", cwd=project), "inputs differ")


def test_what_cannot_be_brought_says_what_to_do(project: Path, torch_files: Path, sklearn_files: Path) -> None:
    for name, words in (("weights.pt", "torch.export.save"), ("module.pt", "torch.export.save")):
        refused(new(project, "m", torch_files / name), words)
    for name, words in (("unfitted.pkl", "never fitted"), ("dict.pkl", "no estimator")):
        refused(new(project, "m", sklearn_files / name, "--trust"), words)
    refused(new(project, "m", project / "absent.onnx"), "does not exist")
    refused(modelyard("new", "m", cwd=project), "--from FILE")
    refused(new(project, "redis", torch_files / "free.pt2"), "reserved")
    assert files(project) == set()


def test_two_commands_at_once_bring_one_model(project: Path, tmp_path: Path) -> None:
    source = tmp_path / "two.onnx"
    onnx.save(two_inputs(), source)
    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(lambda _: new(project, "two", source), range(3)))
    assert sorted(each.code for each in done) == [0, 1, 1]
    assert all("Traceback" not in each.err for each in done)
    inspected = modelyard("inspect", "two", cwd=project)
    assert inspected.code == 0, inspected.err
    assert {path.name for path in (project / "models").iterdir()} == {"two"}
    assert json.loads((project / "models" / "two" / "versions" / "1" / "manifest.json").read_text())["model"] == "two"


def test_a_command_that_was_killed_leaves_nothing_that_counts(project: Path, tmp_path: Path) -> None:
    onnx.save(loop(2**62), tmp_path / "endless.onnx")
    onnx.save(two_inputs(), tmp_path / "two.onnx")
    command = [sys.executable, "-m", "modelyard", "new", "two", "--from", str(tmp_path / "endless.onnx")]
    process = subprocess.Popen(command, cwd=project, env=clean_environment(), stderr=subprocess.DEVNULL)
    until(lambda: any(project.glob("models/.draft-*")), "a draft", 60)
    process.kill()
    process.wait()
    assert "two" not in modelyard("list", cwd=project).out
    brought(project, "two", tmp_path / "two.onnx")
    assert {path.name for path in (project / "models").iterdir()} == {"two"}


def test_remove_asks_first(project: Path, tmp_path: Path) -> None:
    onnx.save(two_inputs(), tmp_path / "two.onnx")
    brought(project, "two", tmp_path / "two.onnx")
    before = files(project)
    refused(modelyard("remove", "two", cwd=project), "nothing was removed")
    refused(modelyard("remove", "nobody", "--yes", cwd=project), "nobody")
    assert files(project) == before
