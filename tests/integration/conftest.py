"""The servers of the protocol tests: each is started when the first test asks for it and shared by all.

A process serves one model, so there is one repository directory and one server for each model. A test that
changes a server's state (stops it, loads, unloads) starts one of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration import pair_model
from tests.integration.datatype_values import MODELS
from tests.integration.harness import Server, import_model, serve
from tests.integration.onnx_models import gather_table, identity, many_datatypes, slow_by_input, two_inputs

API_KEYS = {name: f"key-of-{name}-123" for name in ("alice", "bob", "carol", "dave", "erin")}
STRICT_BODY_BYTES = 300_000
RECEIVE_SECONDS = 2
QUOTA = 20


@pytest.fixture(scope="session")
def pair_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the model `pair`, batches of 8."""
    repository = tmp_path_factory.mktemp("pair")

    def edit(spec: dict[str, Any]) -> None:
        spec["description"] = "adds and doubles"
        spec["batching"]["max_batch_size"] = pair_model.MAX_BATCH

    import_model(repository, pair_model.NAME, two_inputs(), edit=edit)
    return repository


@pytest.fixture(scope="session")
def pair(pair_repository: Path) -> Iterator[Server]:
    """`pair` with default settings."""
    with serve(pair_repository, pair_model.NAME) as server:
        yield server


@pytest.fixture(scope="session")
def strict(pair_repository: Path) -> Iterator[Server]:
    """`pair` with a small body cap and two seconds for a request to arrive."""
    env = {
        "MODELYARD_MAX_BODY_BYTES": str(STRICT_BODY_BYTES),
        "MODELYARD_RECEIVE_TIMEOUT_SECONDS": str(RECEIVE_SECONDS),
    }
    with serve(pair_repository, pair_model.NAME, env=env) as server:
        yield server


@pytest.fixture(scope="session")
def guarded(pair_repository: Path) -> Iterator[Server]:
    """`pair` for callers with a key, each with a quota."""
    env = {
        "MODELYARD_API_KEYS": ",".join(f"{name}:{key}" for name, key in API_KEYS.items()),
        "MODELYARD_TENANT_REQUESTS_PER_SECOND": str(QUOTA),
    }
    with serve(pair_repository, pair_model.NAME, env=env) as server:
        yield server


def _datatypes(folder: Path, name: str, max_batch_size: int) -> Path:
    def edit(spec: dict[str, Any]) -> None:
        spec["batching"]["max_batch_size"] = max_batch_size

    import_model(folder, name, many_datatypes(MODELS[name]), edit=edit)
    return folder


@pytest.fixture(scope="session")
def datatypes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Identity of every datatype but FP16 and BF16, no batch dimension: shapes are free."""
    with serve(_datatypes(tmp_path_factory.mktemp("datatypes"), "datatypes", 0), "datatypes") as server:
        yield server


@pytest.fixture(scope="session")
def batched_datatypes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The same with batches of 32 and the cache by row."""
    with serve(_datatypes(tmp_path_factory.mktemp("batched"), "datatypes", 32), "datatypes") as server:
        yield server


@pytest.fixture(scope="session")
def halves(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Identity of FP16 and BF16, no batch dimension."""
    with serve(_datatypes(tmp_path_factory.mktemp("halves"), "halves", 0), "halves") as server:
        yield server


@pytest.fixture(scope="session")
def batched_halves(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The same with batches of 32 and the cache by row."""
    with serve(_datatypes(tmp_path_factory.mktemp("halves"), "halves", 32), "halves") as server:
        yield server


@pytest.fixture(scope="session")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """x FP32 [-1, -1] comes back as y; the first dimension is the batch, 32 at the most."""
    repository = tmp_path_factory.mktemp("echo")

    def edit(spec: dict[str, Any]) -> None:
        spec["batching"]["max_batch_size"] = 32

    import_model(repository, "echo", identity("FP32", (-1, -1)), edit=edit)
    with serve(repository, "echo") as server:
        yield server


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Rows of a table of 100: a wrong index fails inside the model. Waits a little so that batches form."""
    repository = tmp_path_factory.mktemp("table")

    def edit(spec: dict[str, Any]) -> None:
        spec["batching"].update(max_batch_size=16, max_queue_delay_ms=50)

    import_model(repository, "table", gather_table(100), edit=edit)
    with serve(repository, "table") as server:
        yield server


@pytest.fixture(scope="session")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A model that takes the milliseconds its input says, one row at a time.

    At most 0.5 s of queue, and one second for a request to arrive.
    """
    repository = tmp_path_factory.mktemp("busy")

    def edit(spec: dict[str, Any]) -> None:
        spec["batching"]["max_batch_size"] = 1
        spec.setdefault("cache", {})["enabled"] = False
        spec["limits"] = {"queue_seconds": 0.5, "deadline_seconds": 30.0}

    import_model(repository, "busy", slow_by_input(), edit=edit)
    env = {"MODELYARD_EXECUTORS": "1", "MODELYARD_RECEIVE_TIMEOUT_SECONDS": "1"}
    with serve(repository, "busy", env=env) as server:
        yield server
