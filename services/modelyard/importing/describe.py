"""What an ONNX graph says of itself: inputs and outputs as model.yaml writes them, its domains, its size."""

from math import prod
from pathlib import Path
from typing import Any

import onnx
import yaml

from modelyard.errors import ConfigurationError
from modelyard.importing.bounded import one_line
from modelyard.importing.read import nodes
from modelyard.spec import ModelSpec, parse_spec
from modelyard.tensors import MAX_DIMENSION, MAX_RANK

_RANDOM = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}
)
_KNOWN_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc", "ai.onnx.training"})
_MOST_NAME = 512
_DATATYPES: dict[int, str] = {
    onnx.TensorProto.BOOL: "BOOL",
    onnx.TensorProto.UINT8: "UINT8",
    onnx.TensorProto.UINT16: "UINT16",
    onnx.TensorProto.UINT32: "UINT32",
    onnx.TensorProto.UINT64: "UINT64",
    onnx.TensorProto.INT8: "INT8",
    onnx.TensorProto.INT16: "INT16",
    onnx.TensorProto.INT32: "INT32",
    onnx.TensorProto.INT64: "INT64",
    onnx.TensorProto.FLOAT16: "FP16",
    onnx.TensorProto.FLOAT: "FP32",
    onnx.TensorProto.DOUBLE: "FP64",
    onnx.TensorProto.BFLOAT16: "BF16",
    onnx.TensorProto.STRING: "BYTES",
}


def describe(model: onnx.ModelProto, name: str, source: Path) -> ModelSpec:
    """The spec that the graph allows, with batching off: that is found by running. Raises ConfigurationError."""
    stored = {tensor.name for tensor in model.graph.initializer}
    inputs = [_tensor_spec(value, "input", source) for value in model.graph.input if value.name not in stored]
    outputs = [_tensor_spec(value, "output", source) for value in model.graph.output]
    if not inputs:
        raise ConfigurationError(f"{source} has no inputs")
    for what, tensors in (("input", inputs), ("output", outputs)):
        names = [tensor["name"] for tensor in tensors]
        twice = next((one for one in names if names.count(one) > 1), None)
        if twice is not None:
            raise ConfigurationError(f"{source}: two {what}s are called '{twice}'")
    document: dict[str, Any] = {
        "name": name,
        "description": one_line(model.doc_string) or f"Imported from {one_line(source.name)}.",
        "inputs": inputs,
        "outputs": outputs,
        "batching": {"max_batch_size": 0},
        "cache": {"enabled": not _RANDOM.intersection(node.op_type for node in nodes(model.graph))},
    }
    return parse_spec(yaml.safe_dump(document), str(source))


def complete_shapes(model: onnx.ModelProto) -> None:
    """Give outputs that were exported without a shape the one that follows from the graph, where it does."""
    if all(value.type.tensor_type.HasField("shape") for value in model.graph.output):
        return
    try:
        inferred = onnx.shape_inference.infer_shapes(model)
    except (onnx.shape_inference.InferenceError, ValueError):
        return  # what is missing is said when the output is described
    del model.graph.output[:]
    model.graph.output.extend(inferred.graph.output)


def foreign_domains(model: onnx.ModelProto) -> list[str]:
    """Domains of operators that are neither ONNX's own nor written out in the file as functions."""
    own = {function.domain for function in model.functions}
    return sorted({one_line(node.domain, 80) for node in nodes(model.graph)} - _KNOWN_DOMAINS - own)


def about(model: onnx.ModelProto) -> dict[str, str | int]:
    """What a README can say: who wrote it, for which opset, how many numbers it stores."""
    return {
        "producer": one_line(f"{model.producer_name} {model.producer_version}", 100),
        "opset": ", ".join(f"{one_line(one.domain, 80) or 'ai.onnx'} {one.version}" for one in model.opset_import),
        "parameters": sum(prod(tensor.dims) for tensor in model.graph.initializer),
        "nodes": sum(1 for _ in nodes(model.graph)),
    }


def _tensor_spec(value: onnx.ValueInfoProto, what: str, source: Path) -> dict[str, Any]:
    if not value.name or len(value.name) > _MOST_NAME or not value.name.isprintable():
        raise ConfigurationError(
            f"{source}: {what} name '{one_line(value.name, 60)}' is empty, longer than {_MOST_NAME} characters or "
            "holds control characters: rename it"
        )
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        hint = " (scikit-learn: convert with zipmap=False)" if kind in ("sequence_type", "map_type") else ""
        raise ConfigurationError(f"{source}: {what} '{value.name}' is no tensor but {kind or 'has no type'}{hint}")
    tensor = value.type.tensor_type
    datatype = _DATATYPES.get(tensor.elem_type)
    if datatype is None:
        known = tensor.elem_type in onnx.TensorProto.DataType.values()
        element = onnx.TensorProto.DataType.Name(tensor.elem_type) if known else f"type {tensor.elem_type}"
        raise ConfigurationError(
            f"{source}: {what} '{value.name}' holds {element}, which the protocol has no datatype for"
        )
    if not tensor.HasField("shape"):
        raise ConfigurationError(f"{source}: {what} '{value.name}' has no shape; export it with its rank")
    shape = [d.dim_value if d.HasField("dim_value") else -1 for d in tensor.shape.dim]
    if len(shape) > MAX_RANK or not all(-1 <= size <= MAX_DIMENSION for size in shape):
        raise ConfigurationError(
            f"{source}: {what} '{value.name}' declares the shape {one_line(str(shape), 120)}: at most {MAX_RANK} "
            f"dimensions, each from 0 to {MAX_DIMENSION}"
        )
    return {"name": value.name, "datatype": datatype, "shape": shape}
