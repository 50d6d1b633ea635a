"""Bytes become a model or a clear refusal; external data is a plain file beside it that holds what is claimed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from modelyard.errors import ConfigurationError
from modelyard.importing.read import read_model
from tests.integration import onnx_models

WEIGHT = np.arange(6, dtype=np.float32).reshape(2, 3)


def written(path: Path, model: onnx.ModelProto) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def external(**entries: str) -> onnx.ModelProto:
    """y = x @ weight, the weight in a file beside the model."""
    model = onnx_models.affine(WEIGHT, np.zeros(3, np.float32))
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == "weight")
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        weight.external_data.add(key=key, value=value)
    return model


def test_a_model_keeps_its_bytes(tmp_path: Path) -> None:
    path = written(tmp_path / "m.onnx", onnx_models.identity())
    model, raw = read_model(path)
    assert raw == path.read_bytes()
    assert model.graph.node[0].op_type == "Identity"


@pytest.mark.parametrize("entries", [{}, {"offset": "0", "length": "24"}, {"offset": "4", "length": "24"}])
def test_external_data_is_read(tmp_path: Path, entries: dict[str, str]) -> None:
    start = int(entries.get("offset", "0"))
    (tmp_path / "w.bin").write_bytes(bytes(start) + WEIGHT.tobytes())
    model, raw = read_model(written(tmp_path / "m.onnx", external(location="w.bin", **entries)))
    weight = next(tensor for tensor in onnx.ModelProto.FromString(raw).graph.initializer if tensor.name == "weight")
    assert np.array_equal(onnx.numpy_helper.to_array(weight), WEIGHT)
    assert weight.data_location == TensorProto.DEFAULT
    assert model.ByteSize() == len(raw)


@pytest.mark.parametrize(
    "entries",
    [
        {"length": "23"},
        {"offset": "1"},
        {"offset": "-8"},
        {"offset": "9999999999999999999", "length": "24"},
        {"length": "-1"},
        {"length": "99999"},
        {"offset": "four"},
        {"location": "w.fifo"},
        {"location": "."},
        {"location": "inner"},
        {"location": "w\x00.bin"},
        {"location": "x" * 5000},
    ],
    ids=lambda entries: str(entries)[:40],
)
def test_external_data_that_does_not_hold_the_tensor_is_refused(tmp_path: Path, entries: dict[str, str]) -> None:
    (tmp_path / "w.bin").write_bytes(WEIGHT.tobytes())
    (tmp_path / "inner").mkdir()
    os.mkfifo(tmp_path / "w.fifo")
    with pytest.raises(ConfigurationError):
        read_model(written(tmp_path / "m.onnx", external(**{"location": "w.bin", **entries})))


def test_a_tensor_in_a_subgraph_is_looked_at_too(tmp_path: Path) -> None:
    inner = helper.make_graph(
        [helper.make_node("Identity", ["w"], ["z"])],
        "inner",
        [],
        [onnx_models.value("z", "FP32", (2,))],
        [onnx.TensorProto(name="w", dims=[2], data_type=1, data_location=TensorProto.EXTERNAL)],
    )
    inner.initializer[0].external_data.add(key="location", value="/etc/passwd")
    node = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    graph = helper.make_graph([node], "g", [onnx_models.value("c", "BOOL", ())], [onnx_models.value("y", "FP32", (2,))])
    with pytest.raises(ConfigurationError, match="outside its folder"):
        read_model(written(tmp_path / "m.onnx", helper.make_model(graph)))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200)
@given(st.binary(max_size=64), st.integers(0, 200), st.booleans())
def test_any_damage_is_a_model_or_a_refusal(tmp_path: Path, noise: bytes, place: int, cut: bool) -> None:
    whole = onnx_models.affine(WEIGHT, np.zeros(3, np.float32)).SerializeToString()
    damaged = whole[:place] + noise + (b"" if cut else whole[place + len(noise) :])
    path = tmp_path / "m.onnx"
    path.write_bytes(damaged)
    try:
        read_model(path)
    except ConfigurationError as error:
        text = str(error)
    else:
        text = str(path)
    assert str(path) in text
