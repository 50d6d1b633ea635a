"""Requests are as the protocol wants them, answers are read back bit for bit, and what cannot be read is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.load import wire
from loadtests.load.rows import Row
from loadtests.load.typed import SERVICES, WINE, typed_of
from loadtests.load.wire import WrongAnswer
from modelyard.protocol._pb import open_inference_grpc_pb2 as pb
from modelyard.protocol.grpc_codec import decode_request
from modelyard.spec import ModelSpec, parse_spec, read_spec
from modelyard.tensors import Array, to_bytes
from wine_service.measurements import WineMeasurements

MODELS = Path(__file__).resolve().parents[4] / "models"
SPEC = parse_spec(
    "name: many\n"
    "inputs: [{name: a, datatype: FP32, shape: [-1, 2]}, {name: t, datatype: BYTES, shape: [-1]}]\n"
    "outputs: [{name: y, datatype: FP32, shape: [-1, 2]}]\n"
)
FLOATS = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=2, max_size=2)


def inputs(values: list[float], text: str) -> dict[str, Array]:
    return {"a": np.array([values], np.float32), "t": np.array([text.encode()], np.object_)}


@given(FLOATS, st.text(st.characters(exclude_categories=["Cs"]), max_size=9))
def test_json_says_every_input(values: list[float], text: str) -> None:
    document = json.loads(wire.json_body(SPEC, inputs(values, text), "7"))
    numbers, texts = document["inputs"]
    assert (document["id"], numbers["shape"], texts["data"]) == ("7", [1, 2], [text])
    np.testing.assert_array_equal(np.array(numbers["data"], np.float32), np.array(values, np.float32))


@given(FLOATS, st.text(st.characters(exclude_categories=["Cs"]), max_size=9))
def test_binary_and_grpc_carry_the_same_bytes(values: list[float], text: str) -> None:
    given_inputs = inputs(values, text)
    body, length = wire.binary_body(SPEC, given_inputs, "7")
    raw = [to_bytes("FP32", given_inputs["a"]), to_bytes("BYTES", given_inputs["t"])]
    sizes = [tensor["parameters"]["binary_data_size"] for tensor in json.loads(body[:length])["inputs"]]
    assert sizes == [len(part) for part in raw]
    assert body[length:] == b"".join(raw)
    request = decode_request(wire.grpc_message(SPEC, given_inputs, "7"))
    assert request.id == "7"
    for tensor in request.inputs:
        np.testing.assert_array_equal(tensor.array, given_inputs[tensor.name])


def answer(array: Array, *, binary: bool) -> tuple[bytes, str | None]:
    output: dict[str, Any] = {"name": "y", "datatype": "FP32", "shape": list(array.shape)}
    output |= {"parameters": {"binary_data_size": array.nbytes}} if binary else {"data": array.ravel().tolist()}
    head = json.dumps({"model_version": "3", "id": "7", "outputs": [output]}).encode()
    return (head + array.tobytes(), str(len(head))) if binary else (head, None)


@given(FLOATS, st.booleans())
def test_an_answer_is_read_bit_for_bit(values: list[float], binary: bool) -> None:
    array = np.array([values], np.float32)
    found = wire.http_answer(*answer(array, binary=binary))
    assert (found.version, found.id) == ("3", "7")
    np.testing.assert_array_equal(found.outputs["y"], array)


def test_a_grpc_answer_is_read() -> None:
    output = pb.ModelInferResponse.InferOutputTensor(name="y", datatype="FP32", shape=[1, 1])
    raw = np.array([[2]], np.float32).tobytes()
    message = pb.ModelInferResponse(model_version="3", id="7", outputs=[output], raw_output_contents=[raw])
    found = wire.grpc_answer(message)
    assert (found.version, found.id, found.outputs["y"].tolist()) == ("3", "7", [[2.0]])
    with pytest.raises(WrongAnswer):
        wire.grpc_answer(pb.ModelInferResponse(outputs=[output]))


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"null", b'{"model_version": "1", "outputs": [{}]}', b"\xff"])
def test_what_cannot_be_read_is_wrong(content: bytes) -> None:
    with pytest.raises(WrongAnswer, match="cannot be read"):
        wire.http_answer(content, None)
    with pytest.raises(WrongAnswer, match="cannot be read"):
        wire.typed_answer(SERVICES["wine"], content)


def test_a_binary_answer_that_is_cut_off_is_wrong() -> None:
    content, length = answer(np.zeros((1, 2), np.float32), binary=True)
    with pytest.raises(WrongAnswer):
        wire.http_answer(content[:-1], length)


# --- typed APIs ----------------------------------------------------------------------------------------------------


def served() -> list[ModelSpec]:
    specs = [read_spec(path.parent) for path in sorted(MODELS.glob("*/model.yaml"))]
    return [spec for spec in specs if spec.service is not None]


@pytest.mark.parametrize("spec", served(), ids=lambda spec: str(spec.name))
def test_every_service_of_the_project_has_a_typed_user(spec: ModelSpec) -> None:
    assert spec.name in SERVICES


def test_the_columns_of_wine_are_its_service_s() -> None:
    assert tuple(WineMeasurements.model_fields) == WINE


def test_a_service_of_a_user_is_asked_by_the_names_of_its_tensors() -> None:
    own = SPEC.model_copy(update={"service": "many_service.service:Many"})
    api = typed_of(own)
    assert api is not None
    assert api.path == "/infer"
    assert api.body(Row(inputs([1, 2], "x"))) == {"a": [[1.0, 2.0]], "t": ["x"]}
    found = wire.typed_answer(api, b'{"y": [[3, 4]], "cache": "miss", "model_version": "2"}')
    assert (found.version, found.outputs["y"].tolist()) == ("2", [[3.0, 4.0]])
    assert typed_of(SPEC) is None


def test_number_formats_that_json_has_not_are_known() -> None:
    half = SPEC.outputs[0].model_copy(update={"datatype": "FP16"})
    assert wire.fits_json(SPEC)
    assert not wire.fits_json(SPEC.model_copy(update={"outputs": (half,)}))
