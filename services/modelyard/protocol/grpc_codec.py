"""Messages of the inference call over gRPC to InferRequest, and an InferResponse back. Pure functions.

Source: inference_grpc.md of the Open Inference Protocol. A request carries its tensors either all as raw bytes
(`raw_input_contents`) or all as typed contents; the answer is always raw.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from modelyard.errors import InvalidInput, Unimplemented
from modelyard.protocol._pb import open_inference_grpc_pb2 as pb
from modelyard.protocol.parameters import cached_of, priority_of, timeout_of
from modelyard.tensors import (
    BINARY_ONLY,
    Array,
    InferRequest,
    InferResponse,
    Parameter,
    Tensor,
    dtype_of,
    element_count,
    from_bytes,
    to_bytes,
)

CONTENTS = {
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""Datatype to the field of InferTensorContents that carries it."""
_FIELDS = tuple(dict.fromkeys(CONTENTS.values()))


def decode_request(message: pb.ModelInferRequest) -> InferRequest:
    """Raises InvalidInput."""
    inputs = _raw_inputs(message) if message.raw_input_contents else [_typed_input(i) for i in message.inputs]
    request = InferRequest(message.model_name, inputs, message.model_version, message.id, protocol="grpc")
    if message.outputs:
        for output in message.outputs:
            _refuse_unsupported(output.parameters)
        request.outputs = tuple(output.name for output in message.outputs)
    if message.parameters:
        request.parameters = parameters = decode_parameters(message.parameters)
        request.timeout = timeout_of(parameters)
        request.priority = priority_of(parameters)
        request.cached = cached_of(parameters)
    return request


def encode_response(response: InferResponse) -> pb.ModelInferResponse:
    message = pb.ModelInferResponse(
        model_name=response.model_name,
        model_version=response.model_version,
        id=response.id,
        raw_output_contents=[to_bytes(tensor.datatype, tensor.array) for tensor in response.outputs],
    )
    for name, value in response.parameters.items():
        message.parameters[name].string_param = str(value)
    for tensor in response.outputs:
        message.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.array.shape)
    return message


def decode_parameters(parameters: Mapping[str, pb.InferParameter]) -> dict[str, Parameter]:
    values: dict[str, Parameter] = {}
    for name, parameter in parameters.items():
        which = parameter.WhichOneof("parameter_choice")
        if which is None:
            raise InvalidInput(f"parameter '{name[:80]}' has no value", "value")
        values[name] = getattr(parameter, which)
    return values


def _raw_inputs(message: pb.ModelInferRequest) -> list[Tensor]:
    if len(message.raw_input_contents) != len(message.inputs):
        raise InvalidInput(
            f"{len(message.raw_input_contents)} raw contents for {len(message.inputs)} inputs: give one for each",
            "size",
        )
    tensors = []
    for given, raw in zip(message.inputs, message.raw_input_contents, strict=True):
        what = _what(given)
        if given.parameters:
            _refuse_unsupported(given.parameters)
        if given.HasField("contents") and _carried(given.contents):
            raise InvalidInput(f"{what}: contents and raw_input_contents are both given", "malformed")
        tensors.append(Tensor(given.name, given.datatype, from_bytes(given.datatype, given.shape, raw, what)))
    return tensors


def _typed_input(given: pb.ModelInferRequest.InferInputTensor) -> Tensor:
    what = _what(given)
    _refuse_unsupported(given.parameters)
    dtype = dtype_of(given.datatype, what)
    if given.datatype in BINARY_ONLY:
        raise InvalidInput(
            f"{what}: {given.datatype} has no typed contents; ask for binary: raw_input_contents", "datatype"
        )
    count = element_count(given.shape, what)
    field = CONTENTS[given.datatype]
    carried = _carried(given.contents)
    if carried and carried != [field]:
        raise InvalidInput(
            f"{what}: {given.datatype} is carried by {field}, {', '.join(carried)} was given", "datatype"
        )
    values = getattr(given.contents, field)
    if len(values) != count:
        raise InvalidInput(f"{what}: {len(values)} values given, the shape {list(given.shape)} takes {count}", "size")
    array = _elements(values) if given.datatype == "BYTES" else _numbers(values, dtype, f"{what}: {given.datatype}")
    return Tensor(given.name, given.datatype, array.reshape(tuple(given.shape)))


def _numbers(values: Sequence[bool | int | float], dtype: np.dtype[Any], what: str) -> Array:
    """8 and 16 bits travel in fields of 32: what does not fit is refused, never wrapped."""
    if dtype.kind not in "iu":
        return np.array(values, dtype)
    wide = np.array(values, np.int64 if dtype.kind == "i" else np.uint64)
    bounds = np.iinfo(dtype)
    if wide.size and (wide.min() < bounds.min or wide.max() > bounds.max):
        raise InvalidInput(f"{what}: a value is out of range", "value")
    return wide.astype(dtype)


def _elements(values: Iterable[bytes]) -> Array:
    listed = list(values)
    array = np.empty(len(listed), np.object_)
    array[:] = listed
    return array


def _carried(contents: pb.InferTensorContents) -> list[str]:
    return [field for field in _FIELDS if len(getattr(contents, field))]


def _refuse_unsupported(parameters: Mapping[str, pb.InferParameter]) -> None:
    if "shared_memory_region" in parameters:
        raise Unimplemented("the shared memory extensions are not supported")
    if "classification" in parameters:
        raise Unimplemented("the classification extension is not supported")


def _what(given: pb.ModelInferRequest.InferInputTensor) -> str:
    return f"input '{given.name[:80]}'"
