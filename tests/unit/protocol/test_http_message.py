"""Compressed bodies: inflated within the limit or refused; answers compressed only for who takes it."""

from __future__ import annotations

import contextlib
import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.errors import InvalidInput, PayloadTooLarge, UnsupportedMediaType
from modelyard.protocol.http_message import HttpRequest, deflate, inflate


def raw_deflate(body: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(body) + compressor.flush()


@given(st.binary(max_size=3000))
def test_every_body_comes_back(body: bytes) -> None:
    assert inflate(gzip.compress(body), "gzip", 3000) == body
    assert inflate(zlib.compress(body), "deflate", 3000) == body
    assert inflate(raw_deflate(body), "deflate", 3000) == body
    assert inflate(body, "identity", 3000) == body


@given(st.integers(0, 4000), st.integers(0, 4000))
def test_the_limit_is_the_inflated_size(size: int, limit: int) -> None:
    body = gzip.compress(bytes(size))
    if size <= limit:
        assert len(inflate(body, "gzip", limit)) == size
    else:
        with pytest.raises(PayloadTooLarge):
            inflate(body, "gzip", limit)


def test_a_bomb_costs_no_more_than_the_limit() -> None:
    bomb = gzip.compress(bytes(64 * 2**20), 9)
    limit = 2**20
    tracemalloc.start()
    try:
        with pytest.raises(PayloadTooLarge):
            inflate(bomb, "gzip", limit)
        assert tracemalloc.get_traced_memory()[1] < 4 * limit
    finally:
        tracemalloc.stop()


@given(st.binary(max_size=100), st.sampled_from(["gzip", "deflate", "br", "x-gzip", "gzip, gzip"]))
def test_any_bytes_are_inflated_or_refused(body: bytes, encoding: str) -> None:
    with contextlib.suppress(InvalidInput, PayloadTooLarge, UnsupportedMediaType):
        assert len(inflate(body, encoding, 50)) <= 50


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_truncated_extended_and_false_bodies_are_refused(encoding: str) -> None:
    whole = gzip.compress(b"body") if encoding == "gzip" else zlib.compress(b"body")
    for wrong in (*(whole[:length] for length in range(len(whole))), whole + b"\0"):
        with pytest.raises(InvalidInput):
            inflate(wrong, encoding, 100)


def test_an_unknown_encoding_is_said_to_be_unsupported() -> None:
    with pytest.raises(UnsupportedMediaType, match="br"):
        inflate(b"", "br", 100)


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("", None),
        ("gzip", b"gzip"),
        ("GZIP", b"gzip"),
        ("deflate", b"deflate"),
        ("br, gzip;q=0.5, deflate", b"gzip"),
        ("*", b"gzip"),
        ("br", None),
        ("identity", None),
        ("gzip;q=0", None),
        ("gzip; q=0.0, deflate", b"deflate"),
        ("gzip;q=0, *", b"deflate"),
    ],
)
def test_an_answer_is_compressed_as_the_caller_takes_it(accepted: str, encoding: bytes | None) -> None:
    parts = [b"one " * 100, b"two " * 100]
    sent, chosen = deflate(parts, accepted)
    assert chosen == encoding
    body = b"".join(sent)
    assert (inflate(body, encoding.decode(), 10_000) if encoding else body) == b"".join(parts)


def test_a_small_answer_is_sent_as_it_is() -> None:
    assert deflate([b"x" * 199], "gzip") == ([b"x" * 199], None)


def test_headers_are_text_and_absent_ones_empty() -> None:
    request = HttpRequest("GET", b"/", {b"a": b"\xff"})
    assert (request.header(b"a"), request.header(b"b")) == ("\xff", "")
