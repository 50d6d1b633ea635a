"""Requests and answers of the Open Inference Protocol as a client has them: JSON, binary tensors, gRPC, and typed JSON.

    Row -> body -> the server -> Answer

What cannot be read, or is not what was asked for, raises WrongAnswer: a load test counts it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from loadtests.load.typed import Typed
from modelyard.errors import InvalidInput
from modelyard.protocol._pb import open_inference_grpc_pb2 as pb
from modelyard.spec import ModelSpec, TensorSpec
from modelyard.tensors import BINARY_ONLY, DTYPES, Array, from_bytes, to_bytes

HEADER_LENGTH = "inference-header-content-length"
METHOD = "/inference.GRPCInferenceService/ModelInfer"


UNREADABLE = (KeyError, ValueError, TypeError, StopIteration, InvalidInput)


class NoAnswer(Exception):
    """Refused, or broken off."""


class WrongAnswer(Exception):
    """The server answered, but not what it should have."""


@dataclass(frozen=True, slots=True)
class Answer:
    outputs: Mapping[str, Array]
    version: str
    id: str = ""


def fits_json(spec: ModelSpec) -> bool:
    """JSON has no way to write FP16 and BF16."""
    return not any(tensor.datatype in BINARY_ONLY for tensor in (*spec.inputs, *spec.outputs))


def json_body(spec: ModelSpec, inputs: Mapping[str, Array], number: str) -> bytes:
    tensors = [_described(tensor, inputs[tensor.name]) | {"data": _data(tensor, inputs)} for tensor in spec.inputs]
    return orjson.dumps({"id": number, "inputs": tensors}, option=orjson.OPT_SERIALIZE_NUMPY)


def binary_body(spec: ModelSpec, inputs: Mapping[str, Array], number: str) -> tuple[bytes, int]:
    """The body, and the length of the JSON in front of the tensors."""
    raw = [to_bytes(tensor.datatype, inputs[tensor.name]) for tensor in spec.inputs]
    tensors = [
        _described(tensor, inputs[tensor.name]) | {"parameters": {"binary_data_size": len(part)}}
        for tensor, part in zip(spec.inputs, raw, strict=True)
    ]
    head = orjson.dumps({"id": number, "inputs": tensors, "parameters": {"binary_data_output": True}})
    return head + b"".join(raw), len(head)


def grpc_message(spec: ModelSpec, inputs: Mapping[str, Array], number: str) -> pb.ModelInferRequest:
    tensors = [
        pb.ModelInferRequest.InferInputTensor(name=t.name, datatype=t.datatype, shape=inputs[t.name].shape)
        for t in spec.inputs
    ]
    raw = [to_bytes(tensor.datatype, inputs[tensor.name]) for tensor in spec.inputs]
    return pb.ModelInferRequest(model_name=spec.name, id=number, inputs=tensors, raw_input_contents=raw)


def grpc_call(channel: Any) -> Any:
    """ModelInfer of a channel."""
    return channel.unary_unary(
        METHOD,
        request_serializer=pb.ModelInferRequest.SerializeToString,
        response_deserializer=pb.ModelInferResponse.FromString,
    )


def http_answer(content: bytes, header_length: str | None) -> Answer:
    """Of JSON, or of the binary extension where `header_length` says how long its JSON is."""
    try:
        length = len(content) if header_length is None else int(header_length)
        document = orjson.loads(content[:length])
        outputs = dict(_http_outputs(document["outputs"], content[length:]))
        return Answer(outputs, str(document["model_version"]), str(document.get("id", "")))
    except UNREADABLE as error:
        raise WrongAnswer(f"the answer cannot be read ({type(error).__name__})") from error


def grpc_answer(message: pb.ModelInferResponse) -> Answer:
    try:
        outputs = {
            output.name: from_bytes(output.datatype, list(output.shape), raw, output.name)
            for output, raw in zip(message.outputs, message.raw_output_contents, strict=True)
        }
    except UNREADABLE as error:
        raise WrongAnswer(f"the answer cannot be read ({type(error).__name__})") from error
    return Answer(outputs, message.model_version, message.id)


def typed_answer(api: Typed, content: bytes) -> Answer:
    try:
        document = orjson.loads(content)
        # `modelyard new` adds a _ where the model has an output of that name
        version = next(str(document[name]) for name in ("model_version", "model_version_") if name in document)
        return Answer(api.answer(document), version)
    except UNREADABLE as error:
        raise WrongAnswer(f"the answer cannot be read ({type(error).__name__})") from error


def _http_outputs(outputs: list[dict[str, Any]], tail: bytes) -> Any:
    """(name, array) of each; `tail` holds the tensors that came in binary."""
    position = 0
    for output in outputs:
        name, datatype, shape = output["name"], output["datatype"], output["shape"]
        size = output.get("parameters", {}).get("binary_data_size")
        if size is None:
            values = [text.encode() for text in output["data"]] if datatype == "BYTES" else output["data"]
            yield name, np.asarray(values, DTYPES[datatype]).reshape(shape)
        else:
            yield name, from_bytes(datatype, shape, tail[position : position + size], name)
            position += size


def _described(tensor: TensorSpec, array: Array) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(array.shape)}


def _data(tensor: TensorSpec, inputs: Mapping[str, Array]) -> Any:
    """Flat. BYTES go as text, which is all that JSON can carry."""
    flat = inputs[tensor.name].ravel()
    return [element.decode("utf-8") for element in flat] if tensor.datatype == "BYTES" else flat
