"""The way out: first not ready, while everything is still answered; then stop.

    GET /drain (a preStop hook) or SIGTERM -> begin, once -> serve on for `seconds` -> the server stops

Whoever watches readiness has these seconds to send requests elsewhere. Over HTTP every answer in them ends its
connection; a gRPC connection is ended at its age (`grpc_connection_seconds`), so the drain is to be longer than that.
A SIGTERM that follows a drain waits only for what is left of it. With several workers one of them gets the hook's
request, and tells the others by a file in the folder that they share.
"""

import asyncio
import ipaddress
import logging
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType

log = logging.getLogger("modelyard.drain")

MARK = "draining"
"""The file that tells the other workers."""
_PROXIES = frozenset(
    {b"forwarded", b"via", b"x-real-ip", b"x-client-ip", b"x-cluster-client-ip", b"true-client-ip", b"cf-connecting-ip"}
)
"""Headers that proxies add, beside all x-forwarded-, x-original- and x-envoy- ones."""


class Drain:
    def __init__(self, seconds: float, begin: Callable[[], None], shared: Path | None = None) -> None:
        """`begin` is called once, in the event loop. `shared`: the workers' folder, None for a single process."""
        self._seconds = seconds
        self._begin = begin
        self._mark = shared / MARK if shared else None
        self._begun: float | None = None
        self._told: float | None = None
        """When the server was told to stop."""

    @property
    def begun(self) -> bool:
        return self._begun is not None

    @property
    def left(self) -> float:
        """Seconds until the server may stop."""
        return 0.0 if self._begun is None else max(0.0, self._begun + self._seconds - time.monotonic())

    @property
    def stopping(self) -> float:
        """Seconds since the server was told to stop, after the drain."""
        return 0.0 if self._told is None else max(0.0, time.monotonic() - self._told)

    def begin(self) -> None:
        if self._begun is None:
            self._begun = time.monotonic()
            log.info("not ready; serving on for %g s", self._seconds)
            self._begin()

    async def wait(self) -> float:
        """Begin, with all workers, and come back when the server may stop. Returns the seconds of a whole drain."""
        self.begin()
        if self._mark is not None:  # a SIGTERM is for one worker alone: the supervisor sends it to those that it means
            self._mark.touch()
        await asyncio.sleep(self.left)
        return self._seconds

    def look(self) -> None:
        """Now and then: has another worker been told to drain?"""
        if self._mark is not None and self._begun is None and self._mark.exists():
            self.begin()

    def before_exit(self) -> None:
        """From here on SIGTERM drains before it stops; a second one stops at once."""
        loop = asyncio.get_running_loop()
        stop = signal.getsignal(signal.SIGTERM)
        told: list[int] = []

        def drain(number: int) -> None:
            self.begin()
            wait = 0.0 if told else self.left
            self._told = time.monotonic() + wait
            if callable(stop):
                loop.call_later(wait, stop, number, None)
            told.append(number)

        def received(number: int, _: FrameType | None) -> None:
            loop.call_soon_threadsafe(drain, number)

        try:
            signal.signal(signal.SIGTERM, received)
        except ValueError:
            log.debug("not in the main thread: whoever runs the loop handles SIGTERM")


def may_drain(allowed: str, peer: str) -> bool:
    """Only a neighbour may end a server's readiness. `allowed`: networks, with commas between."""
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    networks = [ipaddress.ip_network(item) for item in filter(None, map(str.strip, allowed.split(",")))]
    return any(address in network for network in networks if network.version == address.version)


def forwarded(headers: Iterable[bytes]) -> bool:
    """Whether a proxy has handed the request on, by its lower-case header names: behind one anybody may stand."""
    return any(name in _PROXIES or name.startswith((b"x-forwarded-", b"x-original-", b"x-envoy-")) for name in headers)
