"""ONNX Runtime behind the port: every datatype, strict about what the artifact is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from modelyard.backends.base import BackendUnavailable
from modelyard.backends.onnxruntime import DATATYPES, TYPES, OnnxRuntimeBackend, open_session
from modelyard.errors import ConfigurationError, InvalidInput
from modelyard.spec import BackendSpec, ModelSpec, TensorSpec
from modelyard.tensors import DTYPES
from tests.integration import onnx_models
from tests.unit.strategies import bytes_array, same


def saved(folder: Path, model: onnx.ModelProto) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def tensor(name: str, datatype: str = "FP32", width: int = -1) -> TensorSpec:
    return TensorSpec(name=name, datatype=datatype, shape=(-1, width))


def opened(artifact: Path, inputs: list[TensorSpec], outputs: list[TensorSpec]) -> OnnxRuntimeBackend:
    spec = ModelSpec(name="m", inputs=tuple(inputs), outputs=tuple(outputs))
    return OnnxRuntimeBackend(artifact, spec, BackendSpec(name="onnxruntime-cpu"))


@pytest.mark.parametrize("datatype", sorted(DTYPES))
def test_every_datatype_goes_through_bit_for_bit(tmp_path: Path, datatype: str) -> None:
    backend = opened(saved(tmp_path, onnx_models.identity(datatype)), [tensor("x", datatype)], [tensor("y", datatype)])
    if datatype == "BYTES":
        array = bytes_array([b"", "ä\0€".encode()], (2, 1))
    else:
        bits = np.array([[0, 1, 0x7F, 0x80]], np.uint8) & (1 if datatype == "BOOL" else 0xFF)
        array = np.tile(bits, (2, 8)).view(DTYPES[datatype])
    (result,) = backend.infer([array], ["y"])
    assert same(result, array)
    backend.close()


def test_every_datatype_has_a_type_of_its_own() -> None:
    assert set(TYPES) == set(DTYPES)
    assert len(DATATYPES) == len(TYPES)


def test_outputs_come_in_the_order_asked_for(tmp_path: Path) -> None:
    artifact = saved(tmp_path, onnx_models.two_inputs())
    backend = opened(
        artifact,
        [tensor("a", "FP32", 4), tensor("b", "INT32", 4)],
        [tensor("sum", "FP32", 4), tensor("twice", "INT32", 4)],
    )
    inputs = [np.ones((1, 4), np.float32), np.full((1, 4), 3, np.int32)]
    twice, total = backend.infer(inputs, ["twice", "sum"])
    assert (twice.tolist(), total.tolist()) == ([[6] * 4], [[4.0] * 4])
    assert len(backend.infer(inputs, ["sum"])) == 1


def test_bytes_that_are_no_text_are_the_callers_fault(tmp_path: Path) -> None:
    backend = opened(saved(tmp_path, onnx_models.identity("BYTES")), [tensor("x", "BYTES")], [tensor("y", "BYTES")])
    with pytest.raises(InvalidInput, match="UTF-8"):
        backend.infer([bytes_array([b"\xff"], (1, 1))], ["y"])


@pytest.mark.parametrize(
    ("inputs", "outputs", "text"),
    [
        ([tensor("x", "FP64")], [tensor("y")], "input 'x' is FP64, model.onnx has FP32"),
        ([tensor("z")], [tensor("y")], "input 'z'"),
        ([tensor("x")], [tensor("w")], "output 'w'"),
    ],
)
def test_an_artifact_that_is_not_what_the_spec_says_is_refused(
    tmp_path: Path, inputs: list[TensorSpec], outputs: list[TensorSpec], text: str
) -> None:
    with pytest.raises(ConfigurationError, match=text):
        opened(saved(tmp_path, onnx_models.identity()), inputs, outputs)


def test_an_input_that_the_spec_leaves_out_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="'b'"):
        opened(saved(tmp_path, onnx_models.two_inputs()), [tensor("a", "FP32", 4)], [tensor("sum", "FP32", 4)])


def test_a_file_that_is_no_model_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(BackendUnavailable):
        open_session(path)


def test_a_provider_that_is_not_there_is_refused_not_replaced(tmp_path: Path) -> None:
    artifact = saved(tmp_path, onnx_models.identity())
    with pytest.raises(BackendUnavailable, match="NoSuchProvider"):
        open_session(artifact, "NoSuchProvider")


def test_no_rows_are_answered_without_running_a_recurrent_operator_on_them(tmp_path: Path) -> None:
    """ONNX Runtime's GRU ends the process when it gets no row: without our care this test would end the run."""
    random = np.random.default_rng(0)
    weights = [
        onnx.numpy_helper.from_array(random.standard_normal(shape).astype(np.float32), name)
        for name, shape in (("W", (1, 12, 3)), ("R", (1, 12, 4)))
    ]
    nodes = [
        onnx.helper.make_node("Transpose", ["x"], ["steps"], perm=[1, 0, 2]),
        onnx.helper.make_node("GRU", ["steps", "W", "R"], ["", "states"], hidden_size=4),
        onnx.helper.make_node("Squeeze", ["states", "first"], ["y"]),
    ]
    floats = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        nodes,
        "recurrent",
        [onnx.helper.make_tensor_value_info("x", floats, ["rows", "length", 3])],
        [onnx.helper.make_tensor_value_info("y", floats, ["rows", 4])],
        [*weights, onnx.numpy_helper.from_array(np.array([0]), "first")],
    )
    artifact = saved(
        tmp_path, onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    )
    x, y = TensorSpec(name="x", datatype="FP32", shape=(-1, -1, 3)), tensor("y", width=4)
    backend = opened(artifact, [x], [y])
    (answer,) = backend.infer([np.zeros((0, 5, 3), np.float32)], ["y"])
    assert answer.shape == (0, 4)
    assert answer.dtype == np.float32
    (answer,) = backend.infer([np.ones((2, 5, 3), np.float32)], ["y"])
    assert answer.shape == (2, 4)
