"""The way out: begun once, waited for by whoever asked, and obeyed only when a neighbour asks."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from pathlib import Path

import pytest

from modelyard.drain import Drain, forwarded, may_drain


def test_it_begins_once() -> None:
    begun: list[bool] = []
    drain = Drain(5.0, lambda: begun.append(True))
    assert not drain.begun
    assert drain.left == 0
    drain.begin()
    drain.begin()
    assert begun == [True]
    assert 4 < drain.left <= 5


async def test_whoever_waits_gets_what_is_left() -> None:
    drain = Drain(0.2, lambda: None)
    started = time.monotonic()
    assert list(await asyncio.gather(drain.wait(), drain.wait())) == [0.2, 0.2]
    assert time.monotonic() - started >= 0.2
    assert drain.left == 0


async def test_a_waiter_that_leaves_does_not_end_the_drain() -> None:
    drain = Drain(60.0, lambda: None)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(drain.wait(), 0.05)
    assert drain.begun
    assert drain.left > 50


async def test_one_worker_tells_the_others(tmp_path: Path) -> None:
    begun: list[str] = []
    first, second = (Drain(0.0, partial(begun.append, name), tmp_path) for name in ("first", "second"))
    second.look()
    assert begun == []
    await first.wait()
    second.look()
    second.look()
    assert begun == ["first", "second"]


def test_a_worker_that_ends_alone_tells_nobody(tmp_path: Path) -> None:
    begun: list[str] = []
    first, second = (Drain(0.0, partial(begun.append, name), tmp_path) for name in ("first", "second"))
    first.begin()
    second.look()
    assert begun == ["first"]


def test_a_single_process_looks_at_no_file() -> None:
    drain = Drain(1.0, lambda: None)
    drain.look()
    assert not drain.begun


LOOPBACK = "127.0.0.0/8,::1/128"


@pytest.mark.parametrize(
    ("allowed", "peer", "obeyed"),
    [
        (LOOPBACK, "127.0.0.1", True),
        (LOOPBACK, "127.8.9.1", True),
        (LOOPBACK, "::1", True),
        (LOOPBACK, "::ffff:127.0.0.1", True),
        (LOOPBACK, "10.0.0.7", False),
        (LOOPBACK, "::2", False),
        (LOOPBACK, "", False),
        (LOOPBACK, "localhost", False),
        ("", "127.0.0.1", False),
        ("10.0.0.0/8 , fd00::/8", "10.255.0.1", True),
        ("10.0.0.0/8 , fd00::/8", "fd12::1", True),
        ("10.0.0.0/8", "fd12::1", False),
    ],
)
def test_only_neighbours_are_obeyed(allowed: str, peer: str, obeyed: bool) -> None:
    assert may_drain(allowed, peer) is obeyed


@pytest.mark.parametrize("name", [b"via", b"x-real-ip", b"x-forwarded-proto", b"x-envoy-external-address"])
def test_what_a_proxy_has_handed_on_is_seen(name: bytes) -> None:
    assert forwarded([b"host", name])
    assert not forwarded([b"host", b"accept", b"x-request-id"])
