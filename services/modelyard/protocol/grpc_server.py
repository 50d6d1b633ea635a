"""The gRPC port by grpc.aio: the library's own server, the default."""

import asyncio

import grpc

from modelyard.dataplane import DataPlane
from modelyard.protocol.grpc import InferenceServicer
from modelyard.protocol.grpc_methods import methods

_NEVER = 2**31 - 1
"""As the library says it, in milliseconds."""


class GrpcServer:
    """The listening server: start, then stop with a grace."""

    def __init__(
        self, dataplane: DataPlane, *, max_message_bytes: int, share_port: bool, connection_seconds: float
    ) -> None:
        """`share_port`: several processes listen on one port. A single one wants a second server there to fail.

        `connection_seconds`: the age at which a connection is ended, 0: none. The library does that without a loss: it
        says GOAWAY, takes what was sent before the caller heard of it, and answers all that is open. Its `stop` does
        not: calls that wait to be taken end as CANCELLED. So callers have to be gone when a server stops.
        """
        self._server = grpc.aio.server(
            options=(
                ("grpc.max_receive_message_length", max_message_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", int(share_port)),
                ("grpc.max_concurrent_streams", 1024),
                ("grpc.max_connection_age_ms", round(connection_seconds * 1000) or _NEVER),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_ping_interval_without_data_ms", 5000),
            )
        )
        self._stopping = asyncio.Event()
        servicer = InferenceServicer(dataplane, self._stopping)
        for service, handlers in methods(servicer, dataplane, self._stopping).items():
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))

    async def start(self, host: str, port: int) -> None:
        """Raises OSError when the port is taken."""
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            bound = self._server.add_insecure_port(address)
        except RuntimeError:
            bound = 0
        if not bound:
            raise OSError(f"gRPC cannot listen on {address}: the port is taken, or the address is not of this machine")
        await self._server.start()

    async def stop(self, grace: float) -> None:
        """Sends GOAWAY, answers what is open within the grace, then closes. Idle streams are ended at once."""
        self._stopping.set()
        await self._server.stop(grace)
