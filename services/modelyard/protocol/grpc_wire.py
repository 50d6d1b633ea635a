"""gRPC over HTTP/2, as bytes: messages in a stream's data, timeouts and texts in its headers. Pure functions.

Source: PROTOCOL-HTTP2.md of gRPC. A message is one byte (1: compressed), four bytes of its length, and the message.
"""

import struct
from collections.abc import Iterator
from urllib.parse import quote

from modelyard.errors import InvalidInput, PayloadTooLarge

PREFIX = struct.Struct(">BI")
_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_PLAIN = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")
_LONGEST = 126
MAX_TEXT_BYTES = 2048
"""Of the text of an error: it travels in a header."""


class Messages:
    """Cuts the data of one stream into messages."""

    def __init__(self, limit: int) -> None:
        """`limit`: the largest message, in bytes."""
        self._limit = limit
        self._chunks: list[bytes] = []
        self._size = 0
        self._wanted = PREFIX.size

    @property
    def empty(self) -> bool:
        """No message has begun that has not ended."""
        return not self._size

    def feed(self, data: bytes) -> Iterator[tuple[bool, bytes]]:
        """The messages that `data` completes, each with whether it is compressed.

        Raises PayloadTooLarge as soon as a message says how large it is to be, and InvalidInput.
        """
        self._chunks.append(data)
        self._size += len(data)
        while self._size >= self._wanted:
            whole = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
            flag, length = PREFIX.unpack_from(whole)
            if flag > 1:
                raise InvalidInput("a message begins with neither 0 nor 1")
            if length > self._limit:
                raise PayloadTooLarge(f"the message is above {self._limit} bytes")
            end = PREFIX.size + length
            if len(whole) < end:
                self._chunks, self._wanted = [whole], end
                return
            rest = whole[end:]
            self._chunks, self._size, self._wanted = [rest] if rest else [], len(rest), PREFIX.size
            yield flag == 1, whole[PREFIX.size : end]


def framed(message: bytes) -> bytes:
    return PREFIX.pack(0, len(message)) + message


def parse_timeout(text: str) -> float:
    """The seconds of a grpc-timeout header: at most eight digits and a unit. Raises InvalidInput."""
    digits, unit = text[:-1], text[-1:]
    if unit not in _UNITS or not (digits.isascii() and digits.isdigit()) or len(digits) > 8:
        raise InvalidInput(f"grpc-timeout '{text[:20]}' is no timeout")
    return int(digits) * _UNITS[unit]


def whole_answer(stream_id: int, status: list[tuple[bytes, bytes]]) -> bytes:
    """The HEADERS frame that answers a stream and ends it, without touching the connection's compression of headers.

    Source: RFC 9113, 6.2; RFC 7541, 6.2.2 (a literal that is not indexed) and appendix A (8 is `:status: 200`).
    """
    fields = [(b"content-type", b"application/grpc"), *status]
    block = b"\x88" + b"".join(b"\x00" + _string(name) + _string(value) for name, value in fields)
    end_stream_and_headers = 0x05
    return struct.pack(">I", len(block))[1:] + struct.pack(">BBI", 1, end_stream_and_headers, stream_id) + block


def _string(value: bytes) -> bytes:
    if len(value) > _LONGEST:
        raise ValueError("longer than one byte says")
    return bytes([len(value)]) + value


def encode_text(text: str) -> bytes:
    """The text of an error as the header grpc-message: percent-encoded UTF-8, of a length that a header may have."""
    short = text.encode(errors="replace")[:MAX_TEXT_BYTES].decode(errors="ignore")
    return quote(short.strip(), safe=_PLAIN).encode("ascii")  # no header begins or ends with a blank
