"""Folders that are filled before they appear: removed when they fail, and when their writer is dead."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from modelyard import drafts
from modelyard.drafts import LOST_SECONDS, draft_folder

HOLD = """
import sys, time
from pathlib import Path
from modelyard.drafts import draft_folder
with draft_folder(Path(sys.argv[1]), "1") as draft:
    (draft / "half").write_text("half")
    print("held", flush=True)
    time.sleep(60)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_draft_that_is_renamed_stays(tmp_path: Path) -> None:
    with draft_folder(tmp_path / "versions", "1") as draft:
        (draft / "file").write_text("whole")
        draft.rename(tmp_path / "versions" / "1")
    assert names(tmp_path / "versions") == ["1"]


def test_a_draft_that_fails_goes(tmp_path: Path) -> None:
    with contextlib.suppress(ZeroDivisionError), draft_folder(tmp_path, "1") as draft:
        (draft / "file").write_text("half")
        raise ZeroDivisionError
    assert names(tmp_path) == []


def test_drafts_of_the_living_stay_and_those_of_the_dead_go(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with draft_folder(tmp_path, "2"):
            assert len(names(tmp_path)) == 2
        assert len(names(tmp_path)) == 1, "it is being written"
        process.kill()
        process.wait()
        assert len(names(tmp_path)) == 1, "what a kill leaves"
        with draft_folder(tmp_path, "2") as draft:
            assert names(tmp_path) == [draft.name]


def test_what_is_no_draft_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / ".draft-file").write_text("no folder")
    (tmp_path / ".draft-link").symlink_to(tmp_path / "precious")
    with draft_folder(tmp_path, "1"):
        pass
    assert names(tmp_path) == [".draft-file", ".draft-link", "precious"]


def test_where_folders_cannot_be_locked_only_old_drafts_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("modelyard.drafts.fcntl.flock", none)
    for name in (".draft-new", ".draft-old"):
        (tmp_path / name).mkdir()
    long_ago = time.time() - LOST_SECONDS - 1
    os.utime(tmp_path / ".draft-old", (long_ago, long_ago))
    with draft_folder(tmp_path, "1") as draft:
        assert names(tmp_path) == sorted([".draft-new", draft.name])


def test_a_draft_that_another_took_for_lost_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = drafts._lock
    taken: list[Path] = []

    def late(descriptor: int) -> bool | None:
        if not taken:
            (found,) = tmp_path.glob(".draft-*")
            taken.append(found)
            found.rmdir()
        return lock(descriptor)

    monkeypatch.setattr(drafts, "_lock", late)
    with draft_folder(tmp_path, "1") as draft:
        assert draft.is_dir()
        assert draft != taken[0]
