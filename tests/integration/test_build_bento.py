"""`modelyard build NAME --bento`: BentoML builds it, and serves it out of its own store."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton
import yaml

from tests.integration.calls import until
from tests.integration.families import family
from tests.integration.harness import clean_environment, free_port, modelyard

START_SECONDS = 90.0


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return family("digits", tmp_path_factory)


def test_a_bento_is_built_and_serves(digits: Path, tmp_path: Path) -> None:
    done = modelyard(
        "build", "digits", "--bento", "--repository", digits, env={"BENTOML_HOME": "bentoml"}, cwd=tmp_path
    )
    assert done.code == 0, done.err
    tag = done.out.splitlines()[0]
    name, _, version = tag.partition(":")
    bento = tmp_path / "bentoml" / "bentos" / name / version
    described = yaml.safe_load((bento / "bento.yaml").read_text(encoding="utf-8"))
    assert described["labels"]["model-version"] == "1"
    assert "/classify" in {route["route"] for route in described["schema"]["routes"]}
    source = bento / "src"
    assert (source / "models" / "digits" / "versions" / "1" / "manifest.json").is_file()
    assert {path.name for path in (source / "services").iterdir()} >= {"modelyard", "digits_service"}
    locked = (bento / "env" / "python" / "requirements.txt").read_text(encoding="utf-8")
    assert "--hash=sha256:" in locked
    _serves(tag, {"BENTOML_HOME": str(tmp_path / "bentoml"), "MODELYARD_GRPC_PORT": str(free_port())}, tmp_path)


def _serves(tag: str, settings: dict[str, str], folder: Path) -> None:
    port = free_port()
    command = [str(Path(sys.executable).parent / "bentoml"), "serve", tag, "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, env=clean_environment(settings), cwd=folder, stdout=log, stderr=subprocess.STDOUT
        )
    client = triton.InferenceServerClient(f"127.0.0.1:{port}", connection_timeout=30, network_timeout=30)

    def ready() -> bool:
        assert process.poll() is None, (folder / "log").read_text(errors="replace")
        try:
            return bool(client.is_server_ready())
        except OSError:
            return False

    try:
        until(ready, "the bento is ready", START_SECONDS)
        image = triton.InferInput("image", [1, 1, 8, 8], "FP32")
        image.set_data_from_numpy(np.zeros((1, 1, 8, 8), np.float32))
        assert client.infer("digits", [image]).as_numpy("probabilities").shape == (1, 10)
    finally:
        client.close()
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
