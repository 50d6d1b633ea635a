"""What a container relies on: its model named by the environment, models that are only read, Redis by its users."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.integration.calls import ask, until
from tests.integration.families import MODELS
from tests.integration.harness import Server, clean_environment, free_port, import_model, modelyard, serve
from tests.integration.onnx_models import identity
from tests.integration.redis_process import redis_server

DOCKER = MODELS.parent / "deploy" / "docker"
NAME = "plain"
X = np.array([[1.0, 2.0]], np.float32)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    import_model(folder, NAME, identity())
    return folder


@pytest.fixture
def read_only(repository: Path) -> Iterator[Path]:
    """As a mount that may only be read; root may write all the same, so that what was written is looked for."""
    before = {path: path.stat().st_mtime_ns for path in repository.rglob("*")}
    yield repository
    assert {path: path.stat().st_mtime_ns for path in repository.rglob("*")} == before


def test_the_model_of_the_environment(read_only: Path, tmp_path: Path) -> None:
    """The entry point of the images is `modelyard serve`; the health check is theirs, word for word."""
    http_port, grpc_port = free_port(), free_port()
    settings = {
        "MODELYARD_MODEL": NAME,
        "MODELYARD_REPOSITORY": str(read_only),
        "MODELYARD_HTTP_PORT": str(http_port),
        "MODELYARD_GRPC_PORT": str(grpc_port),
        "MODELYARD_DRAIN_SECONDS": "0.1",
    }
    text = (DOCKER / "Dockerfile.cpu").read_text(encoding="utf-8")
    found = re.search(r'^HEALTHCHECK .*"-c", "(.+)"\]$', text, re.MULTILINE)
    assert found
    health = [sys.executable, "-P", "-c", found[1]]
    environment = clean_environment(settings)

    def healthy() -> bool:
        return subprocess.run(health, env=environment, capture_output=True, check=False).returncode == 0

    assert not healthy(), "nobody answers yet"
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "modelyard", "serve"], env=environment, stdout=log, stderr=subprocess.STDOUT
        )
    server = Server(NAME, http_port, grpc_port, process, tmp_path / "log")
    try:
        until(lambda: process.poll() is not None or healthy(), "healthy", 60.0)
        assert np.array_equal(ask(server, {"x": X}).only, X)
    finally:
        code = server.stop()
    assert code == 0, server.log()


def test_no_model_is_wrong_usage(repository: Path) -> None:
    done = modelyard("serve", "--repository", repository)
    assert done.code == 2
    assert "MODELYARD_MODEL" in done.err


def test_a_name_wins_over_the_environment(repository: Path) -> None:
    done = modelyard("serve", "nobody", "--repository", repository, env={"MODELYARD_MODEL": NAME})
    assert done.code == 1
    assert "nobody" in done.err


def test_redis_by_the_settings_and_users_of_compose(repository: Path, tmp_path: Path) -> None:
    """A server has all that it needs, on its own keys, and nothing else; nobody else has anything."""
    compose = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))
    url = compose["services"]["digits"]["environment"]["MODELYARD_REDIS_URL"]
    shutil.copyfile(DOCKER / "redis-users.acl", tmp_path / "users.acl")
    with redis_server(arguments=["--aclfile", str(tmp_path / "users.acl"), "--maxmemory", "64mb"]) as redis:
        settings = {
            "MODELYARD_REDIS_URL": url.replace("redis:6379", f"127.0.0.1:{redis.port}"),
            "MODELYARD_CACHE_FACTOR": "0",
            "MODELYARD_CACHE_MEMORY_BYTES": "0",
        }
        with serve(repository, NAME, settings) as server:
            until(lambda: ask(server, {"x": X}).cache == "hit", "a row comes back out of Redis", 20.0)
            assert "NOPERM" not in server.log()
        assert _says(redis.port, "GET modelyard:x").startswith(b"-NOAUTH")
        assert _says(redis.port, "AUTH modelyard ''", "FLUSHALL").startswith(b"-NOPERM")
        assert _says(redis.port, "AUTH modelyard ''", "GET other:x").startswith(b"-NOPERM")


def _says(port: int, *commands: str) -> bytes:
    """Redis's answer to the last of these, on a connection of its own. A word '' is an empty one."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        answer = b""
        for command in commands:
            words = ["" if word == "''" else word for word in command.split()]
            lines = [f"*{len(words)}", *(line for word in words for line in (f"${len(word)}", word)), ""]
            connection.sendall("\r\n".join(lines).encode())
            answer = connection.recv(4096)
        return answer
