"""An answer as it goes over the wire."""

from __future__ import annotations

from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.protocol.exchange import Exchange, render
from modelyard.protocol.http_message import HttpRequest, HttpResponse
from tests.unit.protocol.fakes import parse


@given(
    st.lists(st.binary(max_size=20), max_size=4),
    st.dictionaries(st.sampled_from([b"x-one", b"retry-after"]), st.sampled_from([b"1", b"two words"])),
    st.booleans(),
    st.booleans(),
)
def test_an_answer_is_read_as_it_was_meant(
    parts: list[bytes], headers: dict[bytes, bytes], keep_alive: bool, head: bool
) -> None:
    response = HttpResponse(200, parts, b"text/plain", list(headers.items()))
    (answer,) = parse(render(response, keep_alive, head=head), [0] if head else [])
    assert answer.status == 200
    assert answer.body == (b"" if head else b"".join(parts))
    assert answer.headers == {
        "content-type": "text/plain",
        "content-length": str(len(b"".join(parts))),
        **{name.decode(): value.decode() for name, value in headers.items()},
        **({} if keep_alive else {"connection": "close"}),
    }


@pytest.mark.parametrize("status", [200, 400, 401, 404, 405, 408, 413, 415, 429, 431, 500, 501, 503, 504])
def test_the_status_line_has_the_phrase(status: int) -> None:
    line = render(HttpResponse(status), keep_alive=True).split(b"\r\n")[0]
    assert line == f"HTTP/1.1 {status} {HTTPStatus(status).phrase}".encode()


def test_a_new_exchange_waits_for_its_body() -> None:
    exchange = Exchange(HttpRequest("POST", b"/v2", {}), keep_alive=True, expects_continue=False)
    assert exchange.more_body
    assert not any([exchange.disconnected, exchange.response_started, exchange.response_complete])
    exchange.message_event.set()
