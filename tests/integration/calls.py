"""Inference calls for the tests: one face over tritonclient's HTTP and gRPC clients, and ways to wait.

A test says what it asks, not over which wire: every client here takes NumPy arrays and gives an `Answer`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tritonclient.grpc as triton_grpc
import tritonclient.grpc.aio as triton_grpc_aio
import tritonclient.http as triton_http
import tritonclient.http.aio as triton_http_aio
from numpy.typing import NDArray
from tritonclient.utils import np_to_triton_dtype

from tests.integration.harness import Server

Array = NDArray[Any]
PROTOCOLS = ("http", "grpc")
CALL_SECONDS = 60.0


@dataclass(frozen=True)
class Answer:
    """What one inference gave."""

    version: str
    outputs: dict[str, Array]
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def cache(self) -> str:
        """The response parameter `cache`: hit, join, partial, miss or bypass."""
        return str(self.parameters.get("cache"))

    @property
    def only(self) -> Array:
        """The single output."""
        (array,) = self.outputs.values()
        return array


class Client:
    """One connection pool to one server over one protocol."""

    def __init__(self, server: Server, protocol: str, connections: int = 100) -> None:
        self.protocol = protocol
        self.model = server.name
        if protocol == "http":
            self._module: Any = triton_http
            self._client: Any = triton_http_aio.InferenceServerClient(
                server.http, conn_limit=connections, conn_timeout=CALL_SECONDS
            )
        else:
            self._module = triton_grpc
            self._client = triton_grpc_aio.InferenceServerClient(server.grpc)

    async def infer(
        self, inputs: Mapping[str, Array], outputs: Sequence[str] = (), version: str = "", **more: Any
    ) -> Answer:
        """One inference. Raises tritonclient's InferenceServerException on a refusal."""
        tensors = [self._tensor(name, array) for name, array in inputs.items()]
        wanted = [self._module.InferRequestedOutput(name) for name in outputs] or None
        result = await self._client.infer(self.model, tensors, version, outputs=wanted, **more)
        if self.protocol == "http":
            return _http_answer(result)
        return _grpc_answer(result)

    def _tensor(self, name: str, array: Array) -> Any:
        tensor = self._module.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array)
        return tensor

    async def close(self) -> None:
        """Close every connection."""
        await self._client.close()


def _http_answer(result: Any) -> Answer:
    response = result.get_response()
    outputs = {item["name"]: result.as_numpy(item["name"]) for item in response["outputs"]}
    return Answer(str(response["model_version"]), outputs, dict(response.get("parameters", {})))


def _grpc_answer(result: Any) -> Answer:
    response = result.get_response()
    outputs = {item.name: result.as_numpy(item.name) for item in response.outputs}
    parameters = {
        key: getattr(value, value.WhichOneof("parameter_choice")) for key, value in response.parameters.items()
    }
    return Answer(str(response.model_version), outputs, parameters)


@asynccontextmanager
async def connect(server: Server, protocol: str, connections: int = 100) -> AsyncIterator[Client]:
    """A client of `server`, closed with the block."""
    client = Client(server, protocol, connections)
    try:
        yield client
    finally:
        await client.close()


def ask(server: Server, inputs: Mapping[str, Array], protocol: str = "http", **more: Any) -> Answer:
    """One inference on a connection of its own."""
    (answer,) = ask_all(server, [inputs], protocol, **more)
    return answer


def ask_all(
    server: Server, requests: Sequence[Mapping[str, Array]], protocol: str = "http", **more: Any
) -> list[Answer]:
    """All of `requests` at once; fails with the first refusal."""
    return [_answered(result) for result in try_all(server, requests, protocol, **more)]


def try_all(
    server: Server, requests: Sequence[Mapping[str, Array]], protocol: str = "http", **more: Any
) -> list[Answer | BaseException]:
    """All of `requests` at once: each one's answer, or what it failed with."""

    async def body() -> list[Answer | BaseException]:
        async with connect(server, protocol, connections=len(requests)) as client:
            calls = [client.infer(inputs, **more) for inputs in requests]
            return await asyncio.gather(*calls, return_exceptions=True)

    return asyncio.run(body())


def _answered(result: Answer | BaseException) -> Answer:
    if isinstance(result, BaseException):
        raise result
    return result


def row(*values: float) -> Array:
    """One row of FP32 values: shape [1, n]."""
    return np.array([values], dtype=np.float32)


def until(condition: Callable[[], bool], what: str, seconds: float = 10.0) -> float:
    """Poll until `condition` holds and return the seconds that it took; fail when it never does."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < seconds, f"not within {seconds} s: {what}"
        time.sleep(0.02)
    return time.monotonic() - start


async def until_true(condition: Callable[[], bool], what: str, seconds: float = 10.0) -> None:
    """`until` for a test that runs clients meanwhile: the polling happens in a thread."""
    await asyncio.to_thread(until, condition, what, seconds)


async def settled(calls: Sequence[Awaitable[Answer]]) -> list[Answer | BaseException]:
    """Every call's answer, or what it failed with."""
    return await asyncio.gather(*calls, return_exceptions=True)
