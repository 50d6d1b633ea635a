"""Files that a stranger made: each is refused in one line, and nothing is left behind."""

from __future__ import annotations

import gzip
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.packing.packed import NAME, Members, changed, member, members, packed, refused, written

MODEL = f"{NAME}/versions/1/model.onnx"


def of_content(change: Callable[[Members], object]) -> Callable[[Path], Path]:
    def make(file: Path) -> Path:
        content = members(file)
        change(content)
        return written(file, content)

    return make


def of_bytes(change: Callable[[bytes], bytes]) -> Callable[[Path], Path]:
    def make(file: Path) -> Path:
        file.write_bytes(change(file.read_bytes()))
        return file

    return make


def of_manifest(**changes: Any) -> Callable[[Path], Path]:
    return lambda file: changed(file, {"manifest.json": lambda data: json.dumps(json.loads(data) | changes).encode()})


def renamed(content: Members, ending: str, name: str) -> None:
    next(about for about, _ in content if about.name.endswith(ending)).name = name


def pax(file: Path) -> Path:
    content = members(file)
    content[1][0].pax_headers = {"path": "/etc/passwd"}
    return written(file, content, kind=tarfile.PAX_FORMAT)


def sized(data: bytes) -> bytes:
    """The last header says that its file has 8 GB."""
    end = data.rindex(f"{NAME}/versions/1/model.onnx".encode())
    about = tarfile.TarInfo.frombuf(data[end : end + 512], "ascii", "strict")
    about.size = 2**33 - 1
    return data[:end] + about.tobuf(tarfile.USTAR_FORMAT) + data[end + 512 :]


def laughing() -> bytes:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    return "\n".join(lines).encode()


HOSTILE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "text": (of_bytes(lambda _: b"this is no tar file " * 100), "is no packed version"),
    "empty": (of_bytes(lambda _: b""), "too short"),
    "zeros": (of_bytes(lambda _: bytes(10240)), "is empty"),
    "gzip": (of_bytes(gzip.compress), "compressed"),
    "cut in a header": (of_bytes(lambda data: data[:700]), "is cut off"),
    "cut in a file": (of_bytes(lambda data: data[:-1500]), "cut off"),
    "cut before its end": (of_bytes(lambda data: data[:-1024]), "cut off"),
    "damaged": (of_bytes(lambda data: data.replace(b"model.yaml", b"modes.yaml", 1)), "damaged"),
    "trailing": (of_bytes(lambda data: data + b"more"), "behind its end"),
    "a second tar behind it": (of_bytes(lambda data: data + data), "behind its end"),
    "endless zeros": (of_bytes(lambda data: data + bytes(3 * 2**20)), "behind its end"),
    "hidden in the padding": (of_bytes(lambda data: data.replace(b"# It scales\n\0", b"# It scales\n!")), "hidden"),
    "other weights": (lambda file: changed(file, {"model.onnx": lambda data: bytes(len(data))}), "sha256"),
    "one bit": (lambda file: changed(file, {"model.onnx": lambda data: data[:-1] + bytes([data[-1] ^ 1])}), "sha256"),
    "longer than said": (lambda file: changed(file, {"model.onnx": lambda data: data + b"x"}), "its manifest says"),
    "8 GB are announced": (of_bytes(sized), "its manifest says"),
    "no manifest": (of_content(lambda c: c.pop(0)), "manifest.json"),
    "manifest late": (of_content(lambda c: c.append(c.pop(0))), "manifest.json"),
    "no model.yaml": (of_content(lambda c: c.pop(1)), "model.yaml is missing"),
    "no artifact": (of_content(lambda c: c.pop()), "is missing"),
    "unlisted": (of_content(lambda c: c.append(member(f"{NAME}/versions/1/run.sh"))), "no part of"),
    "code": (of_content(lambda c: c.append(member(f"{NAME}/train.py"))), "no part of"),
    "state": (of_content(lambda c: c.append(member(f"{NAME}/aliases.json", b"{}"))), "no part of"),
    "another version": (of_content(lambda c: c.append(member(f"{NAME}/versions/2/model.onnx"))), "no part of"),
    "twice": (of_content(lambda c: c.append(c[-1])), "comes twice"),
    "manifest twice": (of_content(lambda c: c.append(c[0])), "comes twice"),
    "upper case": (of_content(lambda c: renamed(c, "model.yaml", f"{NAME}/MODEL.YAML")), "no part of"),
    "dots": (of_content(lambda c: renamed(c, "model.yaml", f"{NAME}/../../evil")), "no part of"),
    "dots inside": (of_content(lambda c: renamed(c, "model.yaml", f"{NAME}/versions/../model.yaml")), "no part of"),
    "absolute": (of_content(lambda c: renamed(c, "model.yaml", "/etc/cron.d/evil")), "outside"),
    "another folder": (of_content(lambda c: renamed(c, "model.yaml", "other/model.yaml")), "outside"),
    "backslash": (of_content(lambda c: renamed(c, "model.yaml", f"{NAME}\\..\\evil")), "outside"),
    "no ASCII": (of_content(lambda c: renamed(c, "model.yaml", f"{NAME}/m\u00f6del.yaml")), "ASCII"),
    "a terminal's codes": (of_content(lambda c: renamed(c, "model.yaml", "\x1b[2Jx")), "outside"),
    "a zero byte": (
        of_bytes(lambda data: zeroed(data, f"{NAME}/model.yaml".encode())),
        "zero byte",
    ),
    "a hidden name": (of_content(lambda c: renamed(c, "manifest.json", ".git/versions/1/manifest.json")), "begin with"),
    "a name of dots": (of_content(lambda c: renamed(c, "manifest.json", "../versions/1/manifest.json")), "begin with"),
    "version of dots": (
        of_content(lambda c: renamed(c, "manifest.json", f"{NAME}/versions/../manifest.json")),
        "name a",
    ),
    "an alias": (of_content(lambda c: renamed(c, "manifest.json", f"{NAME}/versions/stable/manifest.json")), "alias"),
    "link": (of_content(lambda c: c.insert(1, member(f"{NAME}/x", b"", tarfile.SYMTYPE, "/etc/passwd"))), "symbolic"),
    "hard link": (of_content(lambda c: c.append(member(MODEL, b"", tarfile.LNKTYPE, "/etc/passwd"))), "hard link"),
    "device": (of_content(lambda c: c.append(member("null", b"", tarfile.CHRTYPE))), "a device"),
    "pipe": (of_content(lambda c: c.append(member("pipe", b"", tarfile.FIFOTYPE))), "a pipe"),
    "folder": (of_content(lambda c: c.insert(0, member(NAME, b"", tarfile.DIRTYPE))), "a folder"),
    "sparse": (of_content(lambda c: c.append(member("s", b"", tarfile.GNUTYPE_SPARSE))), "sparse"),
    "of no kind": (of_content(lambda c: c.append(member("s", b"", b"Z"))), "unknown kind"),
    "pax": (pax, "pax"),
    "a model of another name": (of_manifest(model="other"), "its manifest is of 'other'"),
    "a version of another name": (of_manifest(version="9"), "version 9"),
    "an unknown key in the manifest": (of_manifest(colour="green"), "colour"),
    "an artifact that is not listed": (of_manifest(artifact="/etc/passwd"), "do not list"),
    "a file of dots": (
        of_manifest(files={"../x": {"sha256": "0" * 64, "bytes": 0}}, artifact="../x", golden=None),
        "not allowed",
    ),
    "many files": (
        of_manifest(files={f"f{n}": {"sha256": "0" * 64, "bytes": 0} for n in range(1001)}, artifact="f1", golden=None),
        "at most 1000",
    ),
    "more than the disk": (
        of_manifest(files={"f": {"sha256": "0" * 64, "bytes": 2**60}}, artifact="f", golden=None),
        "free on the disk",
    ),
    "a case trick": (
        of_manifest(files={n: {"sha256": "0" * 64, "bytes": 0} for n in ("a", "A")}, artifact="a", golden=None),
        "upper and lower case",
    ),
    "no JSON": (lambda file: changed(file, {"manifest.json": b"{" * 10_000}), "manifest.json"),
    "a long manifest": (lambda file: changed(file, {"manifest.json": b" " * (5 * 2**20)}), "at most"),
    "a long model.yaml": (lambda file: changed(file, {"model.yaml": b"#" * (5 * 2**20)}), "at most"),
    "an unknown key": (lambda file: changed(file, {"model.yaml": lambda data: data + b"colour: green\n"}), "colour"),
    "a model.yaml of another model": (
        lambda file: changed(file, {"model.yaml": lambda data: data.replace(NAME.encode(), b"other")}),
        "model.yaml is of 'other'",
    ),
    "no YAML": (lambda file: changed(file, {"model.yaml": b"\xff\xfe"}), "no text"),
    "an object of Python's": (
        lambda file: changed(file, {"model.yaml": b"name: !!python/object/apply:os.system [touch /tmp/evil]"}),
        "no YAML",
    ),
    "names that repeat names": (lambda file: changed(file, {"model.yaml": laughing()}), "entries"),
}


def zeroed(data: bytes, name: bytes) -> bytes:
    """The header of `name`, with more behind a zero byte, and its checksum."""
    at = data.index(name)
    header = bytearray(data[at : at + 512])
    header[len(name) + 1 : len(name) + 6] = b"../.."
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return data[:at] + bytes(header) + data[at + 512 :]


@pytest.mark.parametrize("case", HOSTILE)
def test_refused(tmp_path: Path, case: str) -> None:
    make, words = HOSTILE[case]
    refused(make(packed(tmp_path)), words)
