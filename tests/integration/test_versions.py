"""Version folders that must not be served, and what the weights of a version have to do with its answers."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http

from tests.integration.calls import PROTOCOLS, ask, row
from tests.integration.harness import Server, free_port, import_model, modelyard, serve
from tests.integration.onnx_models import affine

NAME = "line"
WEIGHT = np.array([[2.0]], dtype=np.float32)
BIAS = np.array([1.0], dtype=np.float32)

Break = Callable[[Path], None]


def copy_version(versions: Path, version: str) -> Path:
    """A copy of version 1 under another name."""
    folder = versions / version
    shutil.copytree(versions / "1", folder)
    edit_manifest(folder, lambda manifest: manifest.update(version=version))
    return folder


def edit_manifest(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a version's manifest."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def write_with_weights(folder: Path, model: onnx.ModelProto) -> None:
    """Replace a version's artifact by `model` with its weights in a file beside it, as models above 2 GiB are."""
    (folder / "model.onnx").unlink()
    artifact = folder / "model.onnx"
    onnx.save_model(model, artifact, save_as_external_data=True, location="weights.bin", size_threshold=0)

    def change(manifest: dict[str, Any]) -> None:
        for name in ("model.onnx", "weights.bin"):
            content = (folder / name).read_bytes()
            manifest["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        manifest["golden"] = None

    edit_manifest(folder, change)


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
    target = folder.parents[2] / "elsewhere.onnx"
    (folder / "model.onnx").rename(target)
    (folder / "model.onnx").symlink_to(target)


def name_another_model(folder: Path) -> None:
    edit_manifest(folder, lambda manifest: manifest.update(model="another"))


def name_no_artifact(folder: Path) -> None:
    edit_manifest(folder, lambda manifest: manifest.pop("artifact"))


def link_the_manifest(folder: Path) -> None:
    target = folder.parents[2] / "elsewhere.json"
    (folder / "manifest.json").rename(target)
    (folder / "manifest.json").symlink_to(target)


def link_the_folder(folder: Path) -> None:
    target = folder.parents[2] / "elsewhere" / folder.name
    shutil.move(folder, target)
    folder.symlink_to(target)


def keep_weights_that_nobody_lists(folder: Path) -> None:
    write_with_weights(folder, affine(WEIGHT, BIAS))
    edit_manifest(folder, lambda manifest: manifest["files"].pop("weights.bin"))


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
    "11": (link_the_manifest, "manifest.json"),
    "12": (link_the_folder, "link"),
    "13": (keep_weights_that_nobody_lists, "weights.bin"),
}
"""Version to what is wrong with it and a word of the reason that must be given."""


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with one good version."""
    folder = tmp_path_factory.mktemp("good")
    import_model(folder, NAME, affine(WEIGHT, BIAS))
    return folder


@pytest.fixture(scope="module")
def broken(good: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of a repository whose version 1 is good and all newer ones are broken."""
    folder = tmp_path_factory.mktemp("broken")
    shutil.copytree(good, folder, dirs_exist_ok=True)
    versions = folder / NAME / "versions"
    for version, (spoil, _) in BROKEN.items():
        spoil(copy_version(versions, version))
    with serve(folder, NAME) as server:
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


def test_weights_beside_the_artifact_are_part_of_the_version(good: Path, tmp_path: Path) -> None:
    """Two versions with equal graphs and other weights in a file beside them never share an answer."""
    shutil.copytree(good, tmp_path, dirs_exist_ok=True)
    versions = tmp_path / NAME / "versions"
    other = WEIGHT + 5
    for version, weight in (("2", WEIGHT), ("3", other)):
        write_with_weights(copy_version(versions, version), affine(weight, BIAS))
    assert (versions / "2" / "model.onnx").read_bytes() == (versions / "3" / "model.onnx").read_bytes()
    x = row(4)
    with serve(tmp_path, NAME) as server:
        for _ in range(2):
            np.testing.assert_array_equal(ask(server, {"x": x}, version="2").only, x @ WEIGHT + BIAS)
            np.testing.assert_array_equal(ask(server, {"x": x}, version="3").only, x @ other + BIAS)


def test_a_model_without_a_good_version_is_not_served(good: Path, tmp_path: Path) -> None:
    shutil.copytree(good, tmp_path, dirs_exist_ok=True)
    version = tmp_path / NAME / "versions" / "1"
    change_a_byte(version)
    assert "sha256" in refusal(tmp_path, NAME)
    shutil.rmtree(version)
    assert "version" in refusal(tmp_path, NAME)


def test_an_unknown_model_is_not_served(good: Path) -> None:
    assert "nobody" in refusal(good, "nobody")


def refusal(repository: Path, name: str) -> str:
    """The one line with which `modelyard serve` ends, with exit code 1."""
    ports = ("--port", str(free_port()), "--grpc-port", str(free_port()))
    done = modelyard("serve", name, "--repository", repository, *ports, timeout=60)
    assert done.code == 1
    assert "Traceback" not in done.err + done.out
    (line,) = [line for line in done.err.splitlines() if line.startswith("error: ")]
    return line
