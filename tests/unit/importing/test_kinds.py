"""What a file is, told by its content: the name says nothing."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import os
import pickle
import socket
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard.errors import ConfigurationError
from modelyard.importing.kinds import kind_of, require_onnx
from tests.integration import onnx_models


def zipped(*names: str) -> bytes:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return raw.getvalue()


def arrays() -> bytes:
    raw = io.BytesIO()
    np.savez(raw, x=np.zeros(3))
    return raw.getvalue()


ONNX = onnx_models.identity().SerializeToString()
PICKLES = {f"protocol {number}": pickle.dumps({"a": [1, 2.0, "b"]}, number) for number in range(6)}
COMPRESSED: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zlib": zlib.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
}
KINDS = {
    "onnx": ("onnx", ONNX),
    "program": ("program", zipped("m/archive_format", "m/models/model.json")),
    "old program": ("program", zipped("version", "serialized_exported_program.json")),
    "state dict": ("torch", zipped("m/data.pkl", "m/version")),
    "old torch": ("torch", b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."),
    **{name: ("pickle", data) for name, data in PICKLES.items()},
    "global of protocol 0": ("pickle", b"csklearn.svm\nSVC\np0\n"),
    "dict of protocol 0": ("pickle", b"(dp0\nVa\np1\n"),
    **{name: ("pickle", compress(PICKLES["protocol 4"])) for name, compress in COMPRESSED.items()},
}
OTHERS = {
    "text": (b"this is no model", "none of the kinds"),
    "random": (bytes(range(200, 256)) * 20, "none of the kinds"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
    "json": (b' {"learner": {}}', "JSON"),
    "web page": (b"\n<!DOCTYPE html><html>", "web page"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    "keras": (zipped("config.json", "model.weights.h5"), "Keras"),
    "arrays": (arrays(), "NumPy arrays"),
    "array": (b"\x93NUMPY\x01\x00", "NumPy"),
    "a zip": (zipped("readme.txt"), "none that torch.export.save wrote"),
    "half a zip": (zipped("m/archive_format")[:60], "cannot be read"),
    "compressed text": (gzip.compress(b"words"), "none of the kinds"),
    "half a gzip": (gzip.compress(PICKLES["protocol 4"])[:5], "none of the kinds"),
    "safetensors": ((64).to_bytes(8, "little") + b'{"weight":{}}', "safetensors"),
    "empty": (b"", "empty"),
}


@pytest.mark.parametrize("what", KINDS)
def test_kinds(tmp_path: Path, what: str) -> None:
    kind, data = KINDS[what]
    path = tmp_path / "model.whatever"
    path.write_bytes(data)
    assert kind_of(path) == kind
    if kind != "onnx":
        with pytest.raises(ConfigurationError, match="is no ONNX file: it is a"):
            require_onnx(path)


@pytest.mark.parametrize("what", OTHERS)
def test_what_else_there_is_is_named(tmp_path: Path, what: str) -> None:
    data, words = OTHERS[what]
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    for function in (kind_of, require_onnx):
        with pytest.raises(ConfigurationError, match=words) as caught:
            function(path)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("what", ["folder", "fifo", "device", "absent", "socket", "sparse", "long"])
def test_only_a_plain_file_is_opened(tmp_path: Path, what: str) -> None:
    path = tmp_path / "model.onnx"
    if what == "folder":
        path.mkdir()
    elif what == "fifo":
        os.mkfifo(path)
    elif what == "device":
        path = Path("/dev/zero")
    elif what == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    elif what == "sparse":
        with path.open("wb") as file:
            file.truncate(2**40)
    elif what == "long":
        path = tmp_path / ("x" * 5000)
    for function in (kind_of, require_onnx):
        with pytest.raises(ConfigurationError):
            function(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_have_a_kind_or_a_refusal(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "model"
    path.write_bytes(data)
    with contextlib.suppress(ConfigurationError):
        assert kind_of(path) in {"onnx", "program", "pickle", "torch"}
