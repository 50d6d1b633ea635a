"""A store in memory that fails when it is told to, and models to put into it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

from modelyard.store.port import Changed, Found, Head, Key, Missing, StoreError, Told
from modelyard.store.remote import Remote

NAME = "s3://bucket/prefix"


class MemoryStore:
    """`before` is called with each operation and path, and may raise, or do something in between."""

    name = NAME

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.words: dict[str, str] = {}
        self.asked: list[tuple[str, str]] = []
        self.before: Callable[[str, str], None] = quiet

    def _ask(self, what: str, path: str) -> None:
        self.asked.append((what, path))
        self.before(what, path)

    def get(self, path: str, unless: str = "") -> Found | None:
        self._ask("get", path)
        content = self._content(path)
        return None if tag_of(content) == unless else Found(content, tag_of(content))

    def open(self, path: str) -> Stream:
        self._ask("open", path)
        return Stream(self, path, self._content(path))

    def put(self, path: str, content: bytes, instead_of: str | None) -> None:
        self._ask("put", path)
        there = self.objects.get(path)
        if (there is None) != (instead_of is None) or (there is not None and tag_of(there) != instead_of):
            raise Changed(f"{path} was changed")
        self.objects[path] = content

    def upload(self, path: str, source: Path, sha256: str, told: Told) -> None:
        self._ask("upload", path)
        self.objects[path], self.words[path] = source.read_bytes(), sha256
        told(len(self.objects[path]))

    def head(self, path: str) -> Head | None:
        self._ask("head", path)
        return Head(len(self.objects[path]), self.words.get(path, "")) if path in self.objects else None

    def keys(self, below: str) -> Iterator[Key]:
        self._ask("keys", below)
        yield from (Key(path, tag_of(content)) for path, content in self.objects.items() if path.startswith(below))

    def folders(self) -> Iterator[str]:
        self._ask("folders", "")
        yield from dict.fromkeys(path.partition("/")[0] for path in self.objects)

    def spoil(self, *parts: str) -> str:
        """Another byte in the one object whose path has these parts; its path."""
        (path,) = (path for path in self.objects if all(part in path for part in parts))
        self.objects[path] = self.objects[path][:-1] + bytes([self.objects[path][-1] ^ 1])
        return path

    def _content(self, path: str) -> bytes:
        if path not in self.objects:
            raise Missing(f"there is no {path}")
        return self.objects[path]


class Stream:
    def __init__(self, store: MemoryStore, path: str, content: bytes) -> None:
        self._store, self._path, self._content = store, path, content
        self.size, self._at = len(content), 0

    def read(self, size: int, /) -> bytes:
        self._store._ask("read", self._path)
        self._at += size
        return self._content[self._at - size : self._at]


def tag_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def quiet(what: str, path: str) -> None:
    """All is well."""


def away(what: str, path: str) -> None:
    raise StoreError(f"{path} cannot be read: there is no connection", "connection")


def fails_at(number: int) -> Callable[[str, str], None]:
    """The operation of this number and all after it fail, as with a process that is killed."""
    left = [number]

    def count(what: str, path: str) -> None:
        left[0] -= 1
        if left[0] < 0:
            away(what, path)

    return count


def new_remote() -> tuple[MemoryStore, Remote]:
    store = MemoryStore()
    return store, Remote(store)
