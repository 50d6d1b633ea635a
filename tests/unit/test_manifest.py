"""Version folders: published whole or not at all, and refused when they are not what was published."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelyard.errors import ConfigurationError
from modelyard.golden import read_golden, write_golden
from modelyard.manifest import list_versions, next_version, publish, read_manifest
from modelyard.tensors import Tensor

X = Tensor("x", "FP32", np.array([[1.0, np.nan]], np.float32))


@pytest.fixture(name="artifact")
def _artifact(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"weights")
    return path


@pytest.fixture(name="folder")
def _folder(tmp_path: Path, artifact: Path) -> Path:
    return publish(tmp_path / "m", "1", artifact, golden_inputs=[X], golden_outputs=[X], metrics={"accuracy": 0.5})


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "manifest.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def test_what_was_published_is_read(folder: Path) -> None:
    manifest = read_manifest(folder)
    assert (manifest.model, manifest.version, manifest.artifact, manifest.golden) == (
        "m",
        "1",
        "model.onnx",
        "golden.json",
    )
    assert manifest.metrics == {"accuracy": 0.5}
    assert (folder / "model.onnx").read_bytes() == b"weights"
    assert set(manifest.files) == {"model.onnx", "golden.json"}
    golden = read_golden(folder / "golden.json")
    assert golden.inputs[0].array.tobytes() == X.array.tobytes()


def test_a_version_is_never_overwritten(folder: Path, artifact: Path) -> None:
    artifact.write_bytes(b"others")
    with pytest.raises(ConfigurationError, match="stands already"):
        publish(folder.parent.parent, "1", artifact)
    assert (folder / "model.onnx").read_bytes() == b"weights"


def test_a_failing_publish_leaves_nothing_behind(tmp_path: Path, artifact: Path) -> None:
    with pytest.raises(ConfigurationError):
        publish(tmp_path / "m", "1", artifact, extra_files=[tmp_path / "absent"])
    assert list((tmp_path / "m" / "versions").iterdir()) == []


@pytest.mark.parametrize("version", ["", "..", "../1", "a/b", ".draft", "1\n", "x" * 200])
def test_a_version_name_with_a_path_in_it_is_refused(tmp_path: Path, artifact: Path, version: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot name a version"):
        publish(tmp_path / "m", version, artifact)


def test_what_publish_takes_can_be_read(tmp_path: Path, artifact: Path) -> None:
    spaced = artifact.rename(tmp_path / "my model.onnx")
    with pytest.raises(ConfigurationError, match="my model"):
        publish(tmp_path / "m", "1", spaced)


def test_an_extra_file_does_not_replace_the_artifact(tmp_path: Path, artifact: Path) -> None:
    other = tmp_path / "other" / "model.onnx"
    other.parent.mkdir()
    other.write_bytes(b"impostor")
    with pytest.raises(ConfigurationError):
        publish(tmp_path / "m", "1", artifact, extra_files=[other])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "model.onnx").write_bytes(b"weightz"),
        lambda folder: (folder / "model.onnx").write_bytes(b"weights+"),
        lambda folder: (folder / "model.onnx").write_bytes(b""),
        lambda folder: (folder / "model.onnx").unlink(),
        lambda folder: (folder / "golden.json").unlink(),
        lambda folder: (folder / "manifest.json").unlink(),
        lambda folder: (folder / "manifest.json").write_text("{"),
        lambda folder: (folder / "manifest.json").write_text("[]"),
        lambda folder: (folder / "manifest.json").write_bytes(b"\xff"),
        lambda folder: (folder / "manifest.json").write_text("[" * 100_000),
        lambda folder: edit(folder, lambda d: d.update(version="2")),
        lambda folder: edit(folder, lambda d: d.update(format=2)),
        lambda folder: edit(folder, lambda d: d.update(extra=1)),
        lambda folder: edit(folder, lambda d: d.update(artifact="other.onnx")),
        lambda folder: edit(folder, lambda d: d.update(golden="other.json")),
        lambda folder: edit(folder, lambda d: d["files"]["model.onnx"].update(sha256="0" * 64)),
        lambda folder: edit(folder, lambda d: d["files"]["model.onnx"].update(sha256="../../etc")),
        lambda folder: edit(folder, lambda d: d["files"].update({"../m.txt": d["files"]["model.onnx"]})),
        lambda folder: edit(folder, lambda d: d["files"].update({"/etc/passwd": d["files"]["model.onnx"]})),
        lambda folder: edit(folder, lambda d: d["files"].update({"": d["files"]["model.onnx"]})),
        lambda folder: (folder / "unlisted.bin").write_bytes(b"x"),
    ],
)
def test_a_folder_that_is_not_what_was_published_is_refused(folder: Path, spoil: Callable[[Path], object]) -> None:
    read_manifest(folder)
    spoil(folder)
    with pytest.raises(ConfigurationError):
        read_manifest(folder)


@pytest.mark.parametrize("name", ["model.onnx", "manifest.json"])
def test_a_link_is_refused_even_to_the_very_same_bytes(folder: Path, tmp_path: Path, name: str) -> None:
    target = (folder / name).rename(tmp_path / "target")
    (folder / name).symlink_to(target)
    with pytest.raises(ConfigurationError):
        read_manifest(folder)


def test_the_identity_covers_weights_beside_the_artifact_and_not_the_golden_tensors(
    tmp_path: Path, artifact: Path
) -> None:
    weights = tmp_path / "weights.bin"
    digests = []
    for version, content in (("1", b"one"), ("2", b"two"), ("3", b"one")):
        weights.write_bytes(content)
        folder = publish(tmp_path / "m", version, artifact, extra_files=[weights])
        digests.append(read_manifest(folder).digest)
    assert digests[0] != digests[1]
    assert digests[0] == digests[2]
    plain, golden = (publish(tmp_path / "n", v, artifact, golden_inputs=g) for v, g in (("1", []), ("2", [X])))
    assert read_manifest(plain).digest == read_manifest(golden).digest


def test_versions_are_ordered_by_number_and_drafts_are_not_seen(tmp_path: Path) -> None:
    assert (list_versions(tmp_path), next_version(tmp_path)) == ([], "1")
    for name in ("10", "9", "beta", ".draft-11-abc"):
        (tmp_path / "versions" / name).mkdir(parents=True)
    (tmp_path / "versions" / "12").write_text("a file")
    assert list_versions(tmp_path) == ["beta", "9", "10"]
    assert next_version(tmp_path) == "11"


@pytest.mark.parametrize("text", ["", "{}", "[]", "{", '{"inputs": [{}], "outputs": []}', "[" * 100_000])
def test_what_is_no_golden_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "golden.json"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match="no golden file"):
        read_golden(path)


def test_a_golden_tensor_whose_bytes_do_not_fit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "golden.json"
    write_golden(path, [X], [])
    path.write_text(path.read_text().replace('"FP32"', '"FP64"'))
    with pytest.raises(ConfigurationError, match="no golden file"):
        read_golden(path)
