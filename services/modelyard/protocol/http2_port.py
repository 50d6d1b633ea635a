"""What server, connections and calls of the HTTP/2 front know of each other."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import zttp

from modelyard.errors import ModelyardError
from modelyard.protocol.grpc import Cancel


class Connection(Protocol):
    """What a call needs of its connection."""

    loop: asyncio.AbstractEventLoop

    def wrote(self) -> None:
        """Something is to be sent."""

    def hold(self, count: int) -> None:
        """So many more bytes of requests are held, or fewer. Raises Overloaded when it is too much."""

    def ended(self, stream_id: int) -> None:
        """The call of this stream has its answer."""

    def ahead(self, stream_id: int, *, too_far: bool) -> None:
        """A stream has sent more than its method has taken yet, or no longer."""

    async def drained(self, stream: zttp.Stream) -> None:
        """Come back when the peer has taken what was sent."""


class Ending(Protocol):
    """What a server needs of its connections."""

    transport: asyncio.Transport

    def go_away(self) -> None:
        """Have the peer open its next streams elsewhere, and close when those that are open have their answers."""


@dataclass(frozen=True, slots=True)
class Method:
    handler: Any
    """grpc.RpcMethodHandler: grpc is not typed."""
    submit: Callable[[Any, Any, Callable[[Any], None]], Cancel | None] | None = None
    """A way without a coroutine, for the method that most calls are of: message, context, and what takes the answer."""


@dataclass
class Shared:
    """What all connections of a server have in common."""

    methods: Mapping[bytes, Method]
    """By path."""
    max_message_bytes: int
    max_held_bytes: int
    malformed: Callable[[], ModelyardError]
    """What a call gets whose headers cannot be read."""
    receive_seconds: float
    """The most that a message may take to arrive whole."""
    connection_seconds: float
    connections: set[Ending] = field(default_factory=set)
    closing: bool = False
    """The server stops: whoever connects now is told to go."""
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the last connection has gone."""
    held_bytes: int = 0
    """Bytes of requests that all calls hold together."""
