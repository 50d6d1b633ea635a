"""Bodies of the inference call over HTTP: JSON, and the binary tensor extension.

Sources: inference_rest.md of the Open Inference Protocol, extension_binary_data.md of Triton. Pure functions: bytes and
a header in, an InferRequest out; an InferResponse in, bytes out.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import msgspec
import numpy as np
import orjson

from modelyard.errors import InvalidInput, Unimplemented
from modelyard.protocol.json_data import decode_data, encode_data, flat_floats
from modelyard.protocol.parameters import cached_of, flag, priority_of, timeout_of, whole
from modelyard.tensors import (
    BINARY_ONLY,
    DTYPES,
    Array,
    InferRequest,
    InferResponse,
    Parameter,
    Shape,
    Tensor,
    element_count,
    from_bytes,
    to_bytes,
)

MAX_DEPTH = 100
SoleInput = tuple[str, str, list[int]]
"""Name, datatype and shape of one row of a model's only input; -1 where the shape is free."""
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
"""A JSON string. Possessive, and an unterminated one reaches to the end: linear for any input."""


class _Input(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Parameter] | None = None
    data: msgspec.Raw = msgspec.Raw()


class _Output(msgspec.Struct):
    name: str
    parameters: dict[str, Parameter] | None = None


class _Body(msgspec.Struct):
    """Optional fields may be null: typed clients send what they have not got."""

    inputs: list[_Input]
    id: str | None = None
    parameters: dict[str, Parameter] | None = None
    outputs: list[_Output] | None = None


_decoder = msgspec.json.Decoder(_Body)


@dataclass(slots=True)
class Encoding:
    """Which outputs the caller wants as binary tensors."""

    default: bool = False
    by_output: dict[str, bool] = field(default_factory=dict)

    def binary(self, output: str) -> bool:
        return self.by_output.get(output, self.default)


_WRITTEN_BY_ORJSON = frozenset(DTYPES) - BINARY_ONLY - {"BYTES"}
AS_JSON = Encoding()
"""For whom does not ask; never changed."""


def decode_request(
    body: bytes, json_length: int | None, model: str, version: str, sole_input: Callable[[], SoleInput]
) -> tuple[InferRequest, Encoding]:
    """A request and how to answer it.

    `json_length` is Inference-Header-Content-Length, None when it was not sent; 0 means a raw request, for which
    `sole_input` is asked what the body is. Raises InvalidInput.
    """
    if json_length == 0:
        return _raw_request(body, model, version, sole_input()), Encoding(default=True)
    if json_length is not None and json_length > len(body):
        raise InvalidInput(f"Inference-Header-Content-Length is {json_length}, the body has {len(body)} bytes", "size")
    text, binary = (body, b"") if json_length is None else (body[:json_length], memoryview(body)[json_length:])
    parsed = _parse(text)
    inputs = _inputs(parsed.inputs, binary)
    request = InferRequest(model, inputs, version, parsed.id or "", protocol="http")
    if not parsed.parameters and not parsed.outputs:
        return request, AS_JSON
    parameters, outputs = parsed.parameters or {}, parsed.outputs or []
    request.outputs = tuple(output.name for output in outputs)
    request.parameters = parameters
    request.timeout = timeout_of(parameters)
    request.priority = priority_of(parameters)
    request.cached = cached_of(parameters)
    encoding = Encoding(default=flag(parameters, "binary_data_output", default=False))
    for output in outputs:
        wanted = output.parameters or {}
        _refuse_shared_memory(wanted)
        if "classification" in wanted:
            raise Unimplemented("the classification extension is not supported")
        if "binary_data" in wanted:
            encoding.by_output[output.name] = flag(wanted, "binary_data", default=False)
    return request, encoding


def encode_response(response: InferResponse, encoding: Encoding) -> tuple[list[bytes], int | None]:
    """The parts of the body, and the length of the JSON part when binary tensors follow it.

    The JSON is put together from texts, most of which are the same in every answer of a model.
    """
    outputs: list[bytes] = []
    raw: list[bytes] = []
    for tensor in response.outputs:
        head = _output_head(tensor.name, tensor.datatype, tensor.array.shape)
        if encoding.binary(tensor.name):
            part = to_bytes(tensor.datatype, tensor.array)
            raw.append(part)
            outputs.append(b'%s"parameters":{"binary_data_size":%d}}' % (head, len(part)))
        else:
            outputs.append(b'%s"data":%s}' % (head, _data(tensor)))
    identity = b'"id":%s,' % orjson.dumps(response.id) if response.id else b""
    text = b'%s%s%s"outputs":[%s]}' % (
        _model_head(response.model_name, response.model_version),
        identity,
        _parameters(*response.parameters.items()),
        b",".join(outputs),
    )
    return [text, *raw], len(text) if raw else None


@lru_cache(maxsize=1024)
def _model_head(name: str, version: str) -> bytes:
    return b'{"model_name":%s,"model_version":%s,' % (orjson.dumps(name), orjson.dumps(version))


@lru_cache(maxsize=1024)
def _parameters(*items: tuple[str, Parameter]) -> bytes:
    """Those of an answer, which are ours and few; never a caller's."""
    return b'"parameters":%s,' % orjson.dumps(dict(items))


@lru_cache(maxsize=1024)
def _output_head(name: str, datatype: str, shape: Shape) -> bytes:
    return b"%s," % orjson.dumps({"name": name, "datatype": datatype, "shape": shape})[:-1]


def _data(tensor: Tensor) -> bytes:
    if tensor.datatype in _WRITTEN_BY_ORJSON:
        text = orjson.dumps(tensor.array.ravel(), option=orjson.OPT_SERIALIZE_NUMPY)
        if b"null" not in text:  # as it writes NaN and Infinity
            return text
    return orjson.dumps(
        encode_data(tensor.datatype, tensor.array, f"output '{tensor.name}'"), option=orjson.OPT_SERIALIZE_NUMPY
    )


def _parse(text: bytes) -> _Body:
    if text.count(b"[") + text.count(b"{") > MAX_DEPTH:
        _check_depth(text)
    try:
        return _decoder.decode(text)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"the request is not as the protocol says: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"the body is no JSON: {error}") from None
    except RecursionError:
        raise InvalidInput(f"the JSON is nested deeper than {MAX_DEPTH}") from None


def _check_depth(text: bytes) -> None:
    """Depth by counting brackets outside strings; many brackets are normal (nested data), deep ones are not."""
    symbols = np.frombuffer(_STRING.sub(b"", text), np.uint8)
    steps = ((symbols == 0x5B) | (symbols == 0x7B)).astype(np.int32) - ((symbols == 0x5D) | (symbols == 0x7D))
    if steps.size and int(np.cumsum(steps).max()) > MAX_DEPTH:
        raise InvalidInput(f"the JSON is nested deeper than {MAX_DEPTH}")


def _inputs(inputs: list[_Input], binary: bytes | memoryview) -> list[Tensor]:
    tensors, position = [], 0
    for given in inputs:
        array = None if given.parameters else flat_floats(given.datatype, given.shape, bytes(given.data))
        if array is None:
            array, position = _array(given, binary, position)
        tensors.append(Tensor(given.name, given.datatype, array))
    if position != len(binary):
        raise InvalidInput(f"{len(binary) - position} bytes follow the last binary tensor", "size")
    return tensors


def _array(given: _Input, binary: bytes | memoryview, position: int) -> tuple[Array, int]:
    """The data of an input, and where the next binary tensor starts."""
    what = f"input '{given.name[:80]}'"
    parameters = given.parameters or {}
    _refuse_shared_memory(parameters)
    size = parameters.get("binary_data_size")
    text = bytes(given.data)
    text = b"" if text == b"null" else text
    if (size is None) == (not text):
        raise InvalidInput(f"{what}: give exactly one of data and binary_data_size", "malformed")
    if size is None:
        return decode_data(given.datatype, given.shape, text, what), position
    size = whole(parameters, "binary_data_size", 0)
    end = position + size
    if size < 0 or end > len(binary):
        raise InvalidInput(f"{what}: binary_data_size {size} reaches past the body", "size")
    return from_bytes(given.datatype, given.shape, binary[position:end], what), end


def _raw_request(body: bytes, model: str, version: str, sole_input: SoleInput) -> InferRequest:
    """A body that is nothing but one tensor: one row, and at most one dimension to be found from the length."""
    name, datatype, shape = sole_input
    if shape.count(-1) > 1:
        raise InvalidInput(f"a raw request cannot tell the shape {shape}: more than one dimension varies", "shape")
    what = f"input '{name}'"
    if -1 in shape:
        shape = list(shape)
        shape[shape.index(-1)] = _free_dimension(datatype, [d for d in shape if d != -1], body, what)
    array: Array = from_bytes(datatype, shape, body, what)
    return InferRequest(model, [Tensor(name, datatype, array)], version, protocol="http")


def _free_dimension(datatype: str, others: list[int], body: bytes, what: str) -> int:
    if datatype == "BYTES":
        count, position = 0, 0
        while position + 4 <= len(body):
            position += 4 + int.from_bytes(body[position : position + 4], "little")
            count += 1
    else:
        count = len(body) // DTYPES[datatype].itemsize
    fixed = element_count(others, what)
    return count // fixed if fixed else 0


def _refuse_shared_memory(parameters: Mapping[str, Parameter]) -> None:
    if "shared_memory_region" in parameters:
        raise Unimplemented("the shared memory extensions are not supported")
