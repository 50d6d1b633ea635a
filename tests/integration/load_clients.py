"""Clients that never stop asking, one thread each: keep-alive HTTP, a new HTTP connection each time, and gRPC.

Each question carries a number that the model echoes, so that an answer proves itself. What is not answered, or
answered wrong, is kept in `lost` with the reason.
"""

from __future__ import annotations

import http.client
import itertools
import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import tritonclient.grpc as triton_grpc

from tests.integration.harness import Server

TIMEOUT = 30.0


class Sender(Protocol):
    """Asks for a number and gives the number that came back."""

    def __call__(self, number: float) -> float: ...

    def close(self) -> None: ...


class HttpSender:
    """JSON over HTTP; obeys `Connection: close`. `keep` False opens a connection for every request."""

    def __init__(self, server: Server, *, keep: bool) -> None:
        self._path = f"/v2/models/{server.name}/infer"
        self._connection = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=TIMEOUT)
        self._keep = keep

    def __call__(self, number: float) -> float:
        tensor = {"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [number]}
        body = json.dumps({"inputs": [tensor]})
        self._connection.request("POST", self._path, body, {"Content-Type": "application/json"})
        response = self._connection.getresponse()
        text = response.read()
        if not self._keep:
            self._connection.close()
        if response.status != http.client.OK:
            raise RuntimeError(f"{response.status} {text[:200]!r}")
        return float(json.loads(text)["outputs"][0]["data"][0])

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class GrpcSender:
    """gRPC on a channel of its own; `keep` False opens a channel for every request."""

    def __init__(self, server: Server, *, keep: bool = True) -> None:
        self._server = server
        self._keep = keep
        self._client = self._connect()

    def _connect(self) -> triton_grpc.InferenceServerClient:
        own_connection = [("grpc.use_local_subchannel_pool", 1)]
        return triton_grpc.InferenceServerClient(self._server.grpc, channel_args=own_connection)

    def __call__(self, number: float) -> float:
        tensor = triton_grpc.InferInput("x", [1, 1], "FP32")
        tensor.set_data_from_numpy(np.array([[number]], dtype=np.float32))
        result = self._client.infer(self._server.name, [tensor], client_timeout=TIMEOUT)
        if not self._keep:
            self._client.close()
            self._client = self._connect()
        return float(result.as_numpy("y")[0, 0])

    def close(self) -> None:
        """Close the channel."""
        self._client.close()


def senders(server: Server) -> dict[str, Sender]:
    """One of each kind."""
    return {
        "keep-alive HTTP": HttpSender(server, keep=True),
        "new-connection HTTP": HttpSender(server, keep=False),
        "gRPC": GrpcSender(server),
    }


class Load:
    """One client that asks in a loop until it is stopped."""

    def __init__(self, name: str, sender: Sender, least: float, spread: int) -> None:
        self.name = name
        self.answered = 0
        self.longest = 0.0
        self.lost: list[str] = []
        self._sender = sender
        self._numbers = (least + step / 1024 for step in itertools.cycle(range(spread)))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask, name=name, daemon=True)

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def stop(self) -> None:
        """No further question; return when the last one is answered."""
        self._stop.set()
        self._thread.join(2 * TIMEOUT)
        self._sender.close()

    def _ask(self) -> None:
        for number in self._numbers:
            if self._stop.is_set():
                return
            began = time.monotonic()
            try:
                answer = self._sender(number)
            except Exception as error:
                self.lost.append(f"{self.name}: {type(error).__name__} {error}")
                time.sleep(0.01)
                continue
            self.longest = max(self.longest, time.monotonic() - began)
            if np.float32(answer) == np.float32(number):  # JSON carries the shortest text of a float32
                self.answered += 1
            else:
                self.lost.append(f"{self.name}: asked for {number}, got {answer}")


@contextmanager
def load(server: Server, milliseconds: float, each: int = 1, spread: int = 1024) -> Iterator[Sequence[Load]]:
    """`each` clients of every kind, asking a model that takes as long as the number says and echoes it."""
    loads = [Load(name, sender, milliseconds, spread) for _ in range(each) for name, sender in senders(server).items()]
    for one in loads:
        one.start()
    try:
        yield loads
    finally:
        for one in loads:
            one.stop()
