"""gRPC over HTTP/2, as bytes."""

from __future__ import annotations

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.errors import InvalidInput, PayloadTooLarge
from modelyard.protocol.grpc_wire import MAX_TEXT_BYTES, PREFIX, Messages, encode_text, framed, parse_timeout

LIMIT = 1000


@given(st.lists(st.binary(max_size=60), max_size=8), st.lists(st.integers(1, 40), min_size=1, max_size=8))
def test_messages_come_out_as_they_went_in_however_they_are_cut(sent: list[bytes], cuts: list[int]) -> None:
    data = b"".join(framed(message) for message in sent)
    messages = Messages(LIMIT)
    found: list[tuple[bool, bytes]] = []
    number = 0
    while data:
        size = cuts[number % len(cuts)]
        found += messages.feed(data[:size])
        data = data[size:]
        number += 1
    assert found == [(False, message) for message in sent]
    assert messages.empty


def test_a_message_that_has_begun_has_to_end() -> None:
    messages = Messages(LIMIT)
    assert list(messages.feed(framed(b"whole") + framed(b"half")[:-1])) == [(False, b"whole")]
    assert not messages.empty
    assert list(messages.feed(b"f")) == [(False, b"half")]


def test_a_compressed_message_says_so() -> None:
    assert list(Messages(LIMIT).feed(PREFIX.pack(1, 3) + b"abc")) == [(True, b"abc")]


def test_a_message_above_the_limit_is_refused_at_its_prefix() -> None:
    assert list(Messages(LIMIT).feed(framed(bytes(LIMIT)))) == [(False, bytes(LIMIT))]
    with pytest.raises(PayloadTooLarge, match="1000 bytes"):
        list(Messages(LIMIT).feed(PREFIX.pack(0, LIMIT + 1)))


@pytest.mark.parametrize("flag", [2, 255])
def test_an_unknown_flag(flag: int) -> None:
    with pytest.raises(InvalidInput):
        list(Messages(LIMIT).feed(bytes([flag, 0, 0, 0, 0])))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2H", 7200), ("3M", 180), ("20S", 20), ("1500m", 1.5), ("7u", 7e-6), ("99999999n", 0.099999999), ("0S", 0)],
)
def test_timeouts(text: str, seconds: float) -> None:
    assert parse_timeout(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "S", "5", "5s", "-5S", "5.0S", "123456789S", " 5S", "٣S", "5 S"])
def test_what_is_no_timeout(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_timeout(text)


@given(st.text(max_size=200))
def test_a_text_survives_a_header(text: str) -> None:
    encoded = encode_text(text)
    assert all(0x20 <= byte <= 0x7E for byte in encoded)
    assert unquote(encoded.decode("ascii")) == text.strip()
    assert encoded == encoded.strip()


def test_a_long_text_is_cut_between_its_characters() -> None:
    told = unquote(encode_text("ä" * MAX_TEXT_BYTES).decode("ascii"))
    assert told == "ä" * (MAX_TEXT_BYTES // 2)
