"""Graphs that are rewritten answer as before, and what only looks alike is left."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from modelyard.optimizing.graph import operators
from modelyard.optimizing.rewrite import rewrite
from modelyard.tensors import Array
from tests.integration.onnx_models import build, session_of, value

Line = tuple[str, list[str], str]
SCALED: Line = ("Div", ["x", "root"], "scaled")
ERF: list[Line] = [("Erf", ["scaled"], "erf"), ("Add", ["erf", "one"], "plus")]
GELUS: dict[str, list[Line]] = {
    "half of the sum, then x": [SCALED, *ERF, ("Mul", ["half", "plus"], "a"), ("Mul", ["x", "a"], "y")],
    "x times the sum, then half": [SCALED, *ERF, ("Mul", ["x", "plus"], "a"), ("Mul", ["a", "half"], "y")],
    "half of x beforehand": [SCALED, *ERF, ("Mul", ["x", "half"], "a"), ("Mul", ["a", "plus"], "y")],
    "times the inverse root": [
        ("Mul", ["inverse", "x"], "scaled"),
        *ERF,
        ("Mul", ["plus", "x"], "a"),
        ("Mul", ["half", "a"], "y"),
    ],
}
OTHERS: dict[str, list[Line]] = {
    "another constant": [SCALED, *ERF, ("Mul", ["x", "plus"], "a"), ("Mul", ["a", "one"], "y")],
    "another scale": [("Div", ["x", "half"], "scaled"), *ERF, ("Mul", ["x", "plus"], "a"), ("Mul", ["a", "half"], "y")],
    "another factor": [SCALED, *ERF, ("Mul", ["scaled", "plus"], "a"), ("Mul", ["a", "half"], "y")],
    "its scaled input is read elsewhere": [
        SCALED,
        *ERF,
        ("Mul", ["x", "plus"], "a"),
        ("Mul", ["a", "half"], "b"),
        ("Add", ["b", "scaled"], "y"),
    ],
    "its sum is read elsewhere": [
        SCALED,
        *ERF,
        ("Mul", ["x", "plus"], "a"),
        ("Mul", ["a", "half"], "b"),
        ("Add", ["b", "plus"], "y"),
    ],
}
CONSTANTS: dict[str, Array] = {
    "root": np.array(2**0.5, np.float32),
    "inverse": np.array(0.5**0.5, np.float32),
    "one": np.array(1, np.float32),
    "half": np.array([0.5], np.float32),
}


def model_of(lines: list[Line]) -> onnx.ModelProto:
    """x FP32 [-1, 8] -> y of the same shape."""
    nodes = [helper.make_node(kind, inputs, [output], name=output) for kind, inputs, output in lines]
    return build(nodes, [value("x", "FP32", (-1, 8))], [value("y", "FP32", (-1, 8))], CONSTANTS)


def rewritten(path: Path, model: onnx.ModelProto) -> onnx.ModelProto:
    onnx.save(model, path)
    rewrite(path)
    return onnx.load(path)


def answers(model: onnx.ModelProto) -> Array:
    x = np.random.default_rng(0).standard_normal((6, 8)).astype(np.float32)
    answer: Array = session_of(model).run(["y"], {"x": x})[0]
    return answer


@pytest.mark.parametrize("lines", GELUS.values(), ids=GELUS)
def test_every_form_of_gelu_becomes_one_operator(tmp_path: Path, lines: list[Line]) -> None:
    model = model_of(lines)
    after = rewritten(tmp_path / "model.onnx", model)
    assert operators(tmp_path / "model.onnx") == {"Gelu": 1}
    np.testing.assert_allclose(answers(after), answers(model), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("lines", OTHERS.values(), ids=OTHERS)
def test_what_only_looks_like_it_is_left(tmp_path: Path, lines: list[Line]) -> None:
    model = model_of(lines)
    after = rewritten(tmp_path / "model.onnx", model)
    assert operators(tmp_path / "model.onnx")["Gelu"] == 0
    np.testing.assert_array_equal(answers(after), answers(model))


def test_a_sum_that_is_normalised_is_no_add_any_more(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Add", ["x", "ones"], ["a"], name="a"),
        helper.make_node("LayerNormalization", ["a", "ones"], ["b"], name="b"),
        helper.make_node("Add", ["b", "ones"], ["y"], name="y"),
    ]
    ones = {"ones": np.ones(8, np.float32)}
    model = build(nodes, [value("x", "FP32", (-1, 8))], [value("y", "FP32", (-1, 8))], ones)
    after = rewritten(tmp_path / "model.onnx", model)
    assert [node.op_type for node in after.graph.node] == ["Sum", "LayerNormalization", "Add"]
    np.testing.assert_allclose(answers(after), answers(model), rtol=1e-5, atol=1e-6)
