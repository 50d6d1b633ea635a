"""Several requests on one connection at once: answered in the order in which they came, however they come and end."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from itertools import pairwise, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.cache.fakes import settle
from tests.unit.protocol.fakes import APP, LATER, NOW, Line, expected, later, parse, request


@pytest.fixture(name="line")
async def _line() -> Line:
    return Line()


async def test_pipelined_requests_are_answered_in_order(line: Line) -> None:
    paths = [NOW, later(1), NOW, later(2), later(3), NOW]
    line.send(b"".join(request(path, b"x") for path in paths))
    assert line.bodies() == [expected(NOW, b"x")]
    assert line.transport.reading_paused, "a pipeline must not grow"
    for number in (1, 2, 3):
        assert [held.path for held in line.rest.held] == [later(number)], "one after the other"
        line.rest.answer(later(number))
    assert line.bodies() == [expected(path, b"x") for path in paths]
    assert not line.transport.reading_paused


async def test_an_answer_out_of_turn_is_still_the_right_ones(line: Line) -> None:
    """Whatever the face does: an answer goes with its request."""
    line.send(request(later(1), b"one"))
    (held,) = line.rest.held
    held.answer()
    line.send(request(later(2), b"two"))
    held.answer()
    assert line.bodies() == [expected(later(1), b"one")]
    line.rest.held[-1].answer()
    assert line.bodies() == [expected(later(1), b"one"), expected(later(2), b"two")]


@pytest.mark.parametrize("paths", list(permutations([NOW, APP, later(1)])))
async def test_paths_of_the_application_take_their_turn(line: Line, paths: tuple[str, ...]) -> None:
    line.send(b"".join(request(path, b"x") for path in (*paths, *paths)))
    for _ in range(2):
        await settle(10)
        line.rest.answer(later(1))
    await settle(10)
    assert line.bodies() == [expected(path, b"x") for path in (*paths, *paths)]
    assert line.served.held_bytes == 0


async def test_a_slow_application_holds_back_what_is_behind_it(line: Line) -> None:
    line.served.app_may_answer.clear()
    line.send(request(APP, b"x") + request(NOW, b"y"))
    await settle()
    assert not line.transport.written
    assert not line.rest.submitted
    line.served.app_may_answer.set()
    await settle()
    assert line.bodies() == [expected(APP, b"x"), expected(NOW, b"y")]


async def test_a_body_may_still_be_coming_when_its_turn_has_come(line: Line) -> None:
    whole = request(NOW, b"body")
    line.send(request(LATER, b"") + whole[:-3])
    line.rest.answer(LATER)
    assert line.rest.submitted == [LATER]
    assert not line.transport.reading_paused
    line.send(whole[-3:])
    assert line.bodies() == [expected(LATER), expected(NOW, b"body")]


@pytest.mark.parametrize("path", [NOW, LATER, APP])
@pytest.mark.parametrize("behind", [NOW, LATER, APP])
async def test_nothing_behind_the_last_request_is_answered_or_begun(line: Line, path: str, behind: str) -> None:
    """RFC 9112, 9.6: no further requests are processed on a connection that was said to be closed."""
    line.send(request(path, b"", "connection: close") + request(behind, b""))
    await settle()
    if path == LATER:
        line.rest.answer(LATER)
        await settle()
    assert line.bodies() == [expected(path)]
    assert line.transport.closed
    assert [*line.rest.submitted, *line.served.app_calls] == [path]


async def test_nothing_behind_a_refused_request_is_begun(line: Line) -> None:
    line.rest.locked = True
    line.send(request(NOW, b"x" * 9) + request(NOW, b"", "authorization: Bearer key"))
    assert [answer.status for answer in line.answers()] == [401]
    assert not line.rest.submitted


async def test_a_long_pipeline_is_no_deep_one(line: Line) -> None:
    """Requests that are answered at once, behind one that is not: as many as one read brings."""
    count = 2 * sys.getrecursionlimit()
    line.send(request(LATER, b"") + request(NOW, b"") * count)
    line.rest.answer(LATER)
    await settle()
    assert line.bodies() == [expected(LATER)] + [expected(NOW)] * count


# --- any requests, cut anywhere ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Asked:
    path: str
    body: bytes
    method: str
    chunked: bool
    headers: tuple[str, ...]

    def wire(self) -> bytes:
        if self.method in ("GET", "HEAD"):
            return request(self.path, None, *self.headers, method=self.method)
        half = len(self.body) // 2
        cut = (lambda body: [body[:half], body[half:]]) if self.chunked else None
        return request(self.path, self.body, *self.headers, chunks=cut)

    def answer(self) -> str:
        return "" if self.method == "HEAD" else expected(self.path, self.body, self.method)


@st.composite
def asked(draw: st.DrawFn) -> Asked:
    path = draw(st.sampled_from([NOW, LATER, APP])) + f"/{draw(st.integers(0, 9))}"
    method = draw(st.sampled_from(["POST", "POST", "GET", "HEAD"]))
    body = draw(st.text("abc\r\n", max_size=20)).encode() if method == "POST" else b""
    headers = draw(st.lists(st.sampled_from(["connection: keep-alive", "x-other: 1"]), unique=True))
    return Asked(path, body, method, draw(st.booleans()), tuple(headers))


async def talk(line: Line, pieces: list[bytes], patience: int) -> None:
    """Send the pieces as the server reads them; it answers what it holds after `patience` of them, or when stuck."""
    for number, piece in enumerate(pieces):
        if patience and number % patience == 0:
            await go_on(line)
        while line.transport.reading_paused:
            await go_on(line)
        line.send(piece)
    for _ in range(40):
        await go_on(line)


async def go_on(line: Line) -> None:
    await settle(2)
    for held in line.rest.held:
        held.answer()
    line.rest.held.clear()
    await settle(2)


@given(st.lists(asked(), min_size=1, max_size=6), st.data())
def test_requests_cut_at_any_place_have_the_same_answers(requests: list[Asked], data: st.DataObject) -> None:
    whole = b"".join(one.wire() for one in requests)
    places = data.draw(st.sets(st.integers(1, len(whole) - 1), max_size=12) | st.just(set(range(1, len(whole)))))
    pieces = [whole[start:end] for start, end in pairwise([0, *sorted(places), len(whole)])]
    patience = data.draw(st.integers(0, 5))

    async def play() -> Line:
        line = Line()
        await talk(line, pieces, patience)
        return line

    line = asyncio.run(play())
    heads = [place for place, one in enumerate(requests) if one.method == "HEAD"]
    answers = parse(line.transport.written, heads)
    assert [answer.body.decode() for answer in answers] == [one.answer() for one in requests]
    assert {answer.status for answer in answers} == {200}
    assert not any(answer.closes for answer in answers)
    assert line.served.held_bytes == 0
    assert not line.transport.closed
    assert not line.transport.reading_paused
