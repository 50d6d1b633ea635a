"""A client that does not read its answers: nothing more is computed for it, and at last it is cut off."""

from __future__ import annotations

import pytest

from modelyard.protocol.http_connection import LINGER_SECONDS
from tests.unit.cache.fakes import settle
from tests.unit.protocol.fakes import (
    APP,
    KEEP_ALIVE,
    MAX_HELD,
    NOW,
    RECEIVE_TIMEOUT,
    Line,
    expected,
    later,
    request,
)


async def unread(line: Line, count: int, *headers: str, path: str = NOW) -> None:
    """Ask for an answer of which so many bytes are not read, more than the transport likes to hold."""
    line.transport.unread = count
    line.send(request(path, b"x", *headers))
    await settle()
    line.protocol.pause_writing()


async def test_nothing_is_computed_for_a_client_that_does_not_read(line: Line) -> None:
    line.protocol.pause_writing()
    line.send(request(NOW, b"x"))
    await settle()
    assert not line.rest.submitted
    line.protocol.resume_writing()
    await settle()
    assert line.bodies() == [expected(NOW, b"x")]


async def test_the_next_of_a_pipeline_waits_for_the_client_to_read(line: Line) -> None:
    line.send(request(later(1), b"") + request(NOW, b"") + request(later(2), b""))
    line.protocol.pause_writing()
    line.rest.answer(later(1))
    await settle()
    assert line.rest.submitted == [later(1)]
    line.protocol.resume_writing()
    await settle()
    assert line.rest.submitted == [later(1), NOW, later(2)]


async def test_a_client_that_does_not_read_and_goes_away_is_not_computed_for(line: Line) -> None:
    line.protocol.pause_writing()
    line.send(request(NOW, b"x"))
    await settle()
    line.lose()
    await settle()
    assert not line.rest.submitted
    assert line.served.held_bytes == 0


# --- an end to it -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [NOW, APP])
@pytest.mark.parametrize("closes", [False, True])
async def test_a_client_that_reads_nothing_is_cut_off(line: Line, path: str, *, closes: bool) -> None:
    await unread(line, 5000, *(["connection: close"] if closes else []), path=path)
    line.clock.advance(RECEIVE_TIMEOUT - 1)
    assert not line.transport.aborted
    line.clock.advance(1)
    assert line.transport.aborted


async def test_a_slow_client_is_not_cut_off(line: Line) -> None:
    await unread(line, 5000)
    for _ in range(2):
        line.transport.unread -= 1
        line.clock.advance(RECEIVE_TIMEOUT)
    assert not line.transport.closed
    line.transport.unread = 0
    line.protocol.resume_writing()
    line.clock.advance(RECEIVE_TIMEOUT + 1)
    line.send(request(NOW, b"y"))
    assert line.bodies() == [expected(NOW, b"x"), expected(NOW, b"y")]


@pytest.mark.parametrize("path", [NOW, APP])
async def test_a_little_that_nobody_reads_does_not_keep_a_closed_connection(line: Line, path: str) -> None:
    """Too little for the transport to complain; but it closes only when all of it has been read."""
    line.send(request(path, b"x"))
    await settle()
    line.transport.unread = 10
    line.clock.advance(KEEP_ALIVE + 2)
    assert line.transport.closed
    assert not line.transport.aborted
    line.clock.advance(RECEIVE_TIMEOUT)
    assert line.transport.aborted


async def test_a_little_that_nobody_reads_does_not_keep_a_refused_connection(line: Line) -> None:
    line.transport.unread = 10
    line.send(b"no HTTP\r\n\r\n")
    line.clock.advance(LINGER_SECONDS + RECEIVE_TIMEOUT)
    assert line.transport.aborted


async def test_what_is_not_read_counts_as_held(line: Line) -> None:
    await unread(line, 5000)
    assert line.served.held_bytes == 5000
    line.transport.unread = 4000
    line.clock.advance(RECEIVE_TIMEOUT)
    assert line.served.held_bytes == 4000
    line.protocol.resume_writing()
    assert line.served.held_bytes == 0
    assert not line.clock.timers[1:], "only the timer of an idle connection"


async def test_what_was_not_read_is_let_go_with_its_connection(line: Line) -> None:
    await unread(line, 5000)
    line.lose(ConnectionResetError())
    assert line.served.held_bytes == 0
    assert not line.clock.timers


async def test_no_body_is_taken_while_clients_do_not_read_all_that_may_be_held(line: Line) -> None:
    await unread(line, MAX_HELD)
    other = Line(line.served)
    other.send(request(NOW, b"x"))
    assert [answer.status for answer in other.answers()] == [503]
