"""Wrong HTTP around a request: paths, names, methods, media types, encodings."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator

import pytest

from tests.integration import wire
from tests.integration.harness import Server
from tests.integration.pair_model import INFER, NAME, assert_well, document

GOOD = json.dumps(document()).encode()


@pytest.fixture(autouse=True)
def stays_well(strict: Server) -> Iterator[None]:
    """After every bad request: live, and the next good requests are answered right."""
    yield
    assert_well(strict)


PATHS = [
    "/v2/models/nobody",
    "/v2/models/nobody/ready",
    "/v2/models/nobody/config",
    "/v2/models/nobody/stats",
    f"/v2/models/{NAME}/versions/9",
    f"/v2/models/{NAME}/versions/9/ready",
    f"/v2/models/{NAME}/versions/",
    f"/v2/models/{NAME}/versions/../1",
    f"/v2/models/{NAME}/versions/%2e%2e",
    f"/v2/models/{NAME}/versions/..%2f1",
    f"/v2/models/{NAME}/nothing",
    "/v2/nothing",
    "/v2/models/",
    f"/v2/models/..%2f{NAME}",
    f"/v2/models/../models/{NAME}/x",
    f"/v2/models/%2e%2e/{NAME}",
    f"/v2/models/%2e%2e%2f{NAME}",
    f"/v2/models/%252e%252e%252f{NAME}",
    f"/v2/models/..%5c{NAME}",
    f"/v2/models/..\\{NAME}",
    f"/v2/models/{NAME}%00",
    f"/v2/models/{NAME}%00.onnx/ready",
    f"/v2/models/{NAME}%2fversions%2f1%2fmodel.onnx",
    "/v2/models/%2fetc%2fpasswd",
    f"/v2/models/{NAME}%0d%0aX-Injected:%201",
    "/v2/models/%ff%fe",
    f"/v2/models/{NAME}%",
    f"/v2/models/{NAME}%zz",
    f"/v2/models/{'x' * 5000}",
    f"/v2/models/{NAME.upper()}",
    f"/v2/models/%20{NAME}",
]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path[:60])
def test_paths_that_lead_nowhere(strict: Server, path: str) -> None:
    reply = wire.get(strict, path)
    reply.refused(400, 404)
    assert "x-injected" not in reply.headers


@pytest.mark.parametrize("name", ["nobody", "..%2fpair", "%2e%2e", "%252e", "pair%00", "..%5cpair", "."])
def test_names_that_lead_nowhere_cannot_be_asked(strict: Server, name: str) -> None:
    text = wire.post_json(strict, f"/v2/models/{name}/infer", document()).refused(400, 404)
    if name == "nobody":
        assert "unknown model" in text
        assert "nobody" in text


def test_nul_and_other_bytes_in_the_request_line(strict: Server) -> None:
    for line in (b"GET /v2/models/pair\0 HTTP/1.1", b"GET /v2/models/\xff HTTP/1.1", b"\x16\x03\x01\x02\x00\x01"):
        reply = wire.exchange_until_closed(strict, line + b"\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert reply is None or reply.status in {400, 404}


METHODS = [
    ("GET", INFER),
    ("PUT", INFER),
    ("DELETE", INFER),
    ("PATCH", INFER),
    ("POST", "/v2/health/live"),
    ("POST", "/v2/health/ready"),
    ("POST", "/v2"),
    ("POST", f"/v2/models/{NAME}"),
    ("DELETE", f"/v2/models/{NAME}"),
    ("GET", "/v2/repository/index"),
    ("GET", f"/v2/repository/models/{NAME}/load"),
]


@pytest.mark.parametrize(("method", "path"), METHODS)
def test_wrong_method(strict: Server, method: str, path: str) -> None:
    reply = wire.call(strict, method, path, b"{}" if method != "GET" else b"")
    reply.refused(405)
    assert reply.headers["allow"]


@pytest.mark.parametrize(
    "content_type",
    [
        "application/vnd.bentoml+pickle",
        "application/x-pickle",
        "application/pickle",
        "multipart/form-data; boundary=x",
        "Multipart/Mixed; boundary=x",
    ],
)
def test_media_types_that_are_refused(strict: Server, content_type: str) -> None:
    wire.post_json(strict, INFER, document(), {"Content-Type": content_type}).refused(415)


@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "x", "gzip, br", "gzip, gzip, gzip"])
def test_unknown_content_encoding(strict: Server, encoding: str) -> None:
    wire.call(strict, "POST", INFER, gzip.compress(GOOD), {"Content-Encoding": encoding}).refused(415)


BROKEN_STREAMS = {
    "not gzip": ("gzip", GOOD),
    "cut gzip": ("gzip", gzip.compress(GOOD)[:-10]),
    "wrong checksum": ("gzip", gzip.compress(GOOD)[:-8] + b"\0" * 8),
    "empty gzip": ("gzip", b""),
    "bytes after gzip": ("gzip", gzip.compress(GOOD) + b"junk"),
    "not deflate": ("deflate", GOOD),
    "cut deflate": ("deflate", zlib.compress(GOOD)[:-10]),
}


@pytest.mark.parametrize(("encoding", "body"), BROKEN_STREAMS.values(), ids=BROKEN_STREAMS.keys())
def test_broken_compression(strict: Server, encoding: str, body: bytes) -> None:
    wire.call(strict, "POST", INFER, body, {"Content-Encoding": encoding}).refused(400)
