"""The file of a packed version: a plain tar, of regular files alone, in one order.

    digits/versions/2/manifest.json      what may follow: names, sizes, sha256
    digits/model.yaml
    digits/README.md                     if there is one
    digits/versions/2/evaluation.npz     ... the files that the manifest lists

Any tar can list and open it; what this module reads is much less than a tar may hold. It is not compressed: weights
hardly get smaller, and a file that is as long as what it holds cannot be a bomb. Owner, mode and times are the same in
every file, so that a version is always packed to the same bytes, and those of a file that is read count for nothing.
"""

import tarfile
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from modelyard.errors import ConfigurationError
from modelyard.receiving import CHUNK, File, Readable

BLOCK = tarfile.BLOCKSIZE
_MOST_PADDING = 2**20
"""Zero bytes after the last file: tar pads to 10 KiB, some tools further."""
_MOST_USTAR = 8**11 - 1
_KINDS = {
    tarfile.AREGTYPE: "a file of the old kind",
    tarfile.LNKTYPE: "a hard link",
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.DIRTYPE: "a folder",
    tarfile.FIFOTYPE: "a pipe",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
    tarfile.GNUTYPE_LONGNAME: "a name in a header of GNU tar",
    tarfile.GNUTYPE_LONGLINK: "a name in a header of GNU tar",
    tarfile.XHDTYPE: "an extended (pax) header",
    tarfile.XGLTYPE: "an extended (pax) header",
    tarfile.SOLARIS_XHDTYPE: "an extended (pax) header",
}
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd", b"PK\x03\x04")
_TEXTS = {"its name": slice(0, 100), "the name of a link in it": slice(157, 257), "its folder": slice(345, 500)}
"""Fields of a header that hold text; what stands behind a zero byte in them is seen by some tools only."""


def write(target: BinaryIO, files: Iterable[File]) -> None:
    """Raises ConfigurationError for a file that is shorter or longer than it was said, or whose path is too long."""
    for path, size, content in files:
        target.write(_header(path, size))
        left = size
        while chunk := content.read(min(left + 1, CHUNK)):
            left -= len(chunk)
            target.write(chunk)
            if left < 0:
                break
        if left:
            raise ConfigurationError(f"{path} has changed while it was packed")
        target.write(bytes(-size % BLOCK))
    target.write(bytes(2 * BLOCK))


def read(content: Readable, source: str) -> Iterator[File]:
    """Each file has to be read to its end before the next. `source` begins what is said of a fault.

    Raises ConfigurationError for whatever is no such archive, from the first byte to the last.
    """
    first = True
    while (block := _exactly(content, BLOCK, source, first=first)).strip(b"\0"):
        path, size = _parsed(block, source, first=first)
        file = _Part(content, size)
        yield path, size, file
        if file.left:
            raise RuntimeError(f"{path} was not read to its end")
        if _exactly(content, -size % BLOCK, source).strip(b"\0"):
            raise ConfigurationError(f"{source}: there is something hidden behind '{path}'")
        first = False
    _check_end(content, source)


class _Part:
    """The bytes of one file, read from the archive's."""

    def __init__(self, content: Readable, size: int) -> None:
        self._content = content
        self.left = size

    def read(self, size: int, /) -> bytes:
        data = self._content.read(min(size, self.left))
        self.left -= len(data)
        return data


def _header(path: str, size: int) -> bytes:
    info = tarfile.TarInfo(path)
    info.size = size
    try:
        header = info.tobuf(tarfile.USTAR_FORMAT if size <= _MOST_USTAR else tarfile.GNU_FORMAT)
    except ValueError:
        header = b""
    if len(header) != BLOCK:  # only with a header of its own for the name
        raise ConfigurationError(f"the path {path} is too long for a tar file")
    return header


def _parsed(block: bytes, source: str, *, first: bool) -> tuple[str, int]:
    """The path and the size that a header says."""
    if first and block.startswith(_COMPRESSED):
        raise ConfigurationError(f"{source} is compressed; a packed version is a plain tar file: decompress it first")
    try:
        info = tarfile.TarInfo.frombuf(block, "ascii", "strict")
    except UnicodeDecodeError:
        raise ConfigurationError(f"{source}: the name of a file in it is no plain ASCII") from None
    except (tarfile.HeaderError, ValueError):
        told = "is no packed version of a model" if first else "is damaged: a header in it is none"
        raise ConfigurationError(f"{source} {told}") from None
    if info.type != tarfile.REGTYPE or block[257:262] != b"ustar":
        kind = _KINDS.get(info.type, "of an unknown kind")
        raise ConfigurationError(f"{source}: '{info.name}' is {kind}; regular files alone may be in it")
    for what, place in _TEXTS.items():
        if block[place].partition(b"\0")[2].strip(b"\0"):
            raise ConfigurationError(f"{source}: '{info.name}': {what} holds a zero byte")
    if info.linkname or info.size < 0:
        raise ConfigurationError(f"{source}: '{info.name}' has the header of no regular file")
    return info.name, info.size


def _check_end(content: Readable, source: str) -> None:
    """A second block of zeros, and then no more than padding."""
    _exactly(content, BLOCK, source)
    read = 0
    while chunk := content.read(CHUNK):
        read += len(chunk)
        if chunk.strip(b"\0") or read > _MOST_PADDING:
            raise ConfigurationError(f"{source} holds more behind its end")


def _exactly(content: Readable, size: int, source: str, *, first: bool = False) -> bytes:
    data = b""
    while len(data) < size:
        if not (chunk := content.read(size - len(data))):
            told = "is no packed version of a model: it is too short" if first else "is cut off"
            raise ConfigurationError(f"{source} {told}")
        data += chunk
    return data
