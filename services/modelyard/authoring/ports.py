"""Ports for servers that are started a moment later."""

from __future__ import annotations

import os
import secrets
import socket
from collections import deque

_HOST = "127.0.0.1"
_RANGE = range(15_000, 32_000)  # Linux gives outgoing connections a port of 32768 and up: it can't come in between
_KEPT = 128
_TRIES = 1_000
_claims: deque[int] = deque()


def free_port() -> int:
    """A TCP port of 127.0.0.1 on which nobody listens, and which no other caller is given meanwhile.

    It is claimed by a UDP socket of the same number, which does not stand in the way of the TCP server and which the
    kernel closes with this process; of a process's claims the last 128 are held. Raises OSError when none is left.
    """
    while len(_claims) >= _KEPT:
        os.close(_claims.popleft())
    for _ in range(_TRIES):
        port = secrets.choice(_RANGE)
        claim = _claimed(port)
        if claim is not None:
            _claims.append(claim)
            return port
    raise OSError(f"no free port was found between {_RANGE.start} and {_RANGE.stop}")


def _claimed(port: int) -> int | None:
    """The descriptor that holds the claim; None when the port is claimed or in use."""
    with socket.socket(type=socket.SOCK_DGRAM) as claim, socket.socket() as probe:
        try:
            claim.bind((_HOST, port))
            probe.bind((_HOST, port))
        except OSError:
            return None
        return claim.detach()
