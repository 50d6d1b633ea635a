"""What an ensemble is made of is looked at before it serves, and whenever a member changes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration import wire
from tests.integration.calls import until
from tests.integration.ensemble_models import LEFT, NAME, RIGHT, bring, left, member, repository_of, works
from tests.integration.harness import free_port, modelyard, serve
from tests.integration.onnx_models import two_inputs


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`both`, `left` and `right`."""
    return repository_of(tmp_path_factory.mktemp("ensemble"))


def refusal(repository: Path) -> str:
    """The one line with which `modelyard serve both` ends, with exit code 1."""
    ports = ("--port", str(free_port()), "--grpc-port", str(free_port()))
    done = modelyard("serve", NAME, "--repository", repository, *ports)
    assert done.code == 1, done.err
    assert "Traceback" not in done.err + done.out
    (line,) = [line for line in done.err.splitlines() if line.startswith("error: ")]
    return line


def edited(repository: Path, folder: Path, model: str, **changes: Any) -> Path:
    """A copy of the repository with another model.yaml of one model."""
    shutil.copytree(repository, folder, dirs_exist_ok=True)
    path = folder / model / "model.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **changes}))
    return folder


def test_a_member_without_a_good_version_stops_the_start(repository: Path, tmp_path: Path) -> None:
    edited(repository, tmp_path, LEFT)
    artifact = tmp_path / LEFT / "versions" / "1" / "model.onnx"
    artifact.write_bytes(artifact.read_bytes()[:-1])
    text = refusal(tmp_path)
    assert "'left' has no version that can be served" in text
    shutil.rmtree(tmp_path / LEFT)
    assert "a member of 'both': there is no model 'left'" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("model", "changes", "words"),
    [
        (LEFT, {"batching": {"max_batch_size": 4}}, ["'both'", "'left' 4"]),
        (NAME, {"ensemble": [member(LEFT, {"z": "from_left"})]}, ["'left' has no output 'z'"]),
        (NAME, {"ensemble": [member(LEFT, {"y": "from_left"})]}, ["model.onnx", "from_right"]),
        (NAME, {"ensemble": [member(LEFT, {"y": "from_left"}), member(RIGHT, {"y": "from_both"})]}, ["from_both"]),
        (NAME, {"ensemble": [member(LEFT, {"y": "from_left"}), member(NAME, {"gap": "x"})]}, ["member of itself"]),
        (LEFT, {"ensemble": [member(NAME, {"gap": "x"})]}, ["both -> left -> both"]),
    ],
)
def test_a_composition_that_cannot_work_stops_the_start(
    repository: Path, tmp_path: Path, model: str, changes: dict[str, Any], words: list[str]
) -> None:
    text = refusal(edited(repository, tmp_path, model, **changes))
    assert all(word in text for word in words), text


def test_an_ensemble_whose_newest_version_does_not_fit_serves_the_one_before(repository: Path, tmp_path: Path) -> None:
    edited(repository, tmp_path, NAME)
    bring(tmp_path, yaml.safe_load((tmp_path / NAME / "model.yaml").read_text()), two_inputs(), "2")
    with serve(tmp_path, NAME) as server:
        works(server)
        index = wire.post_json(server, "/v2/repository/index", {}).json()
        (newest,) = [entry for entry in index if (entry["name"], entry["version"]) == (NAME, "2")]
        assert newest["state"] == "UNAVAILABLE"
        assert "from_left" in newest["reason"]


def test_a_forced_interface_of_a_member_is_named_when_it_does_not_fit(repository: Path, tmp_path: Path) -> None:
    edited(repository, tmp_path, NAME)
    with serve(tmp_path, NAME, {"MODELYARD_RELOAD_SECONDS": "0.1"}) as server:
        works(server)
        left(tmp_path, output="z", version="2")
        promoted = modelyard("promote", LEFT, "2", "--force", "--reason", "a test", "--repository", tmp_path)
        assert promoted.code == 0, promoted.err
        until(lambda: server.status(f"/v2/models/{NAME}/ready") == 503, "it is not ready", 30)
        request = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [0.5]}]}
        text = wire.post_json(server, f"/v2/models/{NAME}/infer", request).refused(503)
        assert all(word in text for word in ("version 2 of 'left'", "'y'")), text
        assert modelyard("rollback", LEFT, "--repository", tmp_path).code == 0
        until(lambda: server.status(f"/v2/models/{NAME}/ready") == 200, "it is ready again", 30)
        works(server)
