"""The fakes have what the list of the real interface has, no names beside it, and the same parameters."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.fakes.api import Entry, entries

COMPARE = Path(__file__).parents[2] / "fakes" / "compare_with_real.py"


def find(trt: ModuleType, name: str) -> Any:
    """What has this name: in the module, in a class, or set by a class's constructor."""
    owner: Any = trt
    for part in name.split("."):
        if inspect.isclass(owner) and not hasattr(owner, part):
            return part if f"self.{part}" in inspect.getsource(owner.__init__) else None
        owner = getattr(owner, part, None)
    return owner


def differences(entry: Entry, mine: Any, major: int) -> Iterator[str]:
    if not entry.holds(major):
        if mine is not None and (not entry.members or set(entry.members) & set(mine.__members__)):
            yield f"{entry.name} is not in {major}"
        return
    if mine is None:
        yield f"{entry.name} is missing"
        return
    yield from (f"{entry.name} has no {member}" for member in entry.members if not hasattr(mine, member))
    if entry.parameters is not None:
        called = mine.__init__ if inspect.isclass(mine) else mine
        parameters = [name for name in inspect.signature(called).parameters if name != "self"]
        if tuple(parameters[: len(entry.parameters)]) != entry.parameters:
            yield f"{entry.name} takes {parameters}"


def test_the_fake_has_what_the_list_has(trt: ModuleType) -> None:
    major = int(trt.__version__.partition(".")[0])
    assert [line for entry in entries() for line in differences(entry, find(trt, entry.name), major)] == []


def test_the_fake_has_no_call_that_the_list_has_not(trt: ModuleType) -> None:
    listed = {entry.name for entry in entries()}
    for owner in ("Builder", "IBuilderConfig", "Runtime", "IExecutionContext", "OnnxParser", "ITimingCache"):
        mine = {f"{owner}.{name}" for name in vars(getattr(trt, owner)) if not name.startswith("_")}
        assert mine <= listed


def test_the_fakes_agree_with_the_real_libraries_that_are_installed() -> None:
    answer = subprocess.run([sys.executable, str(COMPARE)], capture_output=True, text=True, timeout=100, check=False)
    assert answer.returncode == 0, answer.stdout
    assert answer.stdout.count("no difference") + answer.stdout.count("not here") == 2
