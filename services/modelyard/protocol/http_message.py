"""A request and a response over HTTP, as `rest.py` sees them, whatever server carries them."""

import gzip
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from modelyard.errors import InvalidInput, PayloadTooLarge, UnsupportedMediaType

MIN_COMPRESSED = 200
"""A smaller answer is sent as it is: compressing it costs more than it saves."""
_WBITS = {"gzip": 31, "deflate": 15}


@dataclass(slots=True)
class HttpRequest:
    method: str
    path: bytes
    """As it came: still percent-encoded, without the query."""
    headers: Mapping[bytes, bytes]
    """Names in lower case."""
    body: bytes = b""
    tenant: str = ""
    """Who asks, once that is known."""
    peer: tuple[str, int] | None = None
    """The other end of the connection."""

    def header(self, name: bytes) -> str:
        return self.headers.get(name, b"").decode("latin-1")


@dataclass(slots=True)
class HttpResponse:
    status: int
    parts: Sequence[bytes] = ()
    content_type: bytes = b"application/json"
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)


def inflate(body: bytes, encoding: str, limit: int) -> bytes:
    """The body behind Content-Encoding; never holds more than `limit` bytes of it.

    Raises UnsupportedMediaType, InvalidInput for data that is not what it says, PayloadTooLarge.
    """
    if encoding in ("", "identity"):
        return body
    wbits = _WBITS.get(encoding)
    if wbits is None:
        raise UnsupportedMediaType(f"Content-Encoding '{encoding[:40]}' is not supported; use gzip or deflate")
    if encoding == "deflate" and (not body or body[0] & 0x0F != 8):
        wbits = -15  # deflate without the zlib header, which some clients send
    inflater = zlib.decompressobj(wbits)
    try:
        result = inflater.decompress(body, limit + 1)
    except zlib.error as error:
        raise InvalidInput(f"the body is no {encoding}: {error}") from None
    if len(result) > limit:
        raise PayloadTooLarge(f"the inflated body is above {limit} bytes")
    if not inflater.eof:
        raise InvalidInput(f"the {encoding} body ends too early")
    if inflater.unused_data:
        raise InvalidInput(f"bytes follow the {encoding} body")
    return result


def deflate(parts: Sequence[bytes], accepted: str) -> tuple[Sequence[bytes], bytes | None]:
    """Compress when the caller accepts it and it pays; returns the Content-Encoding, None for none."""
    if not accepted or sum(map(len, parts)) < MIN_COMPRESSED:
        return parts, None
    weights = {
        name.strip().lower(): weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
        for name, _, weight in (item.partition(";") for item in accepted.split(","))
    }
    others = weights.get("*", False)  # for the codings that are not named (RFC 9110, 12.5.3)
    body = b"".join(parts)
    if weights.get("gzip", others):
        return [gzip.compress(body, 1, mtime=0)], b"gzip"
    if weights.get("deflate", others):
        return [zlib.compress(body, 1)], b"deflate"
    return parts, None


def json_length(request: HttpRequest) -> int | None:
    """Inference-Header-Content-Length. Raises InvalidInput for anything but a plain number below 2^31."""
    text = request.headers.get(b"inference-header-content-length")
    if text is None:
        return None
    if not text.isdigit() or len(text) > 10 or int(text) >= 2**31:
        raise InvalidInput("Inference-Header-Content-Length is no number between 0 and 2^31", "size")
    return int(text)
