"""Requests that differ from each other, the same for every server, and answers that are read over every face."""

from __future__ import annotations

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.bench.core import Endpoint, Face
from loadtests.bench.draw import scattered
from loadtests.bench.models import INFO
from loadtests.bench.payloads import (
    NUMBERS,
    Array,
    body,
    decode,
    http_request,
    message,
    reference,
    row,
    rows,
    template,
)
from modelyard.protocol._pb import open_inference_grpc_pb2 as pb

FACES: tuple[Face, ...] = ("json", "oip-json", "oip-binary", "oip-grpc")
numbers = st.integers(0, NUMBERS - 1)


def carried(face: Face, model: str, request: bytes) -> Array:
    """The input that a rendered request carries, read by other means than those that wrote it."""
    info = INFO[model]
    dtype = np.dtype("<f4" if info.datatype == "FP32" else "<i8")
    if face == "oip-grpc":
        return np.frombuffer(pb.ModelInferRequest.FromString(request).raw_input_contents[0], dtype)
    head, _, content = request.partition(b"\r\n\r\n")
    fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    assert int(fields["content-length"]) == len(content)
    if face == "oip-binary":
        return np.frombuffer(content[int(fields["inference-header-content-length"]) :], dtype)
    given = orjson.loads(content)
    return np.asarray(given[info.input][0] if face == "json" else given["inputs"][0]["data"], dtype)


@pytest.mark.parametrize("model", ["mlp", "encoder"])
@pytest.mark.parametrize("face", FACES)
@given(number=numbers)
def test_a_rendered_request_carries_the_row_of_its_number(face: Face, model: str, number: int) -> None:
    endpoint = Endpoint(face, "127.0.0.1", 1, "/infer", model)
    assert np.array_equal(carried(face, model, template(endpoint, model).render(number)), row(model, number)[0])


@given(numbers, numbers)
def test_rows_of_two_numbers_differ(first: int, second: int) -> None:
    assert np.array_equal(row("mlp", first), row("mlp", second)) == (first == second)


def test_neighbours_in_time_have_answers_that_the_tolerance_tells_apart() -> None:
    judge = reference("mlp")
    for counter in range(200):
        mine, other = row("mlp", scattered(counter)), row("mlp", scattered(counter + 1))
        assert judge.right(mine, judge.infer(mine))
        assert not judge.right(mine, judge.infer(other))


def test_a_request_of_many_rows_is_well_formed_over_every_face() -> None:
    values = rows("mlp", range(3))
    assert orjson.loads(body("json", "mlp", values)[0])["x"] == pytest.approx(values, abs=1e-6)
    content, header_length = body("oip-binary", "mlp", values)
    assert header_length is not None
    assert orjson.loads(content[:header_length])["inputs"][0]["shape"] == [3, 64]
    assert http_request(Endpoint("oip-json", "h", 1, "/p", "mlp"), "mlp", values).count(b"\r\n\r\n") == 1
    assert list(pb.ModelInferRequest.FromString(message("mlp", values)).inputs[0].shape) == [3, 64]


def test_answers_are_read_over_every_face() -> None:
    values = np.arange(20, dtype=np.float32).reshape(2, 10)
    flat = values.ravel().tolist()
    output = {"name": "y", "shape": [2, 10], "datatype": "FP32"}
    header = orjson.dumps({"outputs": [{**output, "parameters": {"binary_data_size": 80}}]})
    tensor = pb.ModelInferResponse.InferOutputTensor(name="y", datatype="FP32", shape=[2, 10])
    raw = pb.ModelInferResponse(outputs=[tensor], raw_output_contents=[values.tobytes()])
    tensor.contents.fp32_contents.extend(flat)
    typed = pb.ModelInferResponse(outputs=[tensor])
    answers: list[tuple[Face, bytes, int | None]] = [
        ("json", orjson.dumps({"y": values.tolist()}), None),
        ("json", orjson.dumps(values.tolist()), None),
        ("oip-json", orjson.dumps({"outputs": [{**output, "data": flat}]}), None),
        ("oip-binary", header + values.tobytes(), len(header)),
        ("oip-grpc", raw.SerializeToString(), None),
        ("oip-grpc", typed.SerializeToString(), None),
    ]
    for face, answer, length in answers:
        assert np.array_equal(decode(face, "mlp", answer, length), values)


def test_an_answer_without_the_output_is_none() -> None:
    with pytest.raises(KeyError):
        decode("oip-json", "mlp", b'{"outputs":[]}')


def test_an_answer_of_another_shape_or_value_is_wrong() -> None:
    judge = reference("mlp")
    values = row("mlp", 1)
    right = judge.infer(values)
    assert judge.right(values, right + 5e-5)
    assert not judge.right(values, right + 2e-4)
    assert not judge.right(values, right[0])
    assert not judge.right(values, np.full_like(right, np.nan))
