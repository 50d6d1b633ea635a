"""Which change of names, datatypes and shapes breaks a caller."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelyard.errors import ConfigurationError
from modelyard.lifecycle.interface import added, broken, interface_of
from modelyard.manifest import Interface, Manifest, publish, read_manifest
from modelyard.spec import ModelSpec, read_spec
from tests.integration import onnx_models
from tests.unit.lifecycle.models import INPUT, OUTPUT, add, tensors, without_interface, write_spec

MORE = {"name": "extra", "datatype": "FP32", "shape": [-1]}


def interface(inputs: list[dict[str, Any]] | None = None, outputs: list[dict[str, Any]] | None = None) -> Interface:
    return Interface(inputs=tensors(*(inputs or [INPUT])), outputs=tensors(*(outputs or [OUTPUT])))


@pytest.mark.parametrize(
    ("after", "faults"),
    [
        (interface(), []),
        (interface(outputs=[OUTPUT, MORE]), []),
        (interface(outputs=[MORE, OUTPUT]), []),
        (interface(inputs=[INPUT, MORE]), ["input 'extra' is new: callers do not send it"]),
        (interface(outputs=[MORE]), ["output 'y' is gone"]),
        (
            interface(inputs=[INPUT | {"name": "z"}]),
            ["input 'x' is gone", "input 'z' is new: callers do not send it"],
        ),
        (interface(inputs=[INPUT | {"datatype": "FP16"}]), ["input 'x' is FP16 [-1, 2], it was FP32 [-1, 2]"]),
        (interface(inputs=[INPUT | {"shape": [-1, 3]}]), ["input 'x' is FP32 [-1, 3], it was FP32 [-1, 2]"]),
        (interface(inputs=[INPUT | {"shape": [-1]}]), ["input 'x' is FP32 [-1], it was FP32 [-1, 2]"]),
        (interface(outputs=[OUTPUT | {"datatype": "INT64"}]), ["output 'y' is INT64 [-1, 2], it was FP32 [-1, 2]"]),
    ],
)
def test_what_breaks_callers(after: Interface, faults: list[str]) -> None:
    assert broken(interface(), after) == faults


def test_new_outputs_are_named() -> None:
    assert added(interface(), interface(outputs=[OUTPUT, MORE])) == ["extra"]
    assert added(interface(), interface()) == []


def published(folder: Path, version: str = "1") -> tuple[Path, Manifest, ModelSpec]:
    place = folder / "versions" / version
    return place, read_manifest(place), read_spec(folder)


def test_a_version_says_its_own_interface(tmp_path: Path) -> None:
    folder = write_spec(tmp_path)
    add(folder, "1", interface=interface(outputs=[OUTPUT | {"name": "own"}]))
    assert [tensor.name for tensor in interface_of(*published(folder)).outputs] == ["own"]


def test_an_older_manifest_takes_what_model_yaml_says(tmp_path: Path) -> None:
    folder = write_spec(tmp_path)
    without_interface(add(folder, "1"))
    assert interface_of(*published(folder)) == interface()


def test_of_an_older_version_the_artifact_has_the_last_word(tmp_path: Path) -> None:
    folder = write_spec(tmp_path)
    without_interface(add(folder, "1"))
    write_spec(
        tmp_path,
        inputs=[INPUT | {"shape": [-1, 5]}],
        outputs=[OUTPUT | {"name": "renamed"}],
    )
    found = interface_of(*published(folder))
    assert found.inputs == tensors(INPUT), "the artifact takes two columns, whatever model.yaml says now"
    assert found.outputs == tensors(OUTPUT)


def test_outputs_that_model_yaml_hides_stay_hidden(tmp_path: Path) -> None:
    folder = write_spec(
        tmp_path,
        inputs=[
            {"name": "a", "datatype": "FP32", "shape": [-1, 4]},
            {"name": "b", "datatype": "INT32", "shape": [-1, 4]},
        ],
        outputs=[{"name": "sum", "datatype": "FP32", "shape": [-1, 4]}],
    )
    without_interface(add(folder, "1", model=onnx_models.two_inputs(), rows=0))
    found = interface_of(*published(folder))
    assert [tensor.name for tensor in found.inputs] == ["a", "b"]
    assert [tensor.name for tensor in found.outputs] == ["sum"]


def test_an_artifact_that_cannot_be_opened_has_no_interface(tmp_path: Path) -> None:
    folder = write_spec(tmp_path)
    place, manifest, spec = published_nonsense(folder)
    with pytest.raises(ConfigurationError, match="cannot be opened"):
        interface_of(place, manifest, spec)


def published_nonsense(folder: Path) -> tuple[Path, Manifest, ModelSpec]:
    source = folder.parent / "model.onnx"
    source.write_bytes(b"no model at all")
    without_interface(publish(folder, "1", source))
    return published(folder)
