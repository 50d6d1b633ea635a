"""What a packed version becomes, and what is refused: in one line, with nothing left behind."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from onnx import TensorProto, helper

from modelyard.aliases import read_aliases
from modelyard.errors import ConfigurationError
from modelyard.manifest import list_versions
from modelyard.repository import list_models, load_model
from tests.integration import onnx_models
from tests.unit.packing.packed import (
    NAME,
    SPEC,
    changed,
    members,
    packed,
    refused,
    repository,
    take,
    with_file,
    written,
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return packed(tmp_path)


def test_a_packed_version_serves_in_an_empty_repository(file: Path, tmp_path: Path) -> None:
    received = take(file, tmp_path / "deep" / "models")
    assert (received.new_model, received.there, received.kept) == (True, False, False)
    model = load_model(tmp_path / "deep" / "models", NAME)
    assert (list(model.versions), model.refused) == (["1"], {})
    assert (tmp_path / "deep" / "models" / NAME / "README.md").read_text() == "# It scales\n"
    assert [path.name for path in (tmp_path / "deep" / "models").iterdir()] == [NAME]


def test_no_mode_and_no_owner_of_the_file_counts(file: Path, tmp_path: Path) -> None:
    content = members(file)
    for about, _ in content:
        about.mode, about.uid, about.uname, about.mtime = 0o7777, 1234, "nobody", 2**31
    into = tmp_path / "models"
    take(written(file, content), into)
    for path in into.rglob("*"):
        assert path.lstat().st_mode & 0o7022 == 0
        assert path.is_dir() or not os.access(path, os.X_OK)
        assert path.stat().st_uid == os.getuid()


def test_a_second_version_keeps_what_is_there(tmp_path: Path) -> None:
    into = repository(tmp_path / "models", "1", limits={"queue_seconds": 1.0})
    text = (into / NAME / "model.yaml").read_text()
    received = take(packed(tmp_path, "2"), into)
    assert (received.new_model, received.kept) == (False, True)
    assert received.spec.limits.queue_seconds == 1.0
    assert (into / NAME / "model.yaml").read_text() == text
    assert list_versions(into / NAME) == ["1", "2"]
    assert read_aliases(into / NAME).stable is None, "nothing is promoted"
    assert [path.name for path in into.iterdir()] == [NAME]


def test_what_is_there_already_is_said_to_be_there(file: Path, tmp_path: Path) -> None:
    take(file, tmp_path / "models")
    before = (tmp_path / "models" / NAME / "versions" / "1" / "model.onnx").stat()
    assert take(file, tmp_path / "models").there
    assert (tmp_path / "models" / NAME / "versions" / "1" / "model.onnx").stat().st_ino == before.st_ino


def test_a_version_that_is_there_and_differs_is_refused(file: Path, tmp_path: Path) -> None:
    into = repository(tmp_path / "models", "1", factor=7.0)
    with pytest.raises(ConfigurationError, match="stands already, with other files"):
        take(file, into)
    (into / NAME / "versions" / "1" / "model.onnx").write_bytes(b"broken")
    with pytest.raises(ConfigurationError, match="stands already, and is broken"):
        take(file, into)


@pytest.mark.parametrize(
    "other",
    [
        {"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}]},
        {"outputs": [{"name": "z", "datatype": "FP32", "shape": [-1, 2]}]},
        {"inputs": [{"name": "x", "datatype": "FP64", "shape": [-1, 2]}]},
    ],
)
def test_a_model_that_is_called_otherwise_is_another_one(file: Path, tmp_path: Path, other: dict[str, Any]) -> None:
    into = tmp_path / "models"
    (into / NAME).mkdir(parents=True)
    (into / NAME / "model.yaml").write_text(yaml.safe_dump({**SPEC, **other}))
    with pytest.raises(ConfigurationError, match="is of another model: its"):
        take(file, into)
    assert sorted(path.name for path in into.rglob("*")) == ["model.yaml", NAME]


def test_an_old_version_of_a_model_that_has_changed_goes_where_it_still_fits(file: Path, tmp_path: Path) -> None:
    into = repository(tmp_path / "models", "2")
    now = yaml.safe_dump({**SPEC, "outputs": [{"name": "other", "datatype": "FP32", "shape": [-1, 2]}]}).encode()
    take(changed(file, {"model.yaml": now}), into)
    assert list_versions(into / NAME) == ["1", "2"]


def test_a_model_folder_without_model_yaml_is_completed(file: Path, tmp_path: Path) -> None:
    (tmp_path / "models" / NAME).mkdir(parents=True)
    assert take(file, tmp_path / "models").new_model
    assert list_models(tmp_path / "models") == [NAME]


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/passwd", "absent.bin", "a/../../secret.bin"])
def test_an_onnx_file_that_reads_elsewhere_is_refused(tmp_path: Path, location: str) -> None:
    node = helper.make_node("Add", ["x", "weight"], ["y"])
    sides = [onnx_models.value(name, "FP32", (-1, 2)) for name in "xy"]
    model = onnx_models.build([node], sides[:1], sides[1:], {"weight": np.zeros(2, np.float32)})
    (weight,) = model.graph.initializer
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=location)
    refused(with_file(packed(tmp_path), "model.onnx", model.SerializeToString()), "model.onnx refers to")


@pytest.mark.parametrize("data", [b"MZ this is a program", b"", b"\x80\x04\x95 a pickle"])
def test_an_artifact_that_is_no_onnx_file_is_refused(file: Path, data: bytes) -> None:
    refused(with_file(file, "model.onnx", data), "no ONNX file")


def test_golden_rows_that_are_none_are_refused(file: Path) -> None:
    refused(with_file(file, "golden.json", b'{"inputs": []}'), "golden")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "absent", tmp_path, tmp_path / "pipe"):
        refused(path, path.name)
