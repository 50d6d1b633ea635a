"""Quantization by ONNX Runtime, and what is known of the processor."""

from __future__ import annotations

import platform
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest

from modelyard.errors import ConfigurationError
from modelyard.optimizing import int8
from modelyard.optimizing.graph import operators
from tests.integration.onnx_models import session_of
from tests.integration.optimize_models import convolutional, wide


def agreement(full: onnx.ModelProto, quantized: Path, shape: tuple[int, ...]) -> float:
    """Share of made-up rows with the same class."""
    x = np.random.default_rng(0).standard_normal((200, *shape)).astype(np.float32)
    ours, theirs = (session_of(model).run(None, {"x": x})[0] for model in (full, onnx.load(quantized)))
    return float(np.mean(ours.argmax(axis=1) == theirs.argmax(axis=1)))


@pytest.mark.parametrize("reduce_range", [True, False])
def test_dynamic_turns_every_product_into_one_of_integers(tmp_path: Path, reduce_range: bool) -> None:
    model = wide(128)
    onnx.save(model, tmp_path / "full.onnx")
    int8.quantize_dynamic(tmp_path / "full.onnx", tmp_path / "int8.onnx", reduce_range=reduce_range)
    found = operators(tmp_path / "int8.onnx")
    assert found["MatMulInteger"] == 3
    assert found["MatMul"] + found["Gemm"] == 0
    assert agreement(model, tmp_path / "int8.onnx", (64,)) > 0.9
    assert (tmp_path / "int8.onnx").stat().st_size < (tmp_path / "full.onnx").stat().st_size / 2


def test_static_wraps_every_convolution_and_leaves_the_interface(tmp_path: Path) -> None:
    model = convolutional()
    onnx.save(model, tmp_path / "full.onnx")
    rows = {"x": np.random.default_rng(1).standard_normal((70, 1, 8, 8)).astype(np.float32)}
    int8.quantize_static(tmp_path / "full.onnx", tmp_path / "int8.onnx", rows, rows=32, reduce_range=False)
    found = operators(tmp_path / "int8.onnx")
    assert found["QuantizeLinear"]
    assert found["DequantizeLinear"]
    assert found["Conv"] == 2
    assert agreement(model, tmp_path / "int8.onnx", (1, 8, 8)) > 0.9
    graph = onnx.load(tmp_path / "int8.onnx").graph
    assert [value.name for value in (*graph.input, *graph.output)] == ["x", "scores"]


def test_calibration_rows_come_in_whole_batches_and_are_bounded() -> None:
    rows = np.arange(int8.CALIBRATION_ROWS + 100, dtype=np.float32)[:, np.newaxis]
    batches = list(int8._batches({"x": rows}, 100))
    assert Counter(len(batch["x"]) for batch in batches) == {100: int8.CALIBRATION_ROWS // 100}
    few = list(int8._batches({"x": rows[:3]}, 32))
    assert [len(batch["x"]) for batch in few] == [3]


def test_what_cannot_be_quantized_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(ConfigurationError, match="could not quantize broken"):
        int8.quantize_dynamic(path, tmp_path / "int8.onnx", reduce_range=False)


@pytest.mark.parametrize(
    ("machine", "text", "fast"),
    [
        ("x86_64", "flags\t\t: fpu avx2 avx512_vnni\n", True),
        ("x86_64", "model name\t: avx_vnni\nflags\t\t: fpu avx_vnni\n", True),
        ("x86_64", "flags\t\t: fpu avx2 avx512f\n", False),
        ("x86_64", "model name\t: avx512_vnni\nflags : fpu\n", False),
        ("x86_64", None, False),
        ("aarch64", None, True),
    ],
)
def test_the_processor_is_asked_for_vnni(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: str, text: str | None, fast: bool
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    path = tmp_path / "cpuinfo"
    if text is not None:
        path.write_text(text)
    assert int8.has_fast_int8(path) is fast
