"""What the manifests say of the server is true of a server that runs: ports, paths, metrics, drain, Redis."""

from __future__ import annotations

import base64
import http.client
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import redis
import yaml

from tests.integration.calls import until
from tests.integration.harness import Server, serve
from tests.integration.redis_process import RedisServer, redis_server
from tests.unit.deploy.rendered import (
    K8S,
    OVERLAYS,
    ROOT,
    SERVICES,
    container_of,
    name_of,
    of_kind,
    servers,
    settings_of,
)

MODEL = "digits"
LOCAL = "overlays/local"
DRAIN_SECONDS = 1.0
ROW = {"name": "image", "datatype": "FP32", "shape": [1, 1, 8, 8], "data": [1.0] * 64}


def manifest_settings(overlay: str, folder: Path) -> dict[str, str]:
    """The ConfigMap's settings; ports, folders and a shorter drain are this machine's."""
    (item,) = (one for one in servers(overlay) if name_of(one) == f"{MODEL}-server")
    settings = {key: value for key, value in settings_of(overlay, item).items() if key.startswith("MODELYARD_")}
    for name in ("HTTP_PORT", "GRPC_PORT", "REPOSITORY"):
        del settings[f"MODELYARD_{name}"]
    assert settings["MODELYARD_HOST"] == "0.0.0.0"
    return settings | {
        "MODELYARD_HOST": "127.0.0.1",
        "MODELYARD_ENGINE_FOLDER": str(folder / "engines"),
        "MODELYARD_DRAIN_SECONDS": str(DRAIN_SECONDS),
        "MODELYARD_GRPC_CONNECTION_SECONDS": "0.5",
    }


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Redis with the ConfigMap of the manifests and the users of the local overlay's Secret."""
    folder = tmp_path_factory.mktemp("redis")
    (text,) = (one["data"]["redis.conf"] for one in of_kind(LOCAL, "ConfigMap") if "redis.conf" in one["data"])
    (folder / "users.acl").write_text((K8S / LOCAL / "redis" / "users.acl").read_text())
    (folder / "redis.conf").write_text(re.sub(r"(?m)^aclfile .*$", f"aclfile {folder / 'users.acl'}", text))
    with redis_server(config=folder / "redis.conf") as running:
        yield running


@pytest.fixture(scope="module")
def server(cache: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Digits as the local overlay runs it; the memory tier is off, so that Redis is asked."""
    settings = manifest_settings(LOCAL, tmp_path_factory.mktemp("server"))
    (secret,) = (one for one in of_kind(LOCAL, "Secret") if name_of(one).startswith("redis-client"))
    url = base64.b64decode(secret["data"]["url"]).decode().replace("@redis:6379", f"@127.0.0.1:{cache.port}")
    settings |= {"MODELYARD_REDIS_URL": url, "MODELYARD_CACHE_MEMORY_BYTES": "0", "MODELYARD_CACHE_FACTOR": "0"}
    with serve(ROOT / "models", MODEL, settings) as running:
        yield running


def infer(server: Server) -> dict[str, Any]:
    reply = httpx.post(f"{server.url}/v2/models/{MODEL}/infer", json={"inputs": [ROW]}, timeout=30)
    assert reply.status_code == 200, reply.text
    answer: dict[str, Any] = reply.json()
    return answer


@pytest.mark.parametrize("folder", [*SERVICES, *OVERLAYS, "tests/gpu-environment"])
def test_every_probe_of_every_server_is_answered(server: Server, folder: str) -> None:
    asked = set()
    for item in servers(folder):
        container = container_of(item)
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            ask = container[probe]["httpGet"]
            assert ask["port"] == "http"
            asked.add(ask["path"])
    assert {path: server.status(path) for path in asked} == dict.fromkeys(asked, 200)


def test_the_grpc_port_speaks_grpc_and_is_healthy(server: Server) -> None:
    channel = grpc.insecure_channel(server.grpc)
    try:
        grpc.channel_ready_future(channel).result(30)
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        assert check(b"", timeout=30) == b"\x08\x01"  # SERVING
    finally:
        channel.close()


def test_metrics_are_where_prometheus_looks_and_have_what_scales_pods(server: Server) -> None:
    (monitor,) = of_kind("tests/gpu-environment", "ServiceMonitor")
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] == "http"
    infer(server)
    status, body = server.get(endpoint["path"])
    assert status == 200
    there = set(re.findall(r"(?m)^(modelyard_\w+)", body.decode()))
    rules = yaml.safe_load((K8S / "components" / "queue-scaling" / "prometheus-adapter.yaml").read_text())["rules"]
    texts = [rule[key] for rule in rules["custom"] for key in ("seriesQuery", "metricsQuery")]
    for scaled in of_kind("tests/keda", "ScaledObject"):
        texts += [trigger["metadata"]["query"] for trigger in scaled["spec"]["triggers"][1:]]
    wanted = {name for text in texts for name in re.findall(r"modelyard_\w+", text)}
    assert len(wanted) == 3
    assert wanted <= there
    for item in servers(LOCAL):
        said = item["spec"]["template"]["metadata"]["annotations"]
        assert (said["prometheus.io/path"], said["prometheus.io/port"]) == (endpoint["path"], "3000")


def test_redis_lets_the_server_do_its_work(server: Server, cache: RedisServer) -> None:
    until(lambda: server.metric("modelyard_cache_up") == 1, "redis is in use")
    infer(server)
    until(lambda: infer(server)["parameters"]["cache"] == "hit", "the row comes from redis")
    assert server.metric("modelyard_cache_rows_total", result="hit_redis") > 0
    assert server.metric("modelyard_cache_errors_total", tier="redis") == 0


@pytest.mark.parametrize(
    ("user", "command"),
    [
        ("modelyard", ["KEYS", "*"]),
        ("modelyard", ["SET", "somebody:else", "1"]),
        ("modelyard", ["GET", "somebody:else"]),
        ("modelyard", ["FLUSHALL"]),
        ("modelyard", ["CONFIG", "GET", "*"]),
        ("modelyard", ["ACL", "LIST"]),
        ("default", ["GET", "modelyard:x"]),
        ("default", ["SET", "modelyard:x", "1"]),
        ("default", ["KEYS", "*"]),
    ],
)
def test_redis_refuses_everything_else(cache: RedisServer, user: str, command: list[str]) -> None:
    with redis.Redis(port=cache.port, username=user, password="local") as client:
        assert client.ping()  # what the probe asks, of either user
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.execute_command(*command)


def test_redis_answers_other_machines(cache: RedisServer) -> None:
    """In its protected mode it would not, since its default user has no password."""
    with redis.Redis(host=own_address(), port=cache.port, username="modelyard", password="local") as client:
        assert client.ping()


def own_address() -> str:
    """Of this machine, as others see it; a datagram's socket is told it without sending anything."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:  # no network at all: then nobody can ask from outside either
            return "127.0.0.1"
        return str(probe.getsockname()[0])


def test_redis_asks_for_the_password(cache: RedisServer) -> None:
    client = redis.Redis(port=cache.port, username="modelyard", password="wrong")
    with client, pytest.raises(redis.exceptions.AuthenticationError):
        client.ping()


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_drain_is_obeyed_from_here_and_not_through_a_gateway(overlay: str, tmp_path: Path) -> None:
    with serve(ROOT / "models", MODEL, manifest_settings(overlay, tmp_path)) as running:
        (item,) = (one for one in servers(overlay) if name_of(one) == f"{MODEL}-server")
        hook = container_of(item)["lifecycle"]["preStop"]["httpGet"]
        assert hook["port"] == "http"
        assert ask(running, hook["path"], {"x-forwarded-for": "192.0.2.1"})[0] == 403
        assert running.status("/v2/health/ready") == 200
        status, answer = ask(running, hook["path"])
        assert (status, answer["state"]) == (200, "draining")
        assert running.status("/v2/health/ready") == 503
        assert running.status("/v2/health/live") == 200


def ask(server: Server, path: str, headers: dict[str, str] | None = None) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=30)
    try:
        connection.request("GET", path, headers=headers or {})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()
