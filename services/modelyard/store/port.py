"""What a store of objects can do, and how it fails. Paths are relative to the store's address, with slashes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from modelyard.errors import ConfigurationError

Reason = Literal["connection", "timeout", "denied", "missing", "response", "refused"]
"""`response`: an answer that is none of the others; `refused`: what is in the store is wrong."""
AWAY = ("connection", "timeout", "response")
"""What may be over at the next try."""
MOST_SMALL = 4 * 2**20
"""Bytes of what `get` reads: a manifest, a model.yaml, an aliases.json."""

Told = Callable[[int], object]
"""Is called with the bytes that have been sent since the last call."""


class StoreError(ConfigurationError):
    """The store did not do what it was asked; the text says what and where, never with what credentials."""

    def __init__(self, text: str, reason: Reason) -> None:
        super().__init__(text)
        self.reason: Reason = reason


class Missing(StoreError):
    """There is no such object."""

    def __init__(self, text: str) -> None:
        super().__init__(text, "missing")


class Changed(StoreError):
    """Not written: there is an object, or another one than the writer has seen."""

    def __init__(self, text: str) -> None:
        super().__init__(text, "response")


@dataclass(frozen=True, slots=True)
class Found:
    content: bytes
    tag: str
    """Changes with the content (ETag)."""


@dataclass(frozen=True, slots=True)
class Key:
    path: str
    tag: str


@dataclass(frozen=True, slots=True)
class Head:
    size: int
    sha256: str
    """As its writer said; empty: it said nothing."""


class Stream(Protocol):
    @property
    def size(self) -> int:
        """Bytes of the whole object."""

    def read(self, size: int, /) -> bytes:
        """The next bytes, at most so many; none at the end."""


class ObjectStore(Protocol):
    """Every method raises StoreError; Missing where there is no such object."""

    @property
    def name(self) -> str:
        """Its address, for texts."""

    def get(self, path: str, unless: str = "") -> Found | None:
        """A small object, whole. None: its tag is still `unless`."""

    def open(self, path: str) -> Stream:
        """A large one, to be read piece by piece."""

    def put(self, path: str, content: bytes, instead_of: str | None) -> None:
        """Write a small object in place of the one with that tag; None: if there is none. Raises Changed."""

    def upload(self, path: str, source: Path, sha256: str, told: Told) -> None:
        """Write a file, whatever is there."""

    def head(self, path: str) -> Head | None:
        """None: there is no such object."""

    def keys(self, below: str) -> Iterator[Key]:
        """Every object whose path begins with `below`."""

    def folders(self) -> Iterator[str]:
        """First parts of all paths."""
