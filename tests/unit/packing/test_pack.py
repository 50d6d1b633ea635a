"""A version as one file: the same bytes, whole or not there, and only what holds."""

from __future__ import annotations

import fcntl
import os
import shutil
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from modelyard.errors import ConfigurationError
from modelyard.lifecycle.versions import read_model
from modelyard.packing.pack import Packed, pack
from modelyard.receiving import MOST_TEXT
from tests.unit.packing.packed import NAME, members, repository, take


def packed(models: Path, to: Path, version: str = "1", *, force: bool = False) -> Packed:
    return pack(read_model(models, NAME), version, to, force=force)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return repository(tmp_path / "models", "1", "2")


def test_what_is_in_it(models: Path, tmp_path: Path) -> None:
    made = packed(models, tmp_path)
    assert made.file == tmp_path / f"{NAME}-1.modelyard.tar"
    folder = f"{NAME}/versions/1"
    names = [f"{folder}/manifest.json", f"{NAME}/model.yaml", f"{NAME}/README.md"]
    names += [f"{folder}/golden.json", f"{folder}/model.onnx"]
    content = members(made.file)
    assert [about.name for about, _ in content] == names
    for about, data in content:
        assert (models / about.name).read_bytes() == data
        assert about.isreg()
        assert (about.uid, about.gid, about.uname, about.gname, about.mtime) == (0, 0, "", "", 0)
        assert about.mode == 0o644
    assert made.bytes == made.file.stat().st_size
    assert oct(made.file.stat().st_mode & 0o111) == "0o0"


def test_code_and_state_stay_where_they_are(models: Path, tmp_path: Path) -> None:
    before = packed(models, tmp_path / "before.tar").file.read_bytes()
    for name in ("train.py", "export.py", "aliases.json"):
        (models / NAME / name).write_text('{"format": 1}')
    assert packed(models, tmp_path / "after.tar").file.read_bytes() == before


def test_the_same_version_gives_the_same_bytes(models: Path, tmp_path: Path) -> None:
    first = packed(models, tmp_path / "first.tar").file.read_bytes()
    shutil.copytree(models, tmp_path / "elsewhere")
    for path in (tmp_path / "elsewhere").rglob("*"):
        path.chmod(0o700)
        os.utime(path, (1, 1))
    assert packed(tmp_path / "elsewhere", tmp_path / "second.tar").file.read_bytes() == first
    take(tmp_path / "first.tar", tmp_path / "unpacked")
    assert packed(tmp_path / "unpacked", tmp_path / "third.tar").file.read_bytes() == first


def test_it_can_be_opened_by_any_tar(models: Path, tmp_path: Path) -> None:
    with tarfile.open(packed(models, tmp_path, "2").file) as archive:
        archive.extractall(tmp_path / "out", filter="data")
    assert read_model(tmp_path / "out", NAME).versions == ("2",)


def test_without_a_readme(models: Path, tmp_path: Path) -> None:
    (models / NAME / "README.md").unlink()
    made = packed(models, tmp_path / "x.tar")
    assert made.files == 4
    assert take(made.file, tmp_path / "into").new_model


def test_a_file_that_is_there_is_replaced_by_force_alone(models: Path, tmp_path: Path) -> None:
    target = tmp_path / "x.tar"
    target.write_text("mine")
    with pytest.raises(ConfigurationError, match="--force"):
        packed(models, target)
    assert target.read_text() == "mine"
    packed(models, target, force=True)
    assert members(target)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["models", "x.tar"]


@pytest.mark.parametrize("fault", ["changed", "more", "less", "no manifest"])
def test_a_version_that_does_not_hold_is_refused(models: Path, tmp_path: Path, fault: str) -> None:
    folder = models / NAME / "versions" / "1"
    if fault == "changed":
        (folder / "model.onnx").write_bytes(bytes((folder / "model.onnx").stat().st_size))
    if fault == "more":
        (folder / "more").touch()
    if fault in {"less", "no manifest"}:
        (folder / ("golden.json" if fault == "less" else "manifest.json")).unlink()
    with pytest.raises(ConfigurationError):
        packed(models, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["models"]


def test_what_a_killed_command_left_is_written_over(models: Path, tmp_path: Path) -> None:
    (tmp_path / ".x.tar.draft").write_bytes(bytes(10**6))
    assert packed(models, tmp_path / "x.tar").file.stat().st_size < 10**5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["models", "x.tar"]


def test_of_two_at_once_the_second_is_refused(models: Path, tmp_path: Path) -> None:
    with (tmp_path / ".x.tar.draft").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(ConfigurationError, match="another command"):
            packed(models, tmp_path / "x.tar")


def test_what_cannot_be_packed_is_named(models: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="could not be written"):
        packed(models, tmp_path / "absent" / "x.tar")
    (models / NAME / "README.md").write_bytes(b"x" * (MOST_TEXT + 1))
    with pytest.raises(ConfigurationError, match=r"README\.md has"):
        packed(models, tmp_path / "x.tar")
    assert [path.name for path in tmp_path.iterdir()] == ["models"]


def test_neither_way_takes_the_file_into_memory(models: Path, tmp_path: Path) -> None:
    """64 MB of external data: read, checked and written piece by piece."""
    big = repository(tmp_path / "big", "1", more={"weights.bin": 64 * 2**20})
    peaks = []
    tracemalloc.start()
    try:
        file = packed(big, tmp_path / "big.tar").file
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.reset_peak()
        take(file, tmp_path / "into")
        peaks.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()
    assert file.stat().st_size > 64 * 2**20
    assert max(peaks) < 32 * 2**20, peaks
