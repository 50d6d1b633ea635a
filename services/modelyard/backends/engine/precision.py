"""What the precision of model.yaml makes of an artifact before TensorRT's parser reads it.

    fp32   as it is; the builder keeps TF32 away
    fp16   converted (half.py), its inputs and outputs keep their datatypes; as it is when it was converted before
    int8   as it is: it has to carry QuantizeLinear and DequantizeLinear, which say where and how INT8 is used

From TensorRT 11 on there is no other way, and 10 has this one too.
"""

from pathlib import Path
from typing import Any

from modelyard.spec import Precision

_MOST_BYTES = 2**31 - 1
"""Of a protobuf message."""


class UnsupportedModel(Exception):
    """TensorRT cannot take this artifact in this precision, now or later. The text names the operator."""


def prepare(artifact: Path, precision: Precision, folder: Path) -> Path:
    """The file that the parser shall read; one that is made lies in `folder`. Raises UnsupportedModel."""
    if precision == "fp32":
        return artifact
    # Late: the process that serves knows this module for its names, and needs neither.
    import onnx  # noqa: PLC0415

    from modelyard.backends.engine import half  # noqa: PLC0415

    model = _load(onnx, artifact, weights=precision == "fp16")
    if precision == "int8":
        _require_quantization({node.op_type for graph in (model.graph, *model.functions) for node in half.nodes(graph)})
        return artifact
    if half.is_half(model):
        return artifact
    if model.ByteSize() > _MOST_BYTES:
        raise UnsupportedModel("the model is above 2 GB: convert it to FP16 when it is exported")
    try:
        converted = half.to_half(model)
    except half.CannotConvert as error:
        raise UnsupportedModel(str(error)) from None
    path = folder / "half.onnx"
    onnx.save_model(converted, str(path))
    return path


def _load(onnx: Any, artifact: Path, *, weights: bool) -> Any:
    try:
        return onnx.load_model(str(artifact), load_external_data=weights)
    except Exception as error:  # protobuf's and onnx's errors have no base in common
        raise UnsupportedModel(f"{artifact.name} is no ONNX model: {str(error)[:200]}") from None


def _require_quantization(operators: set[str]) -> None:
    missing = {"QuantizeLinear", "DequantizeLinear"} - operators
    if missing:
        raise UnsupportedModel(f"precision int8 needs a quantized model: it has no {' and no '.join(sorted(missing))}")
