"""One version from the store: streamed into a hidden draft, each file held to its sha256 and size, then one rename."""

import io
from collections.abc import Iterator
from pathlib import Path

from modelyard.errors import ConfigurationError
from modelyard.importing.bounded import Limits
from modelyard.manifest import MANIFEST
from modelyard.receiving import File, Readable, Received, receive
from modelyard.spec import MODEL_YAML
from modelyard.store.port import StoreError, Stream, Told
from modelyard.store.remote import README, Remote, Sent

NOBODY: Told = lambda _: None  # noqa: E731 (a default for what is told)


def pull(
    remote: Remote, sent: Sent, repository: Path, limits: Limits, *, readme: bool = False, told: Told = NOBODY
) -> Received:
    """Bring the version of this manifest into a repository. `told` is told the bytes of its files as they come.

    Raises ConfigurationError, StoreError among them; the repository is as it was then.
    """
    name, version = sent.manifest.model, sent.manifest.version
    source = f"{remote.name}/{name} version {version}"
    failed: list[StoreError] = []
    files = _watched(_files(remote, sent, readme, told), failed)
    try:
        return receive(repository, name, version, files, source=source, limits=limits)
    except ConfigurationError:
        if failed:
            raise failed[0] from None  # it says whether to try again
        raise


def fetch(remote: Remote, name: str, version: str) -> Sent:
    """The manifest of a version that has to be there."""
    if sent := remote.sent(name, version):
        return sent
    raise ConfigurationError(f"'{name}' has no version '{version}' in {remote.name}")


def _files(remote: Remote, sent: Sent, readme: bool, told: Told) -> Iterator[File]:
    """In the order of receiving.order."""
    manifest = sent.manifest
    folder = f"versions/{manifest.version}"
    yield f"{folder}/{MANIFEST}", len(sent.content), io.BytesIO(sent.content)
    spec = remote.spec(manifest.model)
    if spec:
        yield MODEL_YAML, len(spec[1].content), io.BytesIO(spec[1].content)
    if text := remote.readme(manifest.model) if readme else None:
        yield README, text.size, text
    for name, stream in remote.files(manifest):
        yield f"{folder}/{name}", stream.size, _Counted(stream, told)


def _watched(files: Iterator[File], failed: list[StoreError]) -> Iterator[File]:
    """`files`, and what the store's part in a failure was, also while one of them is read."""
    try:
        for path, size, content in files:
            yield path, size, _Watched(content, failed)
    except StoreError as error:
        failed.append(error)
        raise


class _Watched:
    def __init__(self, content: Readable, failed: list[StoreError]) -> None:
        self._content, self._failed = content, failed

    def read(self, size: int, /) -> bytes:
        try:
            return self._content.read(size)
        except StoreError as error:
            self._failed.append(error)
            raise


class _Counted:
    def __init__(self, stream: Stream, told: Told) -> None:
        self._stream, self._told = stream, told

    def read(self, size: int, /) -> bytes:
        chunk = self._stream.read(size)
        self._told(len(chunk))
        return chunk
