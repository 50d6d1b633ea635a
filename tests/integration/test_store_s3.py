"""A real server that serves from a real store: it follows promotes, and outlives the store."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.integration import calls
from tests.integration.calls import ask
from tests.integration.harness import Server, import_model, modelyard, serve, start
from tests.integration.onnx_models import affine
from tests.integration.store_process import ADDRESS, SECRET, StoreServer, store_server

NAME = "scaled"
X = np.array([[1, 2], [3, 4]], np.float32)
SECONDS = 60.0
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(name="models", scope="module")
def _models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Versions 1, 2 and 3 of y = version * x."""
    repository = tmp_path_factory.mktemp("models")
    for version in ("1", "2", "3"):
        import_model(
            repository, NAME, affine(np.eye(2, dtype=np.float32) * float(version), np.zeros(2, np.float32)), version
        )
    return repository


@pytest.fixture(name="objects", scope="module")
def _objects(tmp_path_factory: pytest.TempPathFactory, models: Path) -> dict[str, bytes]:
    """What a store holds where version 1 is stable and version 2 is there."""
    with store_server(tmp_path_factory.mktemp("store")) as server:
        for version in ("1", "2"):
            push(server, models, version)
        promote(server, "1")
        return server.objects()


@pytest.fixture(name="store")
def _store(tmp_path: Path, objects: dict[str, bytes]) -> Iterator[StoreServer]:
    with store_server(tmp_path) as server:
        server.fill(objects)
        yield server


def command(store: StoreServer, *arguments: str | Path) -> None:
    result = modelyard(*arguments, env=store.env)
    assert result.code == 0, result


def push(store: StoreServer, models: Path, version: str) -> None:
    command(store, "push", NAME, "--version", version, "--to", ADDRESS, "--repository", models)


def promote(store: StoreServer, version: str) -> None:
    command(store, "promote", NAME, version, "--repository", ADDRESS)


def version_of(server: Server) -> str:
    """Which version answers; its answer is its own."""
    answer = ask(server, {"x": X})
    np.testing.assert_allclose(answer.only, X * float(answer.version))
    return answer.version


def until(condition: Callable[[], bool]) -> None:
    calls.until(condition, "the server does not follow", SECONDS)


def follows(server: Server, version: str) -> None:
    until(lambda: version_of(server) == version)


@contextmanager
def answering(server: Server) -> Iterator[list[str]]:
    """Somebody asks all the time; the versions that answered. No call fails."""
    versions: list[str] = []
    faults: list[BaseException] = []
    over = threading.Event()

    def go_on() -> None:
        try:
            while not over.wait(0.01):
                versions.append(version_of(server))
        except BaseException as error:
            faults.append(error)

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield versions
    finally:
        over.set()
        thread.join()
    assert faults == []


def up(server: Server) -> float:
    return server.metric("modelyard_store_up", store=ADDRESS)


def errors(server: Server, reason: str) -> float:
    return server.metric("modelyard_store_errors_total", reason=reason)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_promote_in_the_store_is_followed_live(store: StoreServer, models: Path, workers: int) -> None:
    with serve(Path(ADDRESS), NAME, store.server_env, workers) as server:
        assert version_of(server) == "1"
        assert up(server) == 1
        assert server.log().count("is in the mirror") == 2, "one process fetches, whatever the workers"
        with answering(server) as versions:
            push(store, models, "3")
            promote(store, "3")
            until(lambda: versions[-20:] == ["3"] * 20)
            command(store, "rollback", NAME, "--repository", ADDRESS)
            until(lambda: versions[-20:] == ["1"] * 20)
        assert server.log().count("scaled version 3 is in the mirror") == 1
        assert SECRET not in server.log()


def test_a_store_that_dies_while_serving_is_outlived_and_followed_again(
    store: StoreServer, objects: dict[str, bytes]
) -> None:
    with serve(Path(ADDRESS), NAME, store.server_env) as server, answering(server):
        store.stop()
        until(lambda: up(server) == 0)
        assert errors(server, "connection") > 0
        assert "what is loaded serves on" in server.log()
        assert server.status("/v2/health/ready") == 200
        store.start()  # it holds nothing: a bucket that was emptied takes nothing away
        until(lambda: errors(server, "missing") > 0)
        assert version_of(server) == "1"
        store.fill(objects)
        promote(store, "2")
        follows(server, "2")
        until(lambda: up(server) == 1)
        assert "answers again" in server.log()
        store.freeze()
        until(lambda: errors(server, "timeout") > 0)
        store.thaw()
        until(lambda: up(server) == 1)


def test_a_tampered_version_is_refused_and_the_old_one_stays(store: StoreServer, models: Path) -> None:
    with serve(Path(ADDRESS), NAME, store.server_env | {"MODELYARD_LOADED_VERSIONS": "1"}) as server, answering(server):
        push(store, models, "3")
        promote(store, "3")  # good, and judged by its own copy
        follows(server, "3")
        store.spoil("versions/2/", "model.onnx")
        client = store.client()
        place = {"Bucket": "models", "Key": f"team/{NAME}/aliases.json"}
        content = client.get_object(**place)["Body"].read().replace(b'"stable": "3"', b'"stable": "2"')
        client.put_object(**place, Body=content)
        until(lambda: errors(server, "refused") > 0)
        assert "model.onnx differs from its manifest" in server.log()
        mirrored = Path(store.server_env["MODELYARD_MIRROR_FOLDER"])
        assert version_of(server) == "3"
        assert sorted(path.name for path in mirrored.glob(f"*/{NAME}/versions/*")) == ["1", "3"]


def test_a_start_without_the_store_needs_what_was_mirrored(store: StoreServer, tmp_path: Path) -> None:
    with serve(Path(ADDRESS), NAME, store.server_env):
        pass
    store.stop()
    with serve(Path(ADDRESS), NAME, store.server_env) as server:
        assert version_of(server) == "1"
        assert up(server) == 0
        assert errors(server, "connection") >= 1
        assert "served is what was mirrored before" in server.log()
    refused(store.server_env | {"MODELYARD_MIRROR_FOLDER": str(tmp_path / "empty")}, tmp_path, "there is no connection")


def test_a_start_that_cannot_be_is_said_in_one_line(store: StoreServer, tmp_path: Path) -> None:
    refused(store.server_env, tmp_path, f"there is no model 'other' in {ADDRESS}", name="other")
    store.spoil("versions/1/", "model.onnx")
    store.spoil("versions/2/", "model.onnx")
    refused(store.server_env, tmp_path, "has no version that can be served")


def refused(env: dict[str, str], folder: Path, text: str, name: str = NAME) -> None:
    server = start(Path(ADDRESS), name, folder / "refused.log", env=env)
    try:
        assert server.process.wait(SECONDS) == 1
    finally:
        server.stop()
    last = server.log().splitlines()[-1]
    assert last.startswith("error: ")
    assert text in last
    assert SECRET not in server.log()
