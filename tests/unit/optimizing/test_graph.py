"""The way to INT8 that the operators of a graph suggest, and the files that its weights lie in."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from modelyard.errors import ConfigurationError
from modelyard.optimizing.graph import Method, choose_method, external_files, operators, write_half
from tests.integration.onnx_models import affine, slow
from tests.integration.optimize_models import convolutional, wide


@pytest.mark.parametrize(
    ("found", "method"),
    [
        ({"MatMul": 48, "LayerNormalization": 13, "Softmax": 6}, "dynamic"),
        ({"Gemm": 2, "Relu": 1}, "dynamic"),
        ({"Conv": 1, "MatMul": 72}, "dynamic"),
        ({"Conv": 2, "Gemm": 2, "MaxPool": 1}, "static"),
        ({"Conv": 53, "Gemm": 1}, "static"),
        ({"Gemm": 2, "ConvTranspose": 3}, "static"),
        ({"Conv": 1, "Gemm": 2}, "static"),
    ],
)
def test_products_are_dynamic_and_convolutions_static(found: dict[str, int], method: Method) -> None:
    assert choose_method(Counter(found)) == method


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"TreeEnsembleClassifier": 1, "Cast": 2}, "TreeEnsembleClassifier"),
        ({"MatMul": 3, "DequantizeLinear": 2}, "quantized"),
        ({"MatMulInteger": 3, "MatMul": 1}, "quantized"),
    ],
)
def test_where_int8_cannot_help_that_is_said(found: dict[str, int], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        choose_method(Counter(found))


def test_operators_are_counted_within_subgraphs_too(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(convolutional(), path)
    assert operators(path) == {"Conv": 2, "Relu": 2, "MaxPool": 1, "Flatten": 1, "Gemm": 1}
    onnx.save(slow(1.0), path)
    assert operators(path)["MatMul"] == 1, "the one in the body of the loop"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ConfigurationError, match=r"model\.onnx"):
        operators(path)


def test_files_with_weights_are_found(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(wide(8), path)
    assert external_files(path) == set()
    onnx.save(wide(64), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert external_files(path) == {"weights.bin"}


def test_half_keeps_the_interface_and_nearly_the_answers(tmp_path: Path) -> None:
    weight = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    onnx.save(affine(weight, np.ones(3, np.float32)), tmp_path / "full.onnx")
    write_half(tmp_path / "full.onnx", tmp_path / "half.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "half.onnx", providers=["CPUExecutionProvider"])
    x = np.random.default_rng(1).standard_normal((5, 4)).astype(np.float32)
    (answer,) = session.run(["y"], {"x": x})
    assert answer.dtype == np.float32
    np.testing.assert_allclose(answer, x @ weight + 1, rtol=1e-2, atol=1e-2)
    weights = onnx.load(tmp_path / "half.onnx").graph.initializer
    assert {weight.data_type for weight in weights} == {onnx.TensorProto.FLOAT16}
