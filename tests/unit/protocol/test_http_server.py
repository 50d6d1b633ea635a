"""What is answered on a connection, in which order, and when it ends: bytes in, bytes out, without a socket."""

from __future__ import annotations

import pytest

from modelyard.protocol.http_server import LAST_REQUEST_SECONDS
from tests.unit.cache.fakes import settle
from tests.unit.protocol.fakes import APP, KEEP_ALIVE, LATER, NOW, OPEN, Line, expected, later, request

# --- one request ------------------------------------------------------------------------------------------------------


async def test_a_request_is_answered_with_one_write_and_the_connection_stays(line: Line) -> None:
    for body in (b"one", b"two"):
        line.send(request(NOW, body))
    first, second = line.answers()
    assert (first.status, first.body, first.closes) == (200, b"POST /v2/now one", False)
    assert second.body == b"POST /v2/now two"
    assert line.state.total_requests == 2
    assert not line.transport.closed


async def test_an_answer_may_come_later(line: Line) -> None:
    line.send(request(LATER, b"x"))
    assert not line.transport.written
    line.rest.answer(LATER)
    assert line.bodies() == [expected(LATER, b"x")]


@pytest.mark.parametrize("cut", range(1, 90, 7))
async def test_a_body_may_come_in_several_pieces(line: Line, cut: int) -> None:
    whole = request(NOW, b"a body of some bytes")
    line.send(whole[:cut], whole[cut : cut + 5], whole[cut + 5 :])
    assert line.bodies() == [expected(NOW, b"a body of some bytes")]


async def test_a_chunked_body_is_put_together(line: Line) -> None:
    line.send(request(NOW, b"abcdefgh", chunks=lambda body: [body[:1], body[1:6], body[6:]]))
    assert line.bodies() == [expected(NOW, b"abcdefgh")]


async def test_head_has_the_headers_of_the_answer_and_no_body(line: Line) -> None:
    line.send(request(NOW, method="HEAD"), request(NOW, method="GET"))
    head, get = line.answers(heads=[0])
    assert head.body == b""
    assert int(head.headers["content-length"]) == len(expected(NOW, method="HEAD"))
    assert get.body == b"GET /v2/now "


async def test_the_query_is_no_part_of_the_path(line: Line) -> None:
    line.send(request(f"{NOW}?a=b", b""), request(f"http://x{NOW}?a=b", b""))
    assert line.bodies() == [expected(NOW), expected(NOW)]


@pytest.mark.parametrize("url", ["*", "http://x", "//", "?a=b", "/%", "/v2/now/../x", "http://", "x:80", "/" * 300])
@pytest.mark.parametrize("method", ["GET", "OPTIONS", "CONNECT"])
async def test_a_strange_url_breaks_nothing(line: Line, url: str, method: str) -> None:
    line.send(request(url, None, method=method))
    await settle()
    (answer,) = line.answers()
    assert answer.status in (200, 400)


@pytest.mark.parametrize(
    ("version", "headers", "closes"),
    [
        ("1.1", [], False),
        ("1.1", ["connection: keep-alive"], False),
        ("1.1", ["connection: close"], True),
        ("1.1", ["connection: Close"], True),
        ("1.0", [], True),
        ("1.0", ["connection: keep-alive"], True),
    ],
)
@pytest.mark.parametrize("path", [NOW, LATER, APP])
async def test_who_asks_for_it_or_speaks_http_1_0_is_closed(
    line: Line, path: str, version: str, headers: list[str], closes: bool
) -> None:
    line.send(request(path, b"x", *headers, version=version))
    await settle()
    for held in line.rest.held:
        held.answer()
    (answer,) = line.answers()
    assert (answer.closes, line.transport.closed) == (closes, closes)


@pytest.mark.parametrize(("path", "status"), [(NOW, 401), (APP, 401), (OPEN, 200)])
async def test_a_stranger_is_refused_before_the_body_is_read(line: Line, path: str, status: int) -> None:
    line.rest.locked = True
    line.send(request(path, b"x" * 9)[:-9])
    if status == 200:
        line.send(b"x" * 9)
    await settle()
    (answer,) = line.answers()
    assert (answer.status, answer.closes) == (status, status != 200)
    assert line.transport.ended == (status != 200), "a half-close: what is still sent is thrown away"
    assert not line.served.app_calls


# --- 100-continue -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [NOW, APP])
async def test_a_client_that_asks_first_is_told_to_go_on(line: Line, path: str) -> None:
    whole = request(path, b"body", "expect: 100-continue")
    line.send(whole[:-4])
    await settle()
    assert [answer.status for answer in line.answers()] == [100]
    line.send(whole[-4:])
    await settle()
    assert [answer.status for answer in line.answers()] == [100, 200]
    assert line.bodies()[1] == expected(path, b"body")


async def test_a_pipelined_client_is_told_to_go_on_when_it_is_its_turn(line: Line) -> None:
    whole = request(NOW, b"body", "expect: 100-continue")
    line.send(request(LATER, b""), whole[:-4])
    assert line.answers() == []
    line.rest.answer(LATER)
    assert [answer.status for answer in line.answers()] == [200, 100]
    line.send(whole[-4:])
    assert line.bodies()[2] == expected(NOW, b"body")


async def test_a_stranger_is_not_told_to_go_on(line: Line) -> None:
    line.rest.locked = True
    line.send(request(NOW, b"body", "expect: 100-continue")[:-4])
    assert [answer.status for answer in line.answers()] == [401]


async def test_a_client_of_http_1_0_does_not_know_100_continue(line: Line) -> None:
    """RFC 9110, 10.1.1: the expectation must be ignored then."""
    whole = request(NOW, b"body", "expect: 100-continue", version="1.0")
    line.send(whole[:-4], whole[-4:])
    assert [answer.status for answer in line.answers()] == [200]


# --- the client goes away ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [None, ConnectionResetError()])
async def test_a_lost_connection_cancels_what_is_being_answered(line: Line, error: Exception | None) -> None:
    line.send(request(LATER, b"x"))
    (held,) = line.rest.held
    line.lose(error)
    held.answer()  # too late: nobody is there, and nothing breaks
    assert (held.cancelled, line.transport.written) == (True, b"")


async def test_of_a_pipeline_only_the_one_being_answered_was_begun(line: Line) -> None:
    line.send(request(later(1), b"x") + request(later(2), b"x") + request(NOW, b"x"))
    line.lose()
    assert [(held.path, held.cancelled) for held in line.rest.held] == [(later(1), True)]
    assert line.rest.submitted == [later(1)]


async def test_what_was_answered_is_not_cancelled(line: Line) -> None:
    line.send(request(later(1), b"x"))
    (held,) = line.rest.held
    line.rest.answer(later(1))
    line.lose()
    assert not held.cancelled


async def test_a_lost_connection_cancels_one_whose_turn_came_after_one_answered_at_once(line: Line) -> None:
    line.send(request(later(1), b"") + request(NOW, b"") + request(later(2), b""))
    line.rest.answer(later(1))
    (held,) = line.rest.held
    line.lose()
    assert (held.path, held.cancelled) == (later(2), True)


# --- keep-alive and draining ------------------------------------------------------------------------------------------


async def test_an_unused_connection_is_closed_in_time(line: Line) -> None:
    line.send(request(NOW, b""))
    line.clock.advance(KEEP_ALIVE - 1)
    assert not line.transport.closed
    line.clock.advance(2.5)
    assert line.transport.is_closing()
    line.lose()
    assert not line.clock.timers, "nothing is left behind"


async def test_a_used_connection_is_not_closed(line: Line) -> None:
    for _ in range(5):
        line.send(request(NOW, b""))
        line.clock.advance(KEEP_ALIVE * 0.7)
    assert len(line.answers()) == 5
    assert not line.transport.closed
    line.clock.advance(KEEP_ALIVE)
    assert line.transport.closed


async def test_a_connection_that_is_being_answered_is_not_closed(line: Line) -> None:
    line.send(request(NOW, b""), request(LATER, b""))
    line.clock.advance(KEEP_ALIVE * 3)
    assert not line.transport.closed
    line.rest.answer(LATER)
    line.clock.advance(KEEP_ALIVE - 1)
    assert not line.transport.closed
    line.clock.advance(2.5)
    assert line.transport.closed


@pytest.mark.parametrize("together", [False, True])
async def test_a_connection_that_is_receiving_is_not_closed_as_unused(line: Line, *, together: bool) -> None:
    line.protocol._receive_timeout = KEEP_ALIVE * 4
    whole = request(NOW, b"")
    line.send(*([whole + whole[:20]] if together else [whole, whole[:20]]))
    line.clock.advance(KEEP_ALIVE + 2)
    assert not line.transport.closed
    line.send(whole[20:])
    assert len(line.answers()) == 2


@pytest.mark.parametrize("path", [NOW, LATER, APP])
async def test_while_the_server_drains_each_answer_closes_its_connection(line: Line, path: str) -> None:
    line.send(request(NOW, b""))
    line.served.draining = True
    line.send(request(path, b"") + request(OPEN, b""))
    await settle()
    for held in line.rest.held:
        held.answer()
    assert [answer.closes for answer in line.answers()] == [False, True]
    assert line.transport.closed
    assert OPEN not in line.rest.submitted, "what came behind it is not processed any more"


async def test_a_request_that_waits_when_the_server_stops_is_answered(line: Line) -> None:
    line.send(request(LATER, b""))
    line.protocol.shutdown()
    line.clock.advance(LAST_REQUEST_SECONDS * 2)
    assert not line.transport.closed
    line.rest.answer(LATER)
    assert line.answers()[0].closes
    assert line.transport.closed


async def test_an_idle_connection_gets_a_moment_when_the_server_stops(line: Line) -> None:
    line.send(request(NOW, b""))
    line.protocol.shutdown()
    line.clock.advance(LAST_REQUEST_SECONDS / 2)
    assert not line.transport.closed
    line.clock.advance(LAST_REQUEST_SECONDS)
    assert line.transport.closed
