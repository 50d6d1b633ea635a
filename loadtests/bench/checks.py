"""Are the answers of a server right? Asked before anything is timed: a fast wrong answer is no result."""

from __future__ import annotations

import http.client

import numpy as np

from loadtests.bench.core import Endpoint
from loadtests.bench.draw import scattered
from loadtests.bench.payloads import HEADER_LENGTH, Array, body, decode, message, reference, row

REQUESTS = 4
SECONDS = 30.0
OFFSET = 99_000_000  # counters that no measurement uses
METHOD = "/inference.GRPCInferenceService/ModelInfer"


def fault(endpoint: Endpoint, model: str) -> str:
    """What is wrong with the answers of `endpoint`; empty when nothing is."""
    judge = reference(model)
    for index in range(REQUESTS):
        values = row(model, scattered(OFFSET + index))
        try:
            got = _ask_grpc(endpoint, model, values) if endpoint.face == "oip-grpc" else _ask(endpoint, model, values)
        except Exception as error:  # whatever it is, it is the server's fault and is reported
            return f"{type(error).__name__}: {str(error)[:200]}"
        if not judge.right(values, got):
            return f"wrong answer: {_difference(judge.infer(values), got)}"
    return ""


def _difference(expected: Array, got: Array) -> str:
    if expected.shape != got.shape:
        return f"shape {got.shape}, not {expected.shape}"
    return f"off by {np.abs(expected - got).max():.3g}"


def _ask(endpoint: Endpoint, model: str, values: Array) -> Array:
    content, header_length = body(endpoint.face, model, values)
    headers = {"content-type": "application/json" if header_length is None else "application/octet-stream"}
    if header_length is not None:
        headers[HEADER_LENGTH] = str(header_length)
    connection = http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=SECONDS)
    try:
        connection.request("POST", endpoint.path, content, headers)
        response = connection.getresponse()
        answer = response.read()
        if response.status != 200:
            raise ValueError(f"status {response.status}: {answer[:150].decode(errors='replace')}")
        length = response.getheader(HEADER_LENGTH)
        return decode(endpoint.face, model, answer, int(length) if length else None)
    finally:
        connection.close()


def _ask_grpc(endpoint: Endpoint, model: str, values: Array) -> Array:
    import grpc

    with grpc.insecure_channel(f"{endpoint.host}:{endpoint.port}") as channel:
        answer = channel.unary_unary(METHOD)(message(model, values, endpoint.model), timeout=SECONDS)
    return decode("oip-grpc", model, answer)
