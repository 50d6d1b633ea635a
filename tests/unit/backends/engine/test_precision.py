"""What becomes of an artifact before TensorRT reads it: FP16 models are checked by ONNX and run by ONNX Runtime."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from modelyard.backends.engine import half
from modelyard.backends.engine.precision import UnsupportedModel, prepare
from modelyard.spec import Precision
from tests.integration import onnx_models
from tests.integration.onnx_models import build, session_of, value

Model = Any
RANDOM = np.random.default_rng(3)


def normal(*shape: int) -> NDArray[np.float32]:
    return RANDOM.standard_normal(shape).astype(np.float32)


def node(operator: str, inputs: str, outputs: str, **attributes: Any) -> Any:
    return helper.make_node(operator, inputs.split(), outputs.split(), **attributes)


def converted(model: Model) -> Model:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return half.to_half(copy)


def types_in(model: Model) -> set[int]:
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    return {value.type.tensor_type.elem_type for value in inferred.graph.value_info} | {
        weight.data_type for weight in inferred.graph.initializer
    }


def same_answers(model: Model, inputs: dict[str, NDArray[Any]], tolerance: float = 1e-2) -> Model:
    """The converted model, which answers as the model does and keeps its interface."""
    small = converted(model)
    expected = session_of(model).run(None, inputs)
    found = session_of(small).run(None, inputs)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)
    return small


def attention() -> Model:
    """A block of an encoder as exporters write it: constants of all kinds, a Cast of a mask, unnamed nodes."""
    nodes = [
        node("MatMul", "x wq", "q"),
        node("MatMul", "x wk", "k"),
        node("Transpose", "k", "kt", perm=[0, 2, 1]),
        node("MatMul", "q kt", "raw"),
        node("Constant", "", "scale", value_float=8.0),
        node("Div", "raw scale", "scaled"),
        node("Cast", "mask", "kept", to=TensorProto.FLOAT),
        node("Constant", "", "one", value=numpy_helper.from_array(np.array(1, np.float32))),
        node("Sub", "one kept", "masked"),
        node("Constant", "", "least", value_floats=[-1e9]),
        node("Mul", "masked least", "bias"),
        node("Unsqueeze", "bias axis", "wide"),
        node("Add", "scaled wide", "scores"),
        node("Softmax", "scores", "weights", axis=-1),
        node("MatMul", "weights x", "mixed"),
        node("LayerNormalization", "mixed gain shift", "normed", axis=-1, epsilon=1e-12),
        node("ReduceMean", "normed axis", "pooled", keepdims=0),
        node("Pow", "pooled two", "squared"),
        node("Add", "squared pooled", "y"),
    ]
    constants = {
        "wq": normal(8, 8),
        "wk": normal(8, 8),
        "gain": normal(8),
        "shift": normal(8),
        "two": np.array(2, np.float32),
        "axis": np.array([1]),
    }
    inputs = [value("x", "FP32", (-1, 5, 8)), value("mask", "INT64", (-1, 5))]
    return build(nodes, inputs, [value("y", "FP32", (-1, 8)), value("weights", "FP32", (-1, 5, 5))], constants)


def test_an_encoder_block_answers_the_same_in_half() -> None:
    mask = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    small = same_answers(attention(), {"x": normal(2, 5, 8), "mask": mask}, 3e-2)
    by_operator = {each.op_type: each for each in small.graph.node}
    assert TensorProto.FLOAT16 in types_in(small)
    assert {w.data_type for w in small.graph.initializer if w.name.startswith(("wq", "wk"))} == {TensorProto.FLOAT16}
    assert by_operator["ReduceMean"].input[0].endswith("__full")
    assert by_operator["Pow"].input[0] in {"pooled", "pooled__full"}


def test_a_convolution_answers_the_same_in_half() -> None:
    nodes = [
        node("Conv", "x w b", "conv", pads=[1, 1, 1, 1]),
        node("BatchNormalization", "conv gain shift mean variance", "normed"),
        node("Relu", "normed", "active"),
        node("Resize", "active  scales", "large", mode="nearest"),
        node("GlobalAveragePool", "large", "pooled"),
        node("Flatten", "pooled", "y"),
    ]
    nodes[3] = helper.make_node("Resize", ["active", "", "scales"], ["large"], mode="nearest")
    constants = {
        "w": normal(4, 3, 3, 3),
        "b": normal(4),
        "gain": normal(4),
        "shift": normal(4),
        "mean": normal(4),
        "variance": np.abs(normal(4)) + 1,
        "scales": np.array([1, 1, 2, 2], np.float32),
    }
    model = build(nodes, [value("x", "FP32", (-1, 3, 8, 8))], [value("y", "FP32", (-1, 4))], constants)
    small = same_answers(model, {"x": normal(2, 3, 8, 8)})
    kept = {weight.name: weight.data_type for weight in small.graph.initializer}
    assert kept["scales"] == TensorProto.FLOAT  # Resize takes nothing else
    assert len(kept) == len(constants)


@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        (onnx_models.two_inputs(), {"a": normal(2, 4), "b": np.ones((2, 4), np.int32)}),
        (onnx_models.gather_table(8), {"index": np.array([[3], [7]])}),
        (onnx_models.reciprocal(), {"x": normal(2, 4)}),
        (onnx_models.identity(), {"x": normal(2, 4)}),
        (onnx_models.identity("INT64"), {"x": np.ones((1, 2), np.int64)}),
        (onnx_models.affine(normal(2, 3), normal(3)), {"x": normal(4, 2)}),
    ],
)
def test_small_models_answer_the_same_in_half(model: Model, inputs: dict[str, NDArray[Any]]) -> None:
    same_answers(model, inputs)


def test_an_output_that_is_read_within_and_one_that_is_an_input() -> None:
    nodes = [node("Relu", "x", "y"), node("Neg", "y", "z"), node("Identity", "x", "same")]
    outputs = [value(name, "FP32", (-1, 4)) for name in ("y", "z", "same")]
    same_answers(build(nodes, [value("x", "FP32", (-1, 4))], outputs), {"x": normal(2, 4)})


def test_bodies_of_branches_stay_as_they_are() -> None:
    branch = helper.make_graph([node("Add", "middle w", "kept")], "then", [], [value("kept", "FP32", (-1, 4))])
    other = helper.make_graph([node("Identity", "middle", "left")], "else", [], [value("left", "FP32", (-1, 4))])
    nodes = [
        node("Relu", "x", "middle"),
        node("If", "choice", "chosen", then_branch=branch, else_branch=other),
        node("Mul", "chosen middle", "y"),
    ]
    inputs = [value("x", "FP32", (-1, 4)), value("choice", "BOOL", ())]
    model = build(nodes, inputs, [value("y", "FP32", (-1, 4))], {"w": normal(4)})
    for choice in (True, False):
        same_answers(model, {"x": normal(2, 4), "choice": np.array(choice)})


def test_operators_of_other_domains_stay_full() -> None:
    model = onnx_models.random_normal()
    assert all(
        each.op_type != "RandomNormalLike" or "full" in each.input[0] or each.input[0] == "x"
        for each in converted(model).graph.node
    )


def test_constants_beyond_the_range_are_cut_to_it_and_an_epsilon_stays_above_zero(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tensor = numpy_helper.from_array(np.array([1e9, -1e9, np.inf, 1e-12, -1e-12, 0.0, 1.5], np.float32), "w")
    with warnings.catch_warnings(action="error"):
        cut = numpy_helper.to_array(half._half_tensor(tensor, "w"))
    assert cut.tolist() == [65504, -65504, np.inf, 2**-24, -(2**-24), 0, 1.5]
    assert "'w' has values beyond" in caplog.text


def test_a_model_that_cannot_be_typed_is_refused_and_the_value_named() -> None:
    unknown = helper.make_node("Unheard", ["x"], ["middle"], domain="of.nobody")
    graph = helper.make_graph(
        [unknown, node("Relu", "middle", "y")], "g", [value("x", "FP32", (-1, 4))], [value("y", "FP32", (-1, 4))]
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("of.nobody", 1)]
    with pytest.raises(half.CannotConvert, match="'middle'"):
        half.to_half(helper.make_model(graph, opset_imports=opsets, ir_version=10))


def quantized() -> Model:
    nodes = [
        node("QuantizeLinear", "x scale zero", "small"),
        node("DequantizeLinear", "small scale zero", "large"),
        node("Relu", "large", "y"),
    ]
    constants: dict[str, NDArray[Any]] = {"scale": np.array(0.1, np.float32), "zero": np.array(0, np.int8)}
    return build(nodes, [value("x", "FP32", (-1, 4))], [value("y", "FP32", (-1, 4))], constants)


def test_a_quantized_model_can_be_half_as_well() -> None:
    same_answers(quantized(), {"x": normal(2, 4)}, 0.1)


def saved(folder: Path, model: Model) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_what_needs_no_conversion_is_read_as_it_is(tmp_path: Path, precision: Precision) -> None:
    artifact = saved(tmp_path, quantized())
    assert prepare(artifact, precision, tmp_path / "made") == artifact


def test_int8_needs_explicit_quantization(tmp_path: Path) -> None:
    artifact = saved(tmp_path, onnx_models.identity())
    with pytest.raises(UnsupportedModel, match="no DequantizeLinear and no QuantizeLinear"):
        prepare(artifact, "int8", tmp_path)


def test_half_is_written_beside_the_artifact_never_over_it(tmp_path: Path) -> None:
    artifact = saved(tmp_path, attention())
    before = artifact.read_bytes()
    made = tmp_path / "made"
    made.mkdir()
    path = prepare(artifact, "fp16", made)
    assert path.parent == made
    assert TensorProto.FLOAT16 in types_in(onnx.load_model(str(path)))
    assert artifact.read_bytes() == before


def test_weights_beside_the_artifact_are_read(tmp_path: Path) -> None:
    model = onnx_models.affine(normal(64, 64), normal(64))
    path = tmp_path / "model.onnx"
    onnx.save_model(model, str(path), save_as_external_data=True, location="weights", size_threshold=0)
    (tmp_path / "made").mkdir()
    found = onnx.load_model(str(prepare(path, "fp16", tmp_path / "made")))
    assert {weight.data_type for weight in found.graph.initializer} == {TensorProto.FLOAT16}


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, precision: Precision) -> None:
    artifact = tmp_path / "model.onnx"
    artifact.write_bytes(b"no model")
    with pytest.raises(UnsupportedModel, match=r"model\.onnx is no ONNX model"):
        prepare(artifact, precision, tmp_path)
