"""The parts of the S3 store that a good server does not show: connections that break, and what is said of an error."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    IncompleteReadError,
    NoCredentialsError,
    ReadTimeoutError,
    SSLError,
)

from modelyard.store import s3
from modelyard.store.address import Address
from modelyard.store.port import Changed, Missing, StoreError
from modelyard.store.s3 import S3Store

CONTENT = bytes(range(256)) * 40
SECRET = "hunter2"


class Broken(io.BytesIO):
    """Breaks after some bytes."""

    def __init__(self, content: bytes, after: int) -> None:
        super().__init__(content[:after])

    def read(self, size: int | None = -1, /) -> bytes:
        if chunk := super().read(size):
            return chunk
        raise IncompleteReadError(actual_bytes=0, expected_bytes=1)


class Client:
    """Of boto3: gives the parts of one object, or raises what the test says."""

    def __init__(self, *breaks: int) -> None:
        self.breaks, self.asked = list(breaks), []  # type: list[int], list[dict[str, Any]]
        self.error: Exception | None = None
        self.meta = type("Meta", (), {"endpoint_url": f"https://user:{SECRET}@store.example:9000/path"})

    def get_object(self, **given: Any) -> dict[str, Any]:
        self.asked.append(given)
        if self.error:
            raise self.error
        part = CONTENT[int(given.get("Range", "bytes=0-")[6:-1]) :]
        body = Broken(part, self.breaks.pop(0)) if self.breaks else io.BytesIO(part)
        return {"Body": body, "ETag": '"tag"', "ContentLength": len(part)}


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "PAUSE_SECONDS", 0.0)


def store_of(client: Client, monkeypatch: pytest.MonkeyPatch) -> S3Store:
    monkeypatch.setattr(s3, "_client", lambda _: client)
    return S3Store(Address("bucket", "prefix"), 1.0)


def read_all(store: S3Store) -> bytes:
    stream = store.open("m/file")
    assert stream.size == len(CONTENT)
    return b"".join(iter(lambda: stream.read(1000), b""))


def test_a_broken_connection_is_taken_up_where_it_broke(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(2500, 100)
    assert read_all(store_of(client, monkeypatch)) == CONTENT
    assert [call.get("Range") for call in client.asked] == [None, "bytes=2500-", "bytes=2600-"]
    assert all(call["IfMatch"] == '"tag"' for call in client.asked[1:]), "of the same object"


def test_one_that_breaks_again_and_again_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StoreError, match="s3://bucket/prefix/m/file: the connection broke 3 times") as given_up:
        read_all(store_of(Client(1000, 0, 0, 0), monkeypatch))
    assert given_up.value.reason == "connection"


def refused(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": f"your key is {SECRET}"}}, "GetObject")


@pytest.mark.parametrize(
    ("error", "kind", "reason", "text"),
    [
        (refused("NoSuchKey"), Missing, "missing", "there is no s3://bucket/prefix/m/file"),
        (refused("NoSuchBucket"), StoreError, "missing", "store.example:9000 has no such bucket"),
        (refused("PreconditionFailed"), Changed, "response", "changed by somebody else"),
        (refused("SignatureDoesNotMatch"), StoreError, "denied", r"refuses these credentials \(Signature"),
        (refused("SlowDown"), StoreError, "response", "the store answers SlowDown"),
        (refused("NotImplemented"), StoreError, "response", "no conditional writes"),
        (NoCredentialsError(), StoreError, "denied", "no credentials were found"),
        (ReadTimeoutError(endpoint_url="u"), StoreError, "timeout", "no answer in time from store.example:9000"),
        (EndpointConnectionError(endpoint_url="u"), StoreError, "connection", "no connection to store.example:9000"),
        (SSLError(endpoint_url="u", error=SECRET), StoreError, "connection", "SSLError"),
    ],
)
def test_every_error_has_a_reason_and_quotes_no_secret(
    monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[StoreError], reason: str, text: str
) -> None:
    client = Client()
    client.error = error
    with pytest.raises(kind, match=text) as said:
        store_of(client, monkeypatch).get("m/file")
    assert said.value.reason == reason
    assert SECRET not in str(said.value)
    assert "\n" not in str(said.value)


def test_an_object_that_has_not_changed_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client()
    client.error = refused("304")
    assert store_of(client, monkeypatch).get("m/file", unless='"tag"') is None
    assert client.asked[0]["IfNoneMatch"] == '"tag"'


def test_what_should_be_small_is_not_read_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "MOST_SMALL", 100)
    with pytest.raises(StoreError, match="more than 100 bytes"):
        store_of(Client(), monkeypatch).get("m/file")


@pytest.mark.parametrize(
    ("endpoint", "style"), [("", None), ("http://minio:9000", "path"), ("https://s3.eu-west-1.amazonaws.com", None)]
)
def test_a_bucket_is_a_path_where_it_is_no_name(
    monkeypatch: pytest.MonkeyPatch, endpoint: str, style: str | None, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint) if endpoint else monkeypatch.delenv(
        "AWS_ENDPOINT_URL_S3", False
    )
    options = s3._client(7.0).meta.config
    assert (options.s3 or {}).get("addressing_style") == style
    assert options.read_timeout == 7.0
    assert options.connect_timeout == 5.0
