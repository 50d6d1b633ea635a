"""push, pull and the life of a version in a store, against a real S3-compatible server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tests.integration.harness import CommandResult, clean_environment, import_model, modelyard
from tests.integration.onnx_models import affine
from tests.integration.store_process import ADDRESS, BUCKET, SECRET, StoreServer, store_server
from tests.integration.test_crash_safety import drive

NAME = "scaled"
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(name="models", scope="module")
def _models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Versions 1 and 2 of y = version * x."""
    repository = tmp_path_factory.mktemp("models")
    for version in ("1", "2"):
        bring(repository, version)
    return repository


@pytest.fixture(name="store")
def _store(tmp_path: Path) -> Iterator[StoreServer]:
    with store_server(tmp_path) as server:
        yield server


def bring(repository: Path, version: str, factor: float | None = None) -> None:
    weight = np.eye(2, dtype=np.float32) * (float(version) if factor is None else factor)
    import_model(repository, NAME, affine(weight, np.zeros(2, np.float32)), version)


def command(store: StoreServer, *arguments: str | Path, **env: str) -> CommandResult:
    return modelyard(*arguments, env=store.env | env)


def done(store: StoreServer, *arguments: str | Path) -> str:
    result = command(store, *arguments)
    assert result.code == 0, result
    return result.out


def refused(result: CommandResult, *words: str) -> None:
    assert result.code == 1, result
    (line,) = result.err.splitlines()
    assert line.startswith("error: ")
    assert all(word in line for word in words), line
    assert SECRET not in result.out + result.err


def push(store: StoreServer, models: Path, *versions: str) -> None:
    for version in versions:
        done(store, "push", NAME, "--version", version, "--to", ADDRESS, "--repository", models)


def test_there_and_back(store: StoreServer, models: Path, tmp_path: Path) -> None:
    assert "sha256" in done(store, "push", NAME, "--to", ADDRESS, "--repository", models)
    assert "nothing was sent" in done(store, "push", NAME, "--to", ADDRESS, "--repository", models)
    result = command(store, "pull", NAME, "--repository", tmp_path / "other", MODELYARD_STORE=ADDRESS)
    assert result.code == 0, result
    folder = Path(NAME) / "versions" / "2"
    names = sorted(path.name for path in (models / folder).iterdir())
    assert sorted(path.name for path in (tmp_path / "other" / folder).iterdir()) == names
    assert all((tmp_path / "other" / folder / n).read_bytes() == (models / folder / n).read_bytes() for n in names)
    again = done(store, "pull", NAME, "--from", ADDRESS, "--repository", tmp_path / "other")
    assert "nothing was fetched" in again
    assert "2 (default)" in done(store, "inspect", NAME, "--repository", tmp_path / "other")


def test_a_life_in_the_store(store: StoreServer, models: Path) -> None:
    push(store, models, "1", "2")
    where = ("--repository", ADDRESS)
    assert "1, 2" in done(store, "list", *where)
    assert f"modelyard rollback {NAME} {' '.join(where)}" in done(store, "promote", NAME, "2", *where)
    done(store, "promote", NAME, "1", *where, "--reason", "slower")
    told = json.loads(done(store, "history", NAME, "--json", *where))
    assert [change["version"] for change in told["changes"]] == ["2", "1"]
    assert told["changes"][1]["reason"] == "slower"
    done(store, "rollback", NAME, *where)
    assert "1 (previous), 2 (stable)" in done(store, "list", *where)
    assert "version 1 and version 2" in done(store, "diff", NAME, "1", "2", *where)
    assert "2 (stable, default)" in done(store, "inspect", NAME, *where)
    refused(command(store, "promote", NAME, "7", *where), "no version '7'", ADDRESS, "known are 1, 2")
    refused(command(store, "check", "other", *where), f"there is no model 'other' in {ADDRESS}")


def test_promotes_at_once_all_stand_in_the_history(store: StoreServer, models: Path) -> None:
    push(store, models, "1", "2")
    calls = [("promote", NAME, version, "--repository", ADDRESS) for version in ("1", "2")]
    with ThreadPoolExecutor(2) as pool:
        assert [each.code for each in pool.map(lambda call: command(store, *call), calls)] == [0, 0]
    changes = json.loads(done(store, "history", NAME, "--json", "--repository", ADDRESS))["changes"]
    assert len(changes) == 2
    assert all(later["before"] == earlier["version"] for earlier, later in pairwise(changes))


def test_another_version_of_that_name_and_two_pushes_at_once(store: StoreServer, models: Path, tmp_path: Path) -> None:
    bring(tmp_path / "other", "1", 7.0)
    calls = [("push", NAME, "--version", "1", "--to", ADDRESS, "--repository", m) for m in (models, tmp_path / "other")]
    with ThreadPoolExecutor(2) as pool:
        ends = list(pool.map(lambda call: command(store, *call), calls))
    assert sorted(end.code for end in ends) == [0, 1], ends
    refused(next(end for end in ends if end.code), "version 1", "already, with other files", ADDRESS)
    done(store, "pull", NAME, "--version", "1", "--from", ADDRESS, "--repository", tmp_path / "third")
    refused(
        command(store, "pull", NAME, "--version", "1", "--from", ADDRESS, "--repository", calls[ends[0].code == 0][-1]),
        "stands already, with other files",
    )


def test_a_tampered_object_is_refused_and_a_push_mends_it(store: StoreServer, models: Path, tmp_path: Path) -> None:
    push(store, models, "1")
    store.spoil("versions/1/", "model.onnx")
    pull = ("pull", NAME, "--from", ADDRESS, "--repository", tmp_path / "other")
    refused(command(store, *pull), ADDRESS, "model.onnx differs from its manifest")
    assert not (tmp_path / "other").exists()
    assert "1 of its files" in done(store, "push", NAME, "--version", "1", "--to", ADDRESS, "--repository", models)
    done(store, *pull)


def test_hostile_keys_are_no_models_and_a_hostile_manifest_is_refused(
    store: StoreServer, models: Path, tmp_path: Path
) -> None:
    push(store, models, "1")
    client = store.client()
    for key in ("team/../evil/model.yaml", "team//etc/model.yaml", f"team/{NAME}/versions/../manifest.json"):
        client.put_object(Bucket=BUCKET, Key=key, Body=b"name: evil")
    assert "evil" not in done(store, "list", "--repository", ADDRESS)
    place = {"Bucket": BUCKET, "Key": f"team/{NAME}/versions/1/manifest.json"}
    document = json.loads(client.get_object(**place)["Body"].read())
    hostile = document | {"files": document["files"] | {"../../evil": document["files"]["model.onnx"]}}
    client.put_object(**place, Body=json.dumps(hostile).encode())
    pull = command(store, "pull", NAME, "--from", ADDRESS, "--repository", tmp_path / "other")
    refused(pull, ADDRESS, "../../evil", "not allowed")
    assert not (tmp_path / "other").exists()
    refused(command(store, "pull", "../evil", "--from", ADDRESS), "cannot name a model")


def test_what_is_wrong_with_the_store_is_said_in_one_line(store: StoreServer, models: Path) -> None:
    push = ("push", NAME, "--repository", models, "--to")
    refused(command(store, *push, "s3://nobody/x"), "s3://nobody/x", "no such bucket")
    refused(command(store, *push, ADDRESS, AWS_ENDPOINT_URL_S3="http://127.0.0.1:1"), "no connection to 127.0.0.1:1")
    nobody = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "HOME": "/nowhere"}
    refused(command(store, *push, ADDRESS, **nobody), "no credentials were found")
    refused(command(store, "list", "--repository", ADDRESS, AWS_PROFILE="unknown"), "ProfileNotFound")
    refused(command(store, "export", NAME, "--repository", ADDRESS), "not on a store", "modelyard pull")
    store.freeze()
    refused(command(store, "list", "--repository", ADDRESS, MODELYARD_STORE_TIMEOUT_SECONDS="0.5"), "no answer in time")
    store.thaw()


def test_wrong_credentials_are_said_without_being_quoted(models: Path, tmp_path: Path) -> None:
    with store_server(tmp_path, {"INITIAL_NO_AUTH_ACTION_COUNT": "1"}) as store:  # the bucket is made without
        done = command(store, "push", NAME, "--repository", models, "--to", ADDRESS)
        refused(done, "the store refuses these credentials (InvalidAccessKeyId)")
        assert "somebody" not in done.err


def test_a_command_without_boto3_says_what_to_install(models: Path) -> None:
    program = "import sys; sys.modules['boto3'] = None; from modelyard.cli import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", program, "push", NAME, "--repository", str(models), "--to", ADDRESS],
        capture_output=True,
        text=True,
        env=clean_environment(),
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr == f"error: {ADDRESS} needs boto3: pip install 'modelyard[s3]'\n"


def test_a_pull_that_is_killed_anywhere_leaves_a_repository_that_loads(
    store: StoreServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in store.env.items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)
    result = drive("kill", "pull", tmp_path / "work")
    assert result["faults"] == []
    assert result["points"] >= 60
    assert result["end"] == "new"
    assert result["found"] == sorted(result["found"], reverse=True)
    assert result["found"][0] == "old"


def test_a_push_that_is_killed_shows_no_half_version(store: StoreServer, models: Path) -> None:
    """It hangs on a store that does not answer, halfway, and is killed there."""
    push(store, models, "1")
    store.freeze()
    command = [sys.executable, "-m", "modelyard", "push", NAME, "--version", "2", "--to", ADDRESS]
    process = subprocess.Popen(
        [*command, "--repository", str(models)], env=clean_environment(store.env), start_new_session=True
    )
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(3.0)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(10)
    store.thaw()
    assert "versions/2/manifest.json" not in " ".join(store.keys())
    push(store, models, "2")
    assert "1, 2" in done(store, "list", "--repository", ADDRESS)
