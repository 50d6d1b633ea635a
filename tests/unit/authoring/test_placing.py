"""All parts appear or none; nothing of somebody else's is ever replaced or removed."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard.authoring.placing import Placing
from modelyard.errors import ConfigurationError


def folder(path: Path) -> Path:
    path.mkdir()
    (path / "file").write_text(path.name)
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a file"
    path.write_text("mine")
    return path


def test_parts_appear_in_folders_that_are_made(tmp_path: Path, file: Path) -> None:
    placing = Placing()
    placing.put(folder(tmp_path / "a"), tmp_path / "deep" / "er" / "a")
    placing.put(file, tmp_path / "deep" / "b.txt")
    assert (tmp_path / "deep" / "er" / "a" / "file").read_text() == "a"
    assert placing.parts == [tmp_path / "deep" / "er" / "a", tmp_path / "deep" / "b.txt"]


def test_what_was_done_is_taken_back(tmp_path: Path, file: Path) -> None:
    (tmp_path / "mine").mkdir()
    placing = Placing()
    placing.put(folder(tmp_path / "a"), tmp_path / "deep" / "er" / "a")
    placing.put(folder(tmp_path / "b"), tmp_path / "mine" / "b")
    placing.put(file, tmp_path / "shared" / "b.txt")
    (tmp_path / "shared" / "somebody.txt").write_text("else's")
    placing.take_back()
    assert not (tmp_path / "deep").exists()
    assert list((tmp_path / "mine").iterdir()) == []
    assert [path.name for path in (tmp_path / "shared").iterdir()] == ["somebody.txt"]


@pytest.mark.parametrize("there", ["a file", "a folder", "an empty folder", "a link", "a file above"])
def test_nothing_is_replaced(tmp_path: Path, there: str, file: Path) -> None:
    target = tmp_path / "to" / "target"
    if there == "a file above":
        target.parent.write_text("theirs")
    else:
        target.parent.mkdir()
    if there == "a file":
        target.write_text("theirs")
    elif there == "a folder":
        folder(target)
    elif there == "an empty folder":
        target.mkdir()
    elif there == "a link":
        target.symlink_to(tmp_path)
    for number, source in enumerate([folder(tmp_path / "source"), file]):
        placing = Placing()
        with pytest.raises(ConfigurationError, match="to"):
            placing.put(source, target)
        placing.take_back()
        assert source.exists(), number
    assert target.parent.exists()
    if there == "a file":
        assert target.read_text() == "theirs"
    if there == "a folder":
        assert (target / "file").read_text() == "target"
