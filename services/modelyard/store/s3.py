"""The store on S3 and what speaks as it does (MinIO, Ceph, ...), through boto3. No other file imports boto3.

Credentials, region and endpoint come from boto3's own chain: AWS_ACCESS_KEY_ID and the like, ~/.aws, the instance's or
pod's role; AWS_ENDPOINT_URL_S3 for another store than Amazon's. Of what a store answers only its error's code is ever
shown: a text of its own may quote a key.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    ReadTimeoutError,
)
from botocore.exceptions import ConnectionError as NoConnection

from modelyard.store.address import Address
from modelyard.store.port import MOST_SMALL, Changed, Found, Head, Key, Missing, StoreError, Told

ATTEMPTS = 3
CONNECT_SECONDS = 5.0
PAUSE_SECONDS = 0.5
PART_BYTES = 16 * 2**20
"""Larger files go up in parts of this size."""
PART_THREADS = 4
_NOT_FOUND = {"NoSuchKey", "404", "NotFound"}
_CHANGED = {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}
_DENIED = {"AccessDenied", "403", "Forbidden", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"}
_DENIED |= {"InvalidToken", "TokenRefreshRequired", "RequestTimeTooSkewed", "AuthorizationHeaderMalformed", "401"}


class S3Store:
    def __init__(self, address: Address, timeout_seconds: float) -> None:
        """Nothing is asked of the store yet. Raises StoreError when boto3's configuration is wrong."""
        self._address = address
        self.name = str(address)
        with self._asked("", "be reached"):
            self._client = _client(timeout_seconds)

    def get(self, path: str, unless: str = "") -> Found | None:
        try:
            with self._asked(path, "be read"):
                given = {"IfNoneMatch": unless} if unless else {}
                answer = self._client.get_object(**self._object(path), **given)
                content = answer["Body"].read(MOST_SMALL + 1)
        except _Unchanged:
            return None
        if len(content) > MOST_SMALL:
            raise StoreError(f"{self.name}/{path} has more than {MOST_SMALL} bytes", "refused")
        return Found(content, answer["ETag"])

    def open(self, path: str) -> "_Stream":
        return _Stream(self, path)

    def put(self, path: str, content: bytes, instead_of: str | None) -> None:
        condition = {"IfNoneMatch": "*"} if instead_of is None else {"IfMatch": instead_of}
        with self._asked(path, "be written"):
            self._client.put_object(**self._object(path), Body=content, **condition)

    def upload(self, path: str, source: Path, sha256: str, told: Told) -> None:
        config = TransferConfig(PART_BYTES, PART_THREADS, multipart_chunksize=PART_BYTES)
        extra = {"Metadata": {"sha256": sha256}}
        with source.open("rb") as file, self._asked(path, "be written"):
            self._client.upload_fileobj(file, **self._object(path), ExtraArgs=extra, Config=config, Callback=told)

    def head(self, path: str) -> Head | None:
        try:
            with self._asked(path, "be read"):
                answer = self._client.head_object(**self._object(path))
        except Missing:
            return None
        return Head(answer["ContentLength"], answer["Metadata"].get("sha256", ""))

    def keys(self, below: str) -> Iterator[Key]:
        for page in self._pages(below):
            for entry in page.get("Contents", ()):
                yield Key(self._path(entry["Key"]), entry["ETag"])

    def folders(self) -> Iterator[str]:
        for page in self._pages("", Delimiter="/"):
            for entry in page.get("CommonPrefixes", ()):
                yield self._path(entry["Prefix"]).rstrip("/")

    def body(self, path: str, at: int, tag: str) -> dict[str, Any]:
        """An answer whose Body begins at the byte `at` of the object with this tag; an empty one: of any."""
        part = {"Range": f"bytes={at}-", "IfMatch": tag} if tag else {}
        with self._asked(path, "be read"):
            answer: dict[str, Any] = self._client.get_object(**self._object(path), **part)
        return answer

    def _pages(self, below: str, **options: str) -> Iterator[dict[str, Any]]:
        pages = iter(
            self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._address.bucket, Prefix=self._address.key(below), **options
            )
        )
        while True:
            with self._asked("", "be listed"):
                page = next(pages, None)
            if page is None:
                return
            yield page

    def _object(self, path: str) -> dict[str, str]:
        return {"Bucket": self._address.bucket, "Key": self._address.key(path)}

    def _path(self, key: str) -> str:
        return key[len(self._address.key("")) :]

    @contextmanager
    def _asked(self, path: str, what: str) -> Iterator[None]:
        """Says in one line what went wrong. `what`: what could not be done."""
        place = f"{self.name}/{path}" if path else self.name
        try:
            yield
        except ClientError as error:
            raise self._refused(error, place, what) from None
        except (NoCredentialsError, PartialCredentialsError):
            raise StoreError(
                f"{place} cannot {what}: no credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
                "AWS_PROFILE, or give the machine or the pod a role",
                "denied",
            ) from None
        except (ConnectTimeoutError, ReadTimeoutError):
            raise StoreError(f"{place} cannot {what}: no answer in time from {self._endpoint}", "timeout") from None
        except (NoConnection, HTTPClientError) as error:
            text = f"{place} cannot {what}: there is no connection to {self._endpoint} ({type(error).__name__})"
            raise StoreError(text, "connection") from None
        except (BotoCoreError, Boto3Error, ValueError) as error:
            raise StoreError(f"{place} cannot {what}: {type(error).__name__}", "response") from None

    def _refused(self, error: ClientError, place: str, what: str) -> Exception:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in {"304", "NotModified"}:
            return _Unchanged()
        if code == "NoSuchBucket":
            return StoreError(f"{place} cannot {what}: {self._endpoint} has no such bucket", "missing")
        if code in _NOT_FOUND:
            return Missing(f"there is no {place}")
        if code in _CHANGED:
            return Changed(f"{place} was changed by somebody else")
        if code in _DENIED:
            return StoreError(f"{place} cannot {what}: the store refuses these credentials ({code})", "denied")
        if code in {"NotImplemented", "501"}:
            return StoreError(f"{place} cannot {what}: this store has no conditional writes", "response")
        return StoreError(
            f"{place} cannot {what}: the store answers {code[:60] or 'an error without a code'}", "response"
        )

    @property
    def _endpoint(self) -> str:
        """Without what may stand before an @."""
        client = getattr(self, "_client", None)
        return f"{urlsplit(client.meta.endpoint_url).netloc.rpartition('@')[2]}" if client else "the store"


class _Unchanged(Exception):
    """The object's tag is the one that the caller has seen."""


class _Stream:
    """One object, read on from where a connection broke."""

    def __init__(self, store: S3Store, path: str) -> None:
        self._store, self._path = store, path
        answer = store.body(path, 0, "")
        self._tag, self._body = answer["ETag"], answer["Body"]
        self.size = int(answer["ContentLength"])
        self._at = 0

    def read(self, size: int, /) -> bytes:
        for attempt in range(ATTEMPTS):
            try:
                chunk: bytes = self._body.read(size)
            except BotoCoreError:
                if attempt + 1 == ATTEMPTS:
                    break
                time.sleep(PAUSE_SECONDS * 2**attempt)
                self._body = self._store.body(self._path, self._at, self._tag)["Body"]
                continue
            self._at += len(chunk)
            return chunk
        raise StoreError(f"{self._store.name}/{self._path}: the connection broke {ATTEMPTS} times", "connection")


def _client(timeout_seconds: float) -> Any:
    """Every file has a sha256 in its manifest; checksums beyond S3's first ones are unknown to some stores."""
    options = Config(
        connect_timeout=min(CONNECT_SECONDS, timeout_seconds),
        read_timeout=timeout_seconds,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        max_pool_connections=2 * PART_THREADS,
    )
    client = boto3.client("s3", config=options)
    host = urlsplit(client.meta.endpoint_url).hostname or ""
    if host.endswith((".amazonaws.com", ".amazonaws.com.cn")):
        return client
    # elsewhere a bucket is seldom a name in the DNS
    return boto3.client("s3", config=options.merge(Config(s3={"addressing_style": "path"})))
