"""Where the payload log goes: a file of one event a line, or an HTTP receiver of CloudEvents.

`sink_of` reads the setting: off, file:/path, http://..., https://...
"""

import fcntl
import http.client
import os
from pathlib import Path
from urllib.parse import urlsplit

import orjson

from modelyard.errors import ConfigurationError
from modelyard.observing.events import Event
from modelyard.observing.payload_log import Sink

HTTP_SECONDS = 2.0
KEPT_FILES = 3
"""Older ones beside the file that is written to: payloads.jsonl.1 is the newest of them."""


def sink_of(setting: str, most_bytes: int) -> Sink | None:
    """None for off. Raises ConfigurationError for a folder that cannot be written to."""
    if setting == "off":
        return None
    if setting.startswith("file:"):
        return FileSink(Path(setting.removeprefix("file:")), most_bytes)
    return HttpSink(setting)


class FileSink:
    """Several workers may write to one file: each batch under a lock, so that none is lost when the file is turned."""

    def __init__(self, path: Path, most_bytes: int) -> None:
        self._path, self._most = path, most_bytes
        try:
            self._lock = os.open(path.with_name(path.name + ".lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            self._append(b"")
        except OSError as error:
            raise ConfigurationError(f"MODELYARD_PAYLOAD_LOG: {path} cannot be written: {error.strerror}") from None

    def write(self, events: list[Event]) -> None:
        lines = b"".join(orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE) for event in events)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            if self._append(lines) >= self._most:
                self._turn()
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def close(self) -> None:
        os.close(self._lock)

    def _append(self, lines: bytes) -> int:
        """Bytes of the file then. Payloads are nobody else's: only its owner may read it."""
        descriptor = os.open(self._path, os.O_CREAT | os.O_APPEND | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            os.fchmod(descriptor, 0o600)
            size = os.fstat(descriptor).st_size
            if lines and size and os.pread(descriptor, 1, size - 1) != b"\n":
                lines = b"\n" + lines  # a server was killed in the middle of a line: that one is lost, not ours
            try:
                _write_all(descriptor, lines)
            except OSError:
                os.ftruncate(descriptor, size)  # nobody wrote behind us: the lock is ours
                raise
            return size + len(lines)
        finally:
            os.close(descriptor)

    def _turn(self) -> None:
        names = [self._path, *(self._path.with_name(f"{self._path.name}.{i}") for i in range(1, KEPT_FILES + 1))]
        for older, newer in zip(reversed(names), list(reversed(names))[1:], strict=False):
            if newer.exists():
                newer.replace(older)


class HttpSink:
    """One POST an event, in CloudEvents' binary mode, as KServe's logger sends them."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.hostname or "", parts.port, timeout=HTTP_SECONDS)
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")

    def write(self, events: list[Event]) -> None:
        try:
            for event in events:
                self._post(event)
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise OSError(str(error)) from None

    def close(self) -> None:
        self._connection.close()

    def _post(self, event: Event) -> None:
        attributes = {key: value for key, value in event.items() if key not in ("data", "datacontenttype")}
        headers = {f"ce-{key}": _header(str(value)) for key, value in attributes.items()}
        body = orjson.dumps(event["data"])
        self._connection.request("POST", self._path, body, {**headers, "content-type": "application/json"})
        response = self._connection.getresponse()
        response.read()
        if not 200 <= response.status < 300:
            raise OSError(f"the sink answers {response.status}")


def _write_all(descriptor: int, content: bytes) -> None:
    """A disk that fills up takes a part, and refuses the rest."""
    while content:
        content = content[os.write(descriptor, content) :]


def _header(value: str) -> str:
    """Percent-encoded as CloudEvents' HTTP binding says: what is no printable ASCII, and quote and percent."""
    return "".join(
        c if "!" <= c <= "~" and c not in '"%' else "".join(f"%{byte:02X}" for byte in c.encode()) for c in value
    )
