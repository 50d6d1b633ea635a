"""A version is served by its own inputs and outputs where they are not those of model.yaml any more."""

from __future__ import annotations

from typing import Any

import pytest

from modelyard.errors import ConfigurationError
from modelyard.interface import with_own_interface
from modelyard.manifest import Interface, Manifest
from modelyard.spec import ModelSpec

X = {"name": "x", "datatype": "FP32", "shape": [-1, 4]}
Y = {"name": "y", "datatype": "FP32", "shape": [-1, 2]}
Z = {"name": "z", "datatype": "INT64", "shape": [-1]}


def spec(**changed: Any) -> ModelSpec:
    document = {"name": "m", "inputs": [X], "outputs": [Y], "backends": [{"name": "onnxruntime-cpu"}], **changed}
    return ModelSpec.model_validate(document)


def manifest(inputs: Any, outputs: Any) -> Manifest:
    interface = Interface.model_validate({"inputs": inputs, "outputs": outputs})
    return Manifest(
        format=1, model="m", version="7", artifact="model.onnx", files={}, created="now", interface=interface
    )


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ([X], [Y]),
        ([X], [Y, Z]),
        ([{**X, "shape": [-1, -1]}], [Y]),
    ],
    ids=["the same", "an output that model.yaml leaves out", "a dimension that model.yaml fixes"],
)
def test_model_yaml_counts_where_it_fits(inputs: Any, outputs: Any) -> None:
    declared = spec()
    assert with_own_interface(declared, manifest(inputs, outputs)) is declared


def test_a_version_of_before_has_none() -> None:
    declared = spec()
    old = manifest([X], [Y]).model_copy(update={"interface": None})
    assert with_own_interface(declared, old) is declared


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ([{**X, "name": "other"}], [Y]),
        ([{**X, "datatype": "FP64"}], [Y]),
        ([{**X, "shape": [-1, 5]}], [Y]),
        ([{**X, "shape": [-1, 4, 1]}], [Y]),
        ([X, {**Z, "name": "more"}], [Y]),
        ([X], [Z]),
        ([X], [{**Y, "datatype": "INT32"}]),
    ],
)
def test_a_version_with_another_interface_keeps_its_own(inputs: Any, outputs: Any) -> None:
    declared = spec(quality={"output": "y", "measure": "top1"}, batching={"max_batch_size": 8})
    own = with_own_interface(declared, manifest(inputs, outputs))
    interface = Interface.model_validate({"inputs": inputs, "outputs": outputs})
    assert (own.inputs, own.outputs) == (interface.inputs, interface.outputs)
    assert (own.batching, own.backends, own.name) == (declared.batching, declared.backends, "m")


def test_one_that_does_not_go_with_the_rest_of_model_yaml_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"version 7 has another interface.*first dimension"):
        with_own_interface(spec(), manifest([{**X, "shape": [3, 4, 1]}], [Y]))
