"""The floors: what a server that did nothing but its protocol would reach.

Each is asked with the requests that the servers with a model are asked with, looks into none of them, and answers bytes
that cost it nothing.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from loadtests.bench.core import HOST, Endpoint, Face, Server
from loadtests.bench.process import answers, launched
from modelyard.authoring.ports import free_port

HELLO, ECHO = "bare uvicorn hello", "bare grpc.aio echo"


class Hello:
    """uvicorn with uvloop and httptools, no access log, and an application that answers a constant."""

    name = HELLO
    faces: tuple[Face, ...] = ("oip-json",)

    @contextmanager
    def start(self, model: str, onnx: Path, log: Path) -> Iterator[Server]:  # noqa: ARG002  (a floor runs no model)
        """Serve the constant."""
        port = free_port()
        command = [sys.executable, "-m", "loadtests.bench.floors", "hello", str(port)]
        with launched(command, lambda: answers(port, "/"), log) as pid:
            endpoint = Endpoint("oip-json", HOST, port, "/hello", model)
            yield Server(self.name, model, pid, {"oip-json": endpoint}, answers=False, version=version("uvicorn"))


class Echo:
    """grpc.aio with one generic handler that returns the bytes it was given."""

    name = ECHO
    faces: tuple[Face, ...] = ("oip-grpc",)

    @contextmanager
    def start(self, model: str, onnx: Path, log: Path) -> Iterator[Server]:  # noqa: ARG002  (as above)
        """Serve the echo."""
        port = free_port()
        command = [sys.executable, "-m", "loadtests.bench.floors", "echo", str(port)]
        with launched(command, lambda: _listens(port), log) as pid:
            endpoint = Endpoint("oip-grpc", HOST, port, "", model)
            yield Server(self.name, model, pid, {"oip-grpc": endpoint}, answers=False, version=version("grpcio"))


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


# --- what runs in the processes ----------------------------------------------------------------------------------


def _serve_hello(port: int) -> None:
    import uvicorn

    answer = b'{"hello":"world"}'
    start = {
        "type": "http.response.start",
        "status": 200,
        "headers": [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))],
    }
    content = {"type": "http.response.body", "body": answer}

    async def hello(scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG001  (ASGI gives all three)
        await send(start)
        await send(content)

    uvicorn.run(
        hello,
        host=HOST,
        port=port,
        loop="uvloop",
        http="httptools",
        lifespan="off",
        access_log=False,
        log_level="error",
    )


def _serve_echo(port: int) -> None:
    import grpc
    import uvloop

    class Everything(grpc.GenericRpcHandler):  # type: ignore[misc]  # untyped library
        async def _echo(self, request: bytes, context: Any) -> bytes:  # noqa: ARG002  (grpc gives both)
            return request

        def service(self, handler_call_details: Any) -> Any:  # noqa: ARG002  (every method is the echo)
            return grpc.unary_unary_rpc_method_handler(self._echo)

    async def serve() -> None:
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((Everything(),))
        server.add_insecure_port(f"{HOST}:{port}")
        await server.start()
        await server.wait_for_termination()

    uvloop.run(serve())


def main(what: str, port: str) -> None:
    """`hello PORT` or `echo PORT`."""
    (_serve_hello if what == "hello" else _serve_echo)(int(port))


if __name__ == "__main__":
    main(*sys.argv[1:])
