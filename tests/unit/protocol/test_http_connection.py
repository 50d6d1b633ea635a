"""What a connection promises whoever answers: limits on sizes, times and held bodies, and an end after a broken one."""

from __future__ import annotations

import pytest

from modelyard.protocol.http_connection import LINGER_SECONDS, MAX_HEADER_BYTES
from tests.unit.cache.fakes import settle
from tests.unit.protocol.fakes import (
    APP,
    LATER,
    MAX_BODY,
    MAX_HELD,
    NOW,
    RECEIVE_TIMEOUT,
    FakeServed,
    Line,
    expected,
    request,
)


@pytest.fixture(name="line")
async def _line() -> Line:
    return Line()


def statuses(line: Line) -> list[int]:
    return [answer.status for answer in line.answers()]


def ends_soon(line: Line) -> None:
    """Half-closed at once, closed a little later; what still comes is thrown away."""
    assert line.answers()[-1].closes
    assert line.transport.ended
    line.send(request(NOW, b""))
    line.clock.advance(LINGER_SECONDS)
    assert line.transport.closed
    line.lose()
    assert not line.clock.timers
    assert line.served.held_bytes == 0


# --- sizes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [NOW, APP])
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_at_the_cap_is_taken(line: Line, path: str, *, chunked: bool) -> None:
    body = b"x" * MAX_BODY
    line.send(request(path, body, chunks=(lambda body: [body[:1000], body[1000:]]) if chunked else None))
    await settle()
    assert line.bodies() == [expected(path, body)]
    assert line.served.held_bytes == 0


@pytest.mark.parametrize("path", [NOW, LATER, APP])
@pytest.mark.parametrize("pieces", [1, 3])
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_above_the_cap_is_refused_and_never_handled(
    line: Line, path: str, pieces: int, *, chunked: bool
) -> None:
    body = b"x" * (MAX_BODY + 1)
    whole = request(path, body, chunks=(lambda body: [body[:1000], body[1000:]]) if chunked else None)
    size = -(-len(whole) // pieces)
    for start in range(0, len(whole), size):
        line.send(whole[start : start + size])
    await settle()
    assert statuses(line) == [413]
    assert not line.rest.submitted
    ends_soon(line)


async def test_a_client_that_announces_too_much_is_not_told_to_go_on(line: Line) -> None:
    line.send(request(NOW, b"x" * (MAX_BODY + 1), "expect: 100-continue")[: -MAX_BODY - 1])
    assert statuses(line) == [413]
    ends_soon(line)


async def test_headers_above_the_cap_are_refused(line: Line) -> None:
    filler = [f"x-{number}: {'y' * 1000}" for number in range(MAX_HEADER_BYTES // 1000 + 1)]
    line.send(request(NOW, None, *filler, method="GET")[:-4])
    assert statuses(line) == [431]
    ends_soon(line)


async def test_a_large_body_counts_as_no_header(line: Line) -> None:
    line.served.max_held_bytes = line.protocol._max_body = MAX_HEADER_BYTES * 2
    body = b"x" * (MAX_HEADER_BYTES + 1000)
    whole = request(NOW, body)
    line.send(whole[:-500], whole[-500:], request(NOW, b"y"))
    assert line.bodies() == [expected(NOW, body), expected(NOW, b"y")]


# --- bytes held -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [LATER, APP])
async def test_a_body_is_held_until_its_answer(path: str) -> None:
    line = Line()
    line.served.app_may_answer.clear()
    whole = request(path, b"x" * 1000)
    line.send(whole[:-400])
    assert line.served.held_bytes == 600
    line.send(whole[-400:])
    await settle()
    assert line.served.held_bytes == 1000
    line.served.app_may_answer.set()
    for held in line.rest.held:
        held.answer()
    await settle()
    assert line.bodies() == [expected(path, b"x" * 1000)]
    assert line.served.held_bytes == 0


@pytest.mark.parametrize("path", [NOW, LATER, APP])
@pytest.mark.parametrize("pipelined", [False, True])
async def test_a_connection_that_has_its_answer_keeps_no_body(line: Line, path: str, *, pipelined: bool) -> None:
    body = b"x" * 1000
    line.send((request(LATER, body) if pipelined else b"") + request(path, body))
    while line.rest.held:
        line.rest.held.pop(0).answer()
    await settle()
    assert len(line.answers()) == 1 + pipelined
    cycle = line.protocol.cycle
    assert cycle.response_complete
    assert not (cycle.body if path == APP else cycle.request.body or cycle.chunks)


@pytest.mark.parametrize("path", [NOW, LATER, APP])
@pytest.mark.parametrize("arrived", [1, 100])
async def test_a_body_is_let_go_with_its_connection(path: str, arrived: int) -> None:
    line = Line()
    line.served.app_may_answer.clear()
    line.send(request(LATER, b"x" * 100) + request(path, b"x" * 100)[: arrived - 100 or None])
    await settle()
    assert line.served.held_bytes == 100 + arrived
    line.lose(ConnectionResetError())
    await settle()
    assert line.served.held_bytes == 0
    line.rest.held[0].answer()
    assert line.served.held_bytes == 0


async def test_all_connections_together_hold_a_bounded_number_of_bytes() -> None:
    served = FakeServed()
    lines = [Line(served) for _ in range(4)]
    for line in lines[:3]:
        line.send(request(LATER, b"x" * (MAX_HELD // 4)))
    lines[3].send(request(NOW, b"x" * (MAX_HELD // 3)))
    assert statuses(lines[3]) == [503]
    assert served.rest.submitted == [LATER] * 3, "a body that was not taken is not handled"
    assert served.held_bytes == 3 * (MAX_HELD // 4), "only those of the others"
    for held in served.rest.held:
        held.answer()
    assert served.held_bytes == 0
    lines[0].send(request(NOW, b"x" * (MAX_HELD // 3)))
    assert statuses(lines[0]) == [200, 200]


async def test_a_body_that_comes_after_the_applications_answer_is_not_held(line: Line) -> None:
    """An application may answer (404, 405) before it has read the body; then nobody keeps what comes."""
    line.served.reads_body = False
    whole = request(APP, b"x" * 1000)
    line.send(whole[:-1000])
    await settle()
    assert statuses(line) == [200]
    line.send(whole[-1000:])
    await settle()
    assert line.served.held_bytes == 0
    line.send(request(NOW, b"y"))
    assert line.bodies()[1] == expected(NOW, b"y")


# --- no HTTP ----------------------------------------------------------------------------------------------------------

GARBAGE = [
    b"\0\0\0\0",
    b"\x16\x03\x01\x02\0",
    b"hello\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"POST /v2 HTTP/1.1\r\na b: c\r\n\r\n",
]


@pytest.mark.parametrize("garbage", GARBAGE)
async def test_what_is_no_http_is_refused(line: Line, garbage: bytes) -> None:
    line.send(garbage)
    assert statuses(line) == [400]
    ends_soon(line)


@pytest.mark.parametrize("garbage", GARBAGE)
async def test_what_is_no_http_behind_an_answered_request(line: Line, garbage: bytes) -> None:
    line.send(request(NOW, b"x") + garbage)
    assert statuses(line) == [200, 400]
    ends_soon(line)


@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize("path", [LATER, APP])
async def test_what_is_no_http_behind_a_request_does_not_cost_it_its_answer(
    line: Line, path: str, garbage: bytes
) -> None:
    line.served.app_may_answer.clear()
    line.send(request(path, b"x"), garbage)
    await settle()
    assert not line.transport.written
    line.served.app_may_answer.set()
    for held in line.rest.held:
        held.answer()
    await settle()
    assert line.bodies()[0] == expected(path, b"x")
    line.clock.advance(LINGER_SECONDS)
    assert line.transport.closed


# --- upgrades ---------------------------------------------------------------------------------------------------------

UPGRADE = ("connection: Upgrade, HTTP2-Settings", "upgrade: h2c", "http2-settings: AAMAAABkAAQBAAAAAAIAAAAA")
"""What Java's HttpClient sends with its first request."""


@pytest.mark.parametrize("path", [NOW, APP])
async def test_an_upgrade_to_another_protocol_is_not_taken(line: Line, path: str) -> None:
    line.send(request(path, None, *UPGRADE, method="GET"))
    await settle()
    line.send(request(path, b"x"))
    await settle()
    assert line.bodies() == [expected(path, method="GET"), expected(path, b"x")]


@pytest.mark.parametrize("path", [NOW, APP])
@pytest.mark.parametrize("cut", [1, 6])
async def test_a_request_that_offers_an_upgrade_keeps_its_body(line: Line, path: str, cut: int) -> None:
    """RFC 9110, 7.8: a server that does not take the offer answers the request as if there was none."""
    whole = request(path, b"a body", *UPGRADE)
    for piece in (whole[:-cut], whole[-cut:]):
        line.send(piece)
        await settle()
    assert line.bodies() == [expected(path, b"a body")]


async def test_the_other_wishes_about_the_connection_are_kept_where_an_upgrade_is_declined(line: Line) -> None:
    line.send(request(NOW, b"a body", "Connection: Upgrade, close", "Upgrade: h2c"))
    await settle()
    assert line.bodies() == [expected(NOW, b"a body")]
    assert line.transport.closed


# --- the receive deadline ---------------------------------------------------------------------------------------------


async def test_a_connection_that_is_never_used_is_closed_without_a_word(line: Line) -> None:
    line.clock.advance(RECEIVE_TIMEOUT)
    assert line.transport.closed
    assert not line.transport.written


@pytest.mark.parametrize("length", [1, 30, 50, 55])
async def test_a_request_that_does_not_come_to_its_end_is_refused(line: Line, length: int) -> None:
    line.send(request(NOW, b"a body")[:length])
    line.clock.advance(RECEIVE_TIMEOUT - 1)
    assert not line.transport.written
    line.clock.advance(1)
    assert statuses(line) == [408]
    ends_soon(line)


async def test_the_deadline_begins_with_a_request_not_with_the_connection(line: Line) -> None:
    whole = request(NOW, b"a body")
    for _ in range(3):
        line.send(whole[:30])
        line.clock.advance(RECEIVE_TIMEOUT - 1)
        line.send(whole[30:])
        line.clock.advance(RECEIVE_TIMEOUT + 1)
    assert statuses(line) == [200] * 3


async def test_the_deadline_begins_anew_where_one_read_ends_a_request_and_begins_the_next(line: Line) -> None:
    whole = request(NOW, b"a body")
    line.send(whole[:30])
    for _ in range(3):
        line.clock.advance(RECEIVE_TIMEOUT * 0.7)
        line.send(whole[30:] + whole[:30])
    assert statuses(line) == [200] * 3


async def test_the_servers_own_slowness_is_not_held_against_a_pipeline(line: Line) -> None:
    whole = request(NOW, b"a body")
    line.send(request(LATER, b"") + whole[:-3])
    assert line.transport.reading_paused
    line.clock.advance(RECEIVE_TIMEOUT * 3)
    assert not line.transport.written
    line.rest.answer(LATER)
    line.send(whole[-3:])
    assert line.bodies() == [expected(LATER), expected(NOW, b"a body")]
