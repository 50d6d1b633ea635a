"""FP32 to INT8 by ONNX Runtime's own quantization.

    prepare: shapes inferred, constants folded          what its guide asks for before anything is quantized
    rewrite: what surrounds the products of a transformer, for `dynamic` (rewrite.py)
    dynamic: weights of MatMul and Gemm in INT8, a scale for each channel; activations by their range in each run
    static:  Quantize/DequantizeLinear around each operator, ranges from calibration rows

Without VNNI, x86 adds pairs of products in 16 bits, which 8-bit weights overflow without a word: there weights get 7
bits (`reduce_range`). Source: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
"""

import contextlib
import io
import logging
import platform
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from onnxruntime import quantization
from onnxruntime.quantization.shape_inference import quant_pre_process

from modelyard.errors import ConfigurationError
from modelyard.optimizing.rewrite import rewrite
from modelyard.tensors import Array

CALIBRATION_ROWS = 512
"""More of them change ranges by little, and each takes a run."""
STATIC_OPERATORS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
PASSING_OPERATORS = (
    *("AveragePool", "Clip", "Flatten", "GlobalAveragePool", "MaxPool", "Pad", "Relu", "Reshape"),
    *("Resize", "Add", "Concat", "Split", "Squeeze", "Transpose", "Unsqueeze"),
)
"""What may stand between two of STATIC_OPERATORS and passes INT8 on. What ends a network (Softmax, Sigmoid) stays
FP32: its answers would come in 256 steps."""
DYNAMIC_OPERATORS = ("MatMul", "Gemm", "Attention", "LSTM", "Gather")
"""Gather for its size, not for its time: a table of embeddings is often half of a transformer's weights."""
_FLOAT = 1
"""onnx.TensorProto.FLOAT"""
_FAST = {"avx512_vnni", "avx_vnni", "amx_int8"}


def has_fast_int8(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Does this processor multiply INT8 without overflow? Taken for no where it cannot be told."""
    if platform.machine().lower() in {"aarch64", "arm64"}:
        return True
    try:
        text = cpuinfo.read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return any(_FAST & set(line.split()) for line in text.splitlines() if line.startswith("flags"))


def quantize_dynamic(artifact: Path, target: Path, *, reduce_range: bool) -> None:
    """Raises ConfigurationError when ONNX Runtime cannot."""
    with _calm(artifact):
        prepared = _prepared(artifact, target)
        rewrite(prepared)
        quantization.quantize_dynamic(
            prepared,
            target,
            op_types_to_quantize=list(DYNAMIC_OPERATORS),
            per_channel=True,
            reduce_range=reduce_range,
            weight_type=quantization.QuantType.QInt8,
            # ONNX's shape inference knows no operator of other domains, so nor the type of what follows one.
            extra_options={"MatMulConstBOnly": True, "DefaultTensorType": _FLOAT},
        )


def quantize_static(
    artifact: Path, target: Path, calibration: Mapping[str, Array], *, rows: int, reduce_range: bool
) -> None:
    """`rows`: how many calibration rows are run at once. Raises ConfigurationError when ONNX Runtime cannot."""
    with _calm(artifact):
        quantization.quantize_static(
            _prepared(artifact, target),
            target,
            _Rows(calibration, rows),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=[*STATIC_OPERATORS, *PASSING_OPERATORS],
            per_channel=True,
            reduce_range=reduce_range,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True},
        )


class _Rows(quantization.CalibrationDataReader):  # type: ignore[misc]  # untyped library
    """Calibration rows, a few at a time."""

    def __init__(self, arrays: Mapping[str, Array], rows: int) -> None:
        self._batches = _batches(arrays, rows)

    def get_next(self) -> dict[str, Array] | None:
        return next(self._batches, None)


def _batches(arrays: Mapping[str, Array], rows: int) -> Iterator[dict[str, Array]]:
    """Whole batches alone: ranges are kept for each run, and are stacked."""
    count = min(CALIBRATION_ROWS, len(next(iter(arrays.values()))))
    rows = min(rows, count)
    for start in range(0, count - rows + 1, rows):
        yield {name: np.ascontiguousarray(array[start : start + rows]) for name, array in arrays.items()}


def _prepared(artifact: Path, target: Path) -> Path:
    """A file beside `target` as quantization wants it."""
    prepared = target.with_name(f"prepared-{target.name}")
    try:
        quant_pre_process(artifact, prepared, auto_merge=True)
    except Exception:  # symbolic shapes need sympy, and do not know every operator; ONNX's own inference is enough
        quant_pre_process(artifact, prepared, skip_symbolic_shape=True)
    return prepared


@contextlib.contextmanager
def _calm(artifact: Path) -> Iterator[None]:
    """Hold back what the library prints; its errors have no base in common."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        raise ConfigurationError(f"ONNX Runtime could not quantize {artifact.name}: {text}") from error
    finally:
        logging.disable(level)
