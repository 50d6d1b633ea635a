"""What a file is, told by its content and never by its name.

    onnx      protobuf that may be an ONNX model      program   what torch.export.save wrote: a zip in the pt2 layout
    pickle    pickle, joblib's too, also compressed   torch     what torch.save wrote: a pickle in a zip, or an old one

Everything else is named in words where its first bytes say what it is, with what to do about it.
"""

import bz2
import lzma
import re
import stat
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from modelyard.errors import ConfigurationError

Kind = Literal["onnx", "program", "pickle", "torch"]

MOST_BYTES = 2**31
"""Protobuf ends there, and nothing larger is served from one file."""
_HEAD = 4096
_ONNX_TAGS = frozenset({0x08, 0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A, 0x42, 0x72, 0xA2, 0xCA})
"""First bytes of a ModelProto: the tags of ir_version, producer_name, ..., graph, opset_import, metadata, functions."""
_PICKLE = re.compile(rb"\x80[\x02-\x05]|c[\w.]+\n[\w.]+\n|\((?:[dl]p?\d|ic?[\w.]+\n)|[\]}]q\x00")
_TORCH_OLD = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19"
"""The magic number with which torch.save began before it wrote zips."""
_COMPRESSED: tuple[tuple[bytes, Callable[[bytes], bytes]], ...] = (
    (b"\x1f\x8b", lambda head: zlib.decompressobj(31).decompress(head, 64)),
    (b"\x78", lambda head: zlib.decompressobj().decompress(head, 64)),
    (b"BZh", lambda head: bz2.BZ2Decompressor().decompress(head, 64)),
    (b"\xfd7zXZ", lambda head: lzma.LZMADecompressor(memlimit=2**27).decompress(head, 64)),
    (b"\x5d\x00\x00", lambda head: lzma.LZMADecompressor(memlimit=2**27).decompress(head, 64)),
)
TORCH_TEXT = (
    "a torch.save file, a pickle of weights or of a module: it can run any code and holds no graph. Load it in the "
    "code that made it, then: program = torch.export.export(model.eval(), (example,), dynamic_shapes=({0: "
    "torch.export.Dim('batch')},)); torch.export.save(program, 'model.pt2'); and bring model.pt2"
)
_TO_ONNX = "convert it to ONNX with tf2onnx"
_OTHERS: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (re.compile(rb"\x89HDF\r\n"), f"an HDF5 file (Keras?): {_TO_ONNX}"),
    (re.compile(rb".{4}TFL3", re.DOTALL), f"a TensorFlow Lite model: {_TO_ONNX}"),
    (re.compile(rb"GGUF"), "a GGUF file, which ONNX Runtime does not run"),
    (re.compile(rb".{8}\{\"", re.DOTALL), "a safetensors file: weights without a graph; export the model to ONNX"),
    (re.compile(rb"\x93NUMPY"), "a NumPy array, no model"),
    (re.compile(rb"\x7fELF"), "a program or shared library, no model"),
    (re.compile(rb"\s*[{\[]"), "JSON (XGBoost, LightGBM?): convert it to ONNX with onnxmltools"),
    (re.compile(rb"version https://git-lfs"), "a pointer of Git LFS: fetch the file itself with `git lfs pull`"),
    (re.compile(rb"\s*<(?:!doctype|html)", re.IGNORECASE), "a web page: the download went wrong"),
)


def check_file(path: Path, wanted: str) -> None:
    """Only a regular file with something in it is opened at all. Raises ConfigurationError."""
    try:
        status = path.stat()
    except FileNotFoundError:
        raise ConfigurationError(f"{path} does not exist") from None
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from None
    if stat.S_ISDIR(status.st_mode):
        raise ConfigurationError(f"{path} is a folder: name the {wanted} file")
    if not stat.S_ISREG(status.st_mode):
        raise ConfigurationError(f"{path} is no regular file (a pipe, a socket or a device)")
    if status.st_size == 0:
        raise ConfigurationError(f"{path} is no {wanted} file: it is empty")
    if status.st_size >= MOST_BYTES:
        raise ConfigurationError(f"{path} is above 2 GiB: split or quantize the model")


def kind_of(path: Path) -> Kind:
    """Raises ConfigurationError, with what to do, for what is none of the four."""
    check_file(path, "model")
    kind, words = _tell(path)
    if kind is None:
        raise ConfigurationError(f"{path} is {words}")
    return kind


def require_onnx(path: Path) -> None:
    """Raises ConfigurationError, with what to do, for what cannot be an ONNX file."""
    check_file(path, "ONNX")
    kind, words = _tell(path)
    if kind != "onnx":
        raise ConfigurationError(f"{path} is no ONNX file: it is {words}")


def _tell(path: Path) -> tuple[Kind | None, str]:
    """The kind, and what it is in words."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if head.startswith(b"PK"):
        return _tell_zip(path)
    if _TORCH_OLD in head[:16]:
        return "torch", TORCH_TEXT
    if _PICKLE.match(head) or _PICKLE.match(_decompressed(head)):
        return "pickle", "a pickle: `modelyard new NAME --from FILE --trust` takes one of scikit-learn"
    for pattern, text in _OTHERS:
        if pattern.match(head):
            return None, text
    if head[0] in _ONNX_TAGS:
        return "onnx", "protobuf"
    return None, (
        "none of the kinds that are known here: an ONNX file, a torch.export program (.pt2) or, with --trust, a "
        "scikit-learn pickle"
    )


def _tell_zip(path: Path) -> tuple[Kind | None, str]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        return None, f"a zip that cannot be read ({error}): cut off?"
    inner = {name.partition("/")[2] for name in names}
    if "archive_format" in inner or "serialized_exported_program.json" in names:
        return "program", "a torch.export program: `modelyard new NAME --from FILE` takes it"
    if "data.pkl" in inner:
        return "torch", TORCH_TEXT
    if "model.weights.h5" in names or "keras_metadata.pb" in names:
        return None, f"a Keras model: {_TO_ONNX}"
    if names and all(name.endswith(".npy") for name in names):
        return None, "NumPy arrays, no model"
    return None, "a zip, but none that torch.export.save wrote"


def _decompressed(head: bytes) -> bytes:
    for magic, decompress in _COMPRESSED:
        if head.startswith(magic):
            try:
                return decompress(head)
            except (zlib.error, OSError, lzma.LZMAError, EOFError, ValueError):
                return b""
    return b""
