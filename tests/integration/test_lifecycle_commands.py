"""check, promote, rollback, history, diff, export as a user calls them: output and exit codes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.integration.harness import CommandResult, import_model, modelyard
from tests.integration.onnx_models import affine
from tests.integration.test_cli import refused

NAME = "scaled"
COMMANDS = ("export", "check", "promote", "rollback", "history", "diff")
EXPORT = """
import sys
from pathlib import Path

import numpy as np

from modelyard.manifest import next_version, publish

folder = Path(__file__).parent
version = sys.argv[1].removeprefix("--version=") if len(sys.argv) > 1 else next_version(folder)
publish(folder, version, folder / "versions" / "1" / "model.onnx", metrics={"accuracy": 0.5})
print("exported by the script")
print("a word on stderr", file=sys.stderr)
"""


pytestmark = pytest.mark.timeout(300)


@pytest.fixture(name="three", scope="module")
def _three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`scaled` with three versions: y = version * x."""
    folder = tmp_path_factory.mktemp("three")
    for version in ("1", "2", "3"):
        model = affine(np.eye(2, dtype=np.float32) * float(version), np.zeros(2, np.float32))
        import_model(folder, NAME, model, version)
    return folder


@pytest.fixture(name="repository")
def _repository(three: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(three / NAME, tmp_path / NAME)
    return tmp_path


def run(repository: Path, command: str, *arguments: str) -> CommandResult:
    return modelyard(command, NAME, *arguments, "--repository", repository)


def done(result: CommandResult) -> str:
    assert result.code == 0, result
    return result.out


def as_json(result: CommandResult) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(result.out)
    return found


def spoil(repository: Path, version: str) -> None:
    path = repository / NAME / "versions" / version / "model.onnx"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def change_interface(repository: Path, version: str) -> None:
    """Another shape than callers know, in the manifest of a version that takes it."""
    place = repository / NAME / "versions" / version / "manifest.json"
    document = json.loads(place.read_text())
    document["interface"]["inputs"][0]["name"] = "renamed"
    place.write_text(json.dumps(document))


def test_help_and_wrong_usage(tmp_path: Path) -> None:
    for command in COMMANDS:
        assert "--repository" in done(modelyard(command, "--help"))
    for wrong in (["promote", "m"], ["diff", "m", "1"], ["promote", "m", "1", "--force"], ["check", "m", "--nope"]):
        assert modelyard(*wrong, "--repository", tmp_path).code == 2


def test_a_life(repository: Path) -> None:
    assert "digest" in done(run(repository, "check"))
    told = done(run(repository, "promote", "2"))
    assert f"{NAME} version 2 is stable; it was version 3" in told
    assert f"modelyard rollback {NAME} --repository" in told, "what to do next"
    assert "already" in done(run(repository, "promote", "2"))
    assert "candidate" in done(run(repository, "promote", "3", "--candidate"))
    assert as_json(run(repository, "check", "--json"))["version"] == "3"
    assert "2 (stable), 3 (candidate, previous)" in done(modelyard("list", "--repository", repository))
    assert "version 2 (stable, default)" in done(modelyard("inspect", NAME, "--repository", repository))
    assert "version 3 is stable; it was version 2" in done(run(repository, "promote", "candidate"))
    assert "version 2 is stable again; it was version 3" in done(run(repository, "rollback", "--reason", "slow"))
    done(run(repository, "rollback"))
    refused(run(repository, "rollback"), "nothing to roll back to")
    told = done(run(repository, "history"))
    assert "slow" in told
    history = as_json(run(repository, "history", "--json"))
    assert [change["action"] for change in history["changes"]] == [
        *("promote", "candidate", "promote", "rollback", "rollback")
    ]
    assert (history["stable"], history["candidate"], history["previous"]) == ("3", None, None)


def test_what_is_refused(repository: Path) -> None:
    spoil(repository, "2")
    change_interface(repository, "1")
    refused(run(repository, "promote", "7"), "no version '7'", "1, 2, 3")
    refused(modelyard("promote", "absent", "1", "--repository", repository), "there is no model 'absent'")
    result = run(repository, "promote", "2", "--force", "--reason", "x")
    assert "sha256" in result.out
    refused(result, "fails: digest")
    result = run(repository, "check", "--version", "1", "--json")
    refused(result, "interface")
    assert not as_json(result)["ok"]
    refused(run(repository, "rollback"), "nothing to roll back to")
    refused(run(repository, "export"), "has no export.py")
    assert not (repository / NAME / "aliases.json").exists()


def test_a_broken_state_file_is_named(repository: Path) -> None:
    state = repository / NAME / "aliases.json"
    state.write_text('{"format": 1, "stable": ["1"]}')
    for command in (["check"], ["promote", "1"], ["rollback"], ["history"]):
        refused(run(repository, *command), "aliases.json", "stable")


def test_two_versions_side_by_side(repository: Path) -> None:
    told = done(run(repository, "diff", "1", "stable"))
    assert "scaled version 1 and version 3" in told
    assert "golden inputs of 1" in told
    document = as_json(run(repository, "diff", "1", "2", "--json"))
    assert document["interface"] == []
    assert [each["equal"] for each in document["agreement"]] == [False]
    refused(run(repository, "diff", "1", "9"), "no version '9'")


def test_export_runs_the_model_s_own_script(repository: Path) -> None:
    (repository / NAME / "export.py").write_text(EXPORT)
    result = run(repository, "export")
    assert "exported by the script" in done(result)
    assert "a word on stderr" in result.err
    assert f"modelyard promote {NAME} 4" in result.out
    done(run(repository, "export", "--version", "rc-1"))
    refused(run(repository, "export", "--version", "4"), "stands already")
    (repository / NAME / "export.py").write_text("raise SystemExit(5)")
    refused(run(repository, "export"), "ended with exit code 5")
