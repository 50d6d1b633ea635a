"""Requests and answers of every face, the same for every server.

Request number n differs from every other in each row, so that no cache of responses can answer it: a `Template` is a
whole request with a hole for eight digits, and rendering one costs a fraction of a microsecond. `row(model, n)` is the
input that request n carries, `decode` reads an answer, `Reference` says what it should have been.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from loadtests.bench.core import Endpoint, Face
from loadtests.bench.models import INFO, SEED, ModelInfo, model_path

Array = npt.NDArray[Any]

NUMBERS = 100_000_000  # requests with different rows: two values of four digits
TOLERANCE = 1e-4
HEADER_LENGTH = "inference-header-content-length"


@cache
def _base(model: str) -> Array:
    """The row that all requests of a model share, but for its first two values."""
    info = INFO[model]
    random = np.random.default_rng(SEED + 1)
    if info.datatype == "INT64":
        return random.integers(10_000, 20_000, info.columns)
    return np.round(random.uniform(0.1, 0.9, info.columns), 6).astype(np.float32)


def row(model: str, number: int) -> Array:
    """The input of request `number`: shape [1, columns]."""
    high, low = divmod(number % NUMBERS, 10_000)
    values = _base(model).copy()
    if INFO[model].datatype == "INT64":
        values[0], values[1] = 10_000 + high, 10_000 + low
    else:
        values[0], values[1] = np.float32(f"0.{high:04d}"), np.float32(f"0.{low:04d}")
    return values[np.newaxis]


def rows(model: str, numbers: list[int] | range) -> Array:
    """The inputs of several requests as one batch."""
    return np.concatenate([row(model, number) for number in numbers])


# --- bodies ------------------------------------------------------------------------------------------------------


def body(face: Face, model: str, values: Array) -> tuple[bytes, int | None]:
    """The body of a request with `values` of shape [rows, columns], and the length of its JSON header if it has one."""
    info = INFO[model]
    if face == "json":
        return orjson.dumps({info.input: _lists(values)}), None
    if face == "oip-json":
        tensor = {**_tensor(info, len(values)), "data": _flat(values)}
        return orjson.dumps({"inputs": [tensor]}), None
    if face == "oip-binary":
        raw = np.ascontiguousarray(values).tobytes()
        tensor = {**_tensor(info, len(values)), "parameters": {"binary_data_size": len(raw)}}
        outputs = [{"name": info.output, "parameters": {"binary_data": True}}]
        header = orjson.dumps({"inputs": [tensor], "outputs": outputs})
        return header + raw, len(header)
    raise ValueError(f"{face} has no HTTP body")


def message(model: str, values: Array, name: str = "") -> bytes:
    """A serialised ModelInferRequest with the values as raw contents, which are its last field."""
    from modelyard.protocol._pb import open_inference_grpc_pb2 as pb

    info = INFO[model]
    tensor = pb.ModelInferRequest.InferInputTensor(name=info.input, datatype=info.datatype, shape=values.shape)
    head = pb.ModelInferRequest(model_name=name or model, inputs=[tensor])
    contents = pb.ModelInferRequest(raw_input_contents=[np.ascontiguousarray(values).tobytes()])
    serialised: bytes = head.SerializeToString() + contents.SerializeToString()
    return serialised


def http_request(endpoint: Endpoint, model: str, values: Array) -> bytes:
    """A whole HTTP request, head and body."""
    content, header_length = body(endpoint.face, model, values)
    return _head(endpoint, len(content), header_length) + content


def _head(endpoint: Endpoint, length: int, header_length: int | None) -> bytes:
    kind = "application/json" if header_length is None else "application/octet-stream"
    extra = "" if header_length is None else f"{HEADER_LENGTH}: {header_length}\r\n"
    return (
        f"POST {endpoint.path} HTTP/1.1\r\nhost: {endpoint.host}:{endpoint.port}\r\naccept: */*\r\n"
        f"content-type: {kind}\r\n{extra}content-length: {length}\r\n\r\n"
    ).encode()


def _tensor(info: ModelInfo, count: int) -> dict[str, Any]:
    return {"name": info.input, "shape": [count, info.columns], "datatype": info.datatype}


def _lists(values: Array) -> list[list[Any]]:
    # six decimals: how a feature is usually written, and the same text for every server
    return [[_number(value) for value in line] for line in values.tolist()]


def _flat(values: Array) -> list[Any]:
    return [_number(value) for value in values.ravel().tolist()]


def _number(value: float) -> float:
    return value if isinstance(value, int) else round(value, 6)


# --- templates ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Template:
    """A request of one row with a hole for its number."""

    prefix: bytes
    hole: Callable[[int], bytes]
    suffix: bytes

    def render(self, number: int) -> bytes:
        """The bytes of request `number`."""
        return self.prefix + self.hole(number % NUMBERS) + self.suffix


def template(endpoint: Endpoint, model: str) -> Template:
    """The requests of one row to `endpoint`: whole HTTP requests, or gRPC messages for oip-grpc."""
    hole = _hole(endpoint.face, model)
    # a number whose digits occur nowhere else marks the place; every hole has the same length
    marked, mark = _marked(endpoint, model, 12_345_678), hole(12_345_678)
    before, found, after = marked.partition(mark)
    if not found or mark in after:
        raise ValueError(f"the place of the number in a request of {endpoint.face} is not found")
    return Template(before, hole, after)


def _marked(endpoint: Endpoint, model: str, number: int) -> bytes:
    values = row(model, number)
    if endpoint.face == "oip-grpc":
        return message(model, values, endpoint.model)
    return http_request(endpoint, model, values)


def _hole(face: Face, model: str) -> Callable[[int], bytes]:
    binary, integers = face in ("oip-binary", "oip-grpc"), INFO[model].datatype == "INT64"
    if binary:
        pack = struct.Struct("<qq" if integers else "<ff").pack
        if integers:
            return lambda number: pack(10_000 + number // 10_000, 10_000 + number % 10_000)
        return lambda number: pack(number // 10_000 / 10_000, number % 10_000 / 10_000)
    if integers:
        return lambda number: b"%d,%d" % (10_000 + number // 10_000, 10_000 + number % 10_000)
    return lambda number: b"0.%04d,0.%04d" % divmod(number, 10_000)


# --- answers -----------------------------------------------------------------------------------------------------


def decode(face: Face, model: str, answer: bytes, header_length: int | None = None) -> Array:
    """The output of an answer, shape [rows, columns]; ValueError or KeyError for one that cannot be read."""
    info = INFO[model]
    if face == "json":
        value = orjson.loads(answer)
        return np.asarray(value if isinstance(value, list) else value[info.output], np.float32)  # a bare list will do
    if face == "oip-grpc":
        return _decode_message(info, answer)
    head = orjson.loads(answer if header_length is None else answer[:header_length])
    rest = b"" if header_length is None else answer[header_length:]
    for output in head["outputs"]:
        size = (output.get("parameters") or {}).get("binary_data_size")
        raw, rest = (rest[:size], rest[size:]) if size is not None else (None, rest)
        if output["name"] == info.output:
            values = np.frombuffer(raw, "<f4") if raw is not None else np.asarray(output["data"], np.float32)
            return values.reshape(output["shape"])
    raise KeyError(info.output)


def _decode_message(info: ModelInfo, answer: bytes) -> Array:
    from modelyard.protocol._pb import open_inference_grpc_pb2 as pb

    response = pb.ModelInferResponse.FromString(answer)
    for index, output in enumerate(response.outputs):
        if output.name == info.output:
            raw = response.raw_output_contents
            typed = output.contents.fp32_contents
            values = np.frombuffer(raw[index], "<f4") if raw else np.asarray(typed, np.float32)
            return values.reshape(tuple(output.shape))
    raise KeyError(info.output)


class Reference:
    """What a model answers, by a session in this process."""

    def __init__(self, model: str) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.info = INFO[model]
        providers = ["CPUExecutionProvider"]
        self.session = onnxruntime.InferenceSession(model_path(model), options, providers=providers)

    def infer(self, values: Array) -> Array:
        """The output for `values`."""
        (output,) = self.session.run([self.info.output], {self.info.input: values})
        return np.asarray(output)

    def right(self, values: Array, got: Array) -> bool:
        """Whether `got` is the answer to `values`, within the tolerance of float arithmetic in another order."""
        expected = self.infer(values)
        return got.shape == expected.shape and bool(np.allclose(got, expected, rtol=0, atol=TOLERANCE))


@lru_cache(maxsize=4)
def reference(model: str) -> Reference:
    """The reference of a model, loaded once."""
    return Reference(model)
