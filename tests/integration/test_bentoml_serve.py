"""The digits service under BentoML's own `bentoml serve`: the same answers, through its ASGI server."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.integration.calls import until
from tests.integration.families import MODELS
from tests.integration.harness import clean_environment, free_port
from tests.integration.test_digits_service import repository

__all__ = ["repository"]

BODY_LIMIT = 100_000
IMAGE = np.arange(64, dtype=np.float32).reshape(8, 8) / 4
REQUEST = {"inputs": [{"name": "image", "datatype": "FP32", "shape": [1, 1, 8, 8], "data": IMAGE.ravel().tolist()}]}


@pytest.fixture(scope="module")
def client(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of a server that `bentoml serve` started."""
    folder = tmp_path_factory.mktemp("bentoml")
    port = free_port()
    environment = clean_environment(
        {
            "BENTOML_HOME": str(folder),
            "MODELYARD_REPOSITORY": str(repository),
            "MODELYARD_GRPC_PORT": str(free_port()),
            "MODELYARD_DRAIN_SECONDS": "0.1",
            "MODELYARD_MAX_BODY_BYTES": str(BODY_LIMIT),
        }
    )
    command = [str(Path(sys.executable).parent / "bentoml"), "serve", "digits_service.service:Digits"]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            env=environment,
            cwd=MODELS.parent,
            stdout=log,
            stderr=subprocess.STDOUT,
        ) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as connection,
    ):

        def ready() -> bool:
            assert process.poll() is None, (folder / "log").read_text(encoding="utf-8")
            try:
                return connection.get("/v2/health/ready").status_code == 200
            except httpx.TransportError:
                return False

        try:
            until(ready, "bentoml serve is ready", 60)
            yield connection
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def test_the_protocol_and_the_typed_api_answer_alike(client: httpx.Client) -> None:
    document = client.post("/v2/models/digits/infer", json=REQUEST).raise_for_status().json()
    digit = client.post("/classify", json={"image": IMAGE.tolist()}).raise_for_status().json()
    np.testing.assert_allclose(document["outputs"][0]["data"], digit["probabilities"], rtol=1e-6)
    assert digit["cache"] == "hit"


def test_refusals_are_the_same(client: httpx.Client) -> None:
    for response, status in (
        (client.post("/v2/models/digits/infer", json={"inputs": []}), 400),
        (client.get("/v2/models/nothing"), 404),
        (client.post("/v2/models/digits/infer", content=b" " * (BODY_LIMIT + 1)), 413),
        (client.delete("/v2/models/digits"), 405),
    ):
        assert response.status_code == status
        assert response.json()["error"]


def test_metrics_are_ours(client: httpx.Client) -> None:
    text = client.get("/metrics").text
    assert 'modelyard_requests_total{model="digits"' in text
    assert "bentoml" not in text
