"""What a graph says of itself, and what of it cannot be served."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from modelyard.errors import ConfigurationError
from modelyard.importing.describe import about, complete_shapes, describe, foreign_domains
from tests.integration import onnx_models

SOURCE = Path("m.onnx")


def graph(inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto], domain: str = "") -> onnx.ModelProto:
    node = helper.make_node("Identity", ["x"], ["y"], domain=domain)
    return helper.make_model(helper.make_graph([node], "g", inputs, outputs))


def plain(name: str = "x", shape: tuple[int, ...] = (-1, 2)) -> onnx.ValueInfoProto:
    value = onnx_models.value(name, "FP32", (1,) * len(shape))
    for dimension, size in zip(value.type.tensor_type.shape.dim, shape, strict=True):
        dimension.dim_value = size
    return value


def test_minus_one_is_a_free_dimension() -> None:
    spec = describe(graph([plain()], [plain("y")]), "m", SOURCE)
    assert spec.inputs[0].shape == (-1, 2)
    assert not spec.batched


def test_a_constant_that_is_listed_as_an_input_is_none() -> None:
    model = graph([plain(), plain("w")], [plain("y")])
    model.graph.initializer.append(helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0]))
    assert [tensor.name for tensor in describe(model, "m", SOURCE).inputs] == ["x"]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (plain(shape=(2**40, 2)), "declares the shape"),
        (plain(shape=(-7, 2)), "declares the shape"),
        (plain(shape=(1,) * 40), "declares the shape"),
        (plain("x\x1b[31m"), "control characters"),
        (plain("x\ny"), "control characters"),
        (plain("x" * 600), "longer than 512"),
        (plain(""), "is empty"),
        (helper.make_sparse_tensor_value_info("x", TensorProto.FLOAT, [2, 2]), "sparse_tensor_type"),
        (onnx.ValueInfoProto(name="x"), "no type"),
        (helper.make_tensor_value_info("x", TensorProto.COMPLEX64, [1]), "COMPLEX64"),
        (helper.make_tensor_value_info("x", 99, [1]), "type 99"),
        (helper.make_tensor_value_info("x", TensorProto.FLOAT, None), "has no shape"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_served_is_refused(value: onnx.ValueInfoProto, words: str) -> None:
    for inputs, outputs in (([value], [plain("y")]), ([plain()], [value])):
        with pytest.raises(ConfigurationError, match=words) as caught:
            describe(graph(inputs, outputs), "m", SOURCE)
        assert "\x1b" not in str(caught.value)


def test_a_shape_that_follows_from_the_graph_is_found() -> None:
    model = graph([plain()], [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])
    complete_shapes(model)
    assert describe(model, "m", SOURCE).outputs[0].shape == (-1, 2)
    model.graph.node[0].op_type = "Unheard"
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, None))
    complete_shapes(model)
    with pytest.raises(ConfigurationError, match="has no shape"):
        describe(model, "m", SOURCE)


def test_names_are_unique_and_there_is_an_input() -> None:
    with pytest.raises(ConfigurationError, match="two inputs are called 'x'"):
        describe(graph([plain(), plain()], [plain("y")]), "m", SOURCE)
    with pytest.raises(ConfigurationError, match="no inputs"):
        describe(graph([], [plain("y")]), "m", SOURCE)


def test_a_text_in_the_file_cannot_move_the_cursor() -> None:
    model = graph([plain()], [plain("y")])
    model.doc_string = "a\x1b[2J\nmodel" + "x" * 10_000
    model.producer_name = "\x07bell"
    assert describe(model, "m", SOURCE).description.startswith("a [2J model")
    assert str(about(model)["producer"]).isprintable()


def test_domains_that_no_runtime_has_are_named() -> None:
    model = graph([plain()], [plain("y")], "com.acme")
    assert foreign_domains(model) == ["com.acme"]
    model.functions.add(name="Identity", domain="com.acme")
    assert foreign_domains(model) == []
