"""Several servers on one machine, several workers in one server, and versions that must not be served."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http

from tests.integration.calls import PROTOCOLS, ask, row, until
from tests.integration.harness import Server, free_port, import_model, modelyard, serve
from tests.integration.load_clients import GrpcSender, HttpSender
from tests.integration.onnx_models import affine, identity

NAME = "plain"
WEIGHT = np.array([[2.0]], dtype=np.float32)
BIAS = np.array([1.0], dtype=np.float32)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the model `plain`: y = x."""
    folder = tmp_path_factory.mktemp("repository")
    import_model(folder, NAME, identity("FP32", (-1, 1)))
    return folder


def ok_requests(server: Server, **labels: str) -> float:
    """Requests answered so far."""
    return server.metric("modelyard_requests_total", model=server.name, outcome="ok", **labels)


def test_two_servers_do_not_disturb_each_others_metrics(repository: Path) -> None:
    with serve(repository, NAME) as one:
        with serve(repository, NAME) as two:
            for server, count in ((one, 5), (two, 3)):
                for index in range(count):
                    for protocol in PROTOCOLS:
                        ask(server, {"x": row(index)}, protocol)
            assert [ok_requests(server) for server in (one, two)] == [10, 6]
            assert [ok_requests(server, protocol="grpc") for server in (one, two)] == [5, 3]
        ask(one, {"x": row(0)})
        assert ok_requests(one) == 11, "the end of the other took nothing away"
        assert one.metric("modelyard_model_ready", model=NAME) == 1


def workers(server: Server) -> list[int]:
    """Process ids of those that listen on the gRPC port."""
    found = []
    for process in server.processes():
        try:
            ports = {c.laddr.port for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
        except psutil.Error:
            continue
        if server.grpc_port in ports:
            found.append(process.pid)
    return found


def serves(server: Server, count: int) -> bool:
    """Whether `count` requests on new connections of each protocol are answered, one after the other."""
    http, grpc = HttpSender(server, keep=False), GrpcSender(server, keep=False)
    try:
        for number in range(count):
            assert http(number) == number
            assert grpc(number) == number
    except (OSError, RuntimeError, triton_grpc.InferenceServerException):
        return False
    finally:
        http.close()
        grpc.close()
    return True


def test_two_workers_share_ports_and_metrics_and_survive_a_kill(repository: Path) -> None:
    with serve(repository, NAME, workers=2) as server:
        until(lambda: len(workers(server)) == 2, "both workers listen", 30)
        assert serves(server, 40)
        assert ok_requests(server, protocol="http") == 40
        assert ok_requests(server, protocol="grpc") == 40
        assert server.metric("modelyard_model_ready", model=NAME) == 1
        victim = workers(server)[0]
        psutil.Process(victim).kill()
        until(lambda: serves(server, 10), "the other worker serves alone", 5)
        assert server.process.poll() is None
        assert ok_requests(server) >= 80 + 20, "what the killed worker counted is not lost"
        assert server.metric("modelyard_in_flight_requests", model=NAME) == 0
        until(lambda: len(set(workers(server)) - {victim}) == 2, "a new worker takes the place", 30)
        assert serves(server, 20)
        assert server.stop() == 0


Break = Callable[[Path], None]


def edit_manifest(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a version's manifest."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def change_a_byte(folder: Path) -> None:
    content = bytearray((folder / "model.onnx").read_bytes())
    content[-1] ^= 1
    (folder / "model.onnx").write_bytes(content)


def cut_the_artifact(folder: Path) -> None:
    content = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(content[: len(content) // 2])


def leave_the_folder(folder: Path) -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest["files"]["../1/model.onnx"] = manifest["files"].pop("model.onnx")
        manifest["artifact"] = "../1/model.onnx"

    edit_manifest(folder, change)


def link_the_artifact(folder: Path) -> None:
    target = folder.parent.parent.parent / "elsewhere.onnx"
    (folder / "model.onnx").rename(target)
    (folder / "model.onnx").symlink_to(target)


def name_another_model(folder: Path) -> None:
    edit_manifest(folder, lambda manifest: manifest.update(model="another"))


def name_no_artifact(folder: Path) -> None:
    edit_manifest(folder, lambda manifest: manifest.pop("artifact"))


def drop_the_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def spoil_the_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text("{")


def drop_the_artifact(folder: Path) -> None:
    (folder / "model.onnx").unlink()


BROKEN: dict[str, tuple[Break, str]] = {
    "2": (change_a_byte, "sha256"),
    "3": (drop_the_manifest, "manifest"),
    "4": (leave_the_folder, "not allowed"),
    "5": (link_the_artifact, "regular file"),
    "6": (cut_the_artifact, "bytes"),
    "7": (name_another_model, "another"),
    "8": (spoil_the_manifest, "manifest"),
    "9": (name_no_artifact, "artifact"),
    "10": (drop_the_artifact, "missing"),
}
"""Version to what is wrong with it and a word of the reason that must be given."""


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of a repository whose version 1 is good and all newer ones are broken."""
    folder = tmp_path_factory.mktemp("broken")
    import_model(folder, "line", affine(WEIGHT, BIAS))
    versions = folder / "line" / "versions"
    for version, (spoil, _) in BROKEN.items():
        shutil.copytree(versions / "1", versions / version)
        edit_manifest(versions / version, lambda manifest, v=version: manifest.update(version=v))  # type: ignore[misc]
        spoil(versions / version)
    with serve(folder, "line") as server:
        yield server


def test_the_old_version_serves(broken: Server) -> None:
    for protocol in PROTOCOLS:
        answer = ask(broken, {"x": row(4)}, protocol)
        assert answer.version == "1"
        np.testing.assert_array_equal(answer.only, row(9))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_broken_versions_are_refused_by_name(broken: Server, protocol: str) -> None:
    states = index(broken, protocol)
    assert states["1"] == ("READY", "")
    for version, (_, word) in BROKEN.items():
        state, reason = states[version]
        assert state == "UNAVAILABLE"
        assert word in reason, f"version {version}: {reason}"
        assert "/" not in reason.replace("../1/", ""), "a caller does not learn where the repository lies"
        assert any(f"version {version} " in line and word in line for line in broken.log().splitlines())


def index(server: Server, protocol: str) -> dict[str, tuple[str, str]]:
    """The repository index: version to (state, reason)."""
    if protocol == "http":
        with triton_http.InferenceServerClient(server.http) as client:
            entries = client.get_model_repository_index()
    else:
        with triton_grpc.InferenceServerClient(server.grpc) as client:
            entries = client.get_model_repository_index(as_json=True)["models"]
    assert {entry["name"] for entry in entries} == {server.name}
    return {entry["version"]: (entry["state"], entry.get("reason", "")) for entry in entries}


def test_a_refused_version_is_not_ready(broken: Server) -> None:
    assert broken.status("/v2/models/line/versions/2/ready") in (400, 503)
    assert broken.status("/v2/models/line/versions/1/ready") == 200
    assert broken.status("/v2/models/line/versions/99/ready") == 404


def test_a_model_without_a_good_version_is_not_served(repository: Path, tmp_path: Path) -> None:
    shutil.copytree(repository, tmp_path, dirs_exist_ok=True)
    version = tmp_path / NAME / "versions" / "1"
    change_a_byte(version)
    assert "sha256" in refusal(tmp_path, NAME)
    shutil.rmtree(version)
    assert "version" in refusal(tmp_path, NAME)


def test_an_unknown_model_is_not_served(repository: Path) -> None:
    assert "nobody" in refusal(repository, "nobody")


def refusal(repository: Path, name: str) -> str:
    """The one line with which `modelyard serve` ends, with exit code 1."""
    ports = ("--port", str(free_port()), "--grpc-port", str(free_port()))
    done = modelyard("serve", name, "--repository", repository, *ports, timeout=60)
    assert done.code == 1
    assert "Traceback" not in done.err + done.out
    (line,) = [line for line in done.err.splitlines() if line.startswith("error: ")]
    return line
