"""A packed version, and what a stranger may make of it."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml

from modelyard.errors import ConfigurationError
from modelyard.importing.bounded import Limits
from modelyard.lifecycle.versions import read_model
from modelyard.manifest import publish
from modelyard.packing.pack import pack
from modelyard.packing.unpack import unpack
from modelyard.receiving import Received
from modelyard.tensors import Tensor
from tests.integration import onnx_models

NAME = "scaled"
X = np.arange(8, dtype=np.float32).reshape(4, 2)
SPEC: dict[str, Any] = {
    "name": NAME,
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}],
    "backends": [{"name": "onnxruntime-cpu"}],
}
Members = list[tuple[tarfile.TarInfo, bytes]]


def repository(
    folder: Path, *versions: str, factor: float | None = None, more: Mapping[str, int] | None = None, **changed: Any
) -> Path:
    """y = version * x, or factor * x. `more`: names and sizes of further files."""
    model = folder / NAME
    model.mkdir(parents=True, exist_ok=True)
    (model / "model.yaml").write_text(yaml.safe_dump({**SPEC, **changed}))
    (model / "README.md").write_text("# It scales\n")
    for version in versions:
        scale = np.float32(factor or float(version))
        onnx.save(
            onnx_models.affine(np.eye(2, dtype=np.float32) * scale, np.zeros(2, np.float32)), folder / "model.onnx"
        )
        for name, size in (more or {}).items():
            (folder / name).write_bytes(bytes(size))
        publish(
            model,
            version,
            folder / "model.onnx",
            extra_files=[folder / name for name in more or {}],
            golden_inputs=[Tensor.from_array("x", X)],
            golden_outputs=[Tensor.from_array("y", X * scale)],
        )
    (folder / "model.onnx").unlink(missing_ok=True)
    return folder


def packed(folder: Path, version: str = "1", **changed: Any) -> Path:
    """The file of a version."""
    return pack(read_model(repository(folder / "from", version, **changed), NAME), version, folder).file


def take(file: Path, into: Path) -> Received:
    return unpack(file, into, Limits(seconds=60))


def members(file: Path) -> Members:
    with tarfile.open(file) as archive:
        return [(each, (archive.extractfile(each) or io.BytesIO()).read()) for each in archive.getmembers()]


def written(file: Path, content: Members, *, kind: int = tarfile.USTAR_FORMAT) -> Path:
    """A tar as Python's own library writes it, which writes anything."""
    with tarfile.open(file, "w", format=kind) as archive:
        for about, data in content:
            archive.addfile(about, io.BytesIO(data) if about.isreg() else None)
    return file


def changed(file: Path, changes: Mapping[str, bytes | Callable[[bytes], bytes]]) -> Path:
    """The file with other content at paths that end so."""
    content: Members = []
    for about, data in members(file):
        new = next((change for ending, change in changes.items() if about.name.endswith(ending)), data)
        new = new if isinstance(new, bytes) else new(data)
        about.size = len(new)
        content.append((about, new))
    return written(file, content)


def member(
    name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    about = tarfile.TarInfo(name)
    about.type, about.linkname, about.size = kind, link, len(data)
    return about, data


def with_file(file: Path, name: str, data: bytes) -> Path:
    """A file of the version has this content, and its manifest says so."""
    entry = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}

    def listed(text: bytes) -> bytes:
        manifest = json.loads(text)
        manifest["files"][name] = entry
        return json.dumps(manifest).encode()

    return changed(file, {"manifest.json": listed, name: data})


def refused(file: Path, *words: str) -> str:
    """Refused with these words, in one line; the folder is as it was, and so is one where the model stands."""
    into = file.parent / "into"
    with pytest.raises(ConfigurationError) as caught:
        take(file, into / "models")
    assert not into.exists()
    text = str(caught.value)
    assert "\n" not in text
    assert text.isprintable()
    for word in words:
        assert word in text, text
    return text
