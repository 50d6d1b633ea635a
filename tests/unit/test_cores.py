"""The cores of a process: by its affinity and by the limits of its control groups."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from modelyard.cores import usable_cores


@pytest.fixture
def cgroups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of 64 cores, and a process in the group /pods/mine."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    (tmp_path / "fs" / "pods" / "mine").mkdir(parents=True)
    (tmp_path / "own").write_text("0::/pods/mine\n")
    return tmp_path


def cores(cgroups: Path) -> int:
    return usable_cores(cgroups / "fs", cgroups / "own")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("max 100000", 64),
        ("200000 100000", 2),
        ("150000 100000", 2),
        ("50000 100000", 1),
        ("9900000 100000", 64),
        ("", 64),
        ("what", 64),
        ("1 0", 64),
    ],
)
def test_a_limit_counts_in_whole_cores(cgroups: Path, text: str, wanted: int) -> None:
    (cgroups / "fs" / "pods" / "mine" / "cpu.max").write_text(text)
    assert cores(cgroups) == wanted


def test_the_least_limit_on_the_way_up_counts(cgroups: Path) -> None:
    (cgroups / "fs" / "pods" / "mine" / "cpu.max").write_text("800000 100000")
    (cgroups / "fs" / "pods" / "cpu.max").write_text("300000 100000")
    assert cores(cgroups) == 3


def test_in_a_container_the_group_is_the_root(cgroups: Path) -> None:
    (cgroups / "own").write_text("12:memory:/elsewhere\n0::/\n")
    (cgroups / "fs" / "cpu.max").write_text("400000 100000")
    assert cores(cgroups) == 4


def test_without_control_groups_the_affinity_counts(cgroups: Path) -> None:
    (cgroups / "own").unlink()
    assert cores(cgroups) == 64


def test_here_there_is_at_least_one() -> None:
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)
