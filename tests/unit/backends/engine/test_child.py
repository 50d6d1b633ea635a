"""The builder's process by itself: what it answers to, and that it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.backends.engine.fake_gpu import DEVICE, FakeGpu, Wish

COMMAND = (sys.executable, "-P", "-m", "modelyard.backends.engine.child")


def ask(request: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(COMMAND, input=request, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("request_", ["", "{", "[]", '{"do": "probe"}', '{"do": "format", "parent": 1}'])
def test_what_is_no_request_gets_no_answer(request_: str) -> None:
    ended = ask(request_)
    assert ended.returncode != 0
    assert ended.stdout == ""


def test_a_child_whose_parent_is_gone_already_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeGpu(tmp_path, monkeypatch)
    ended = ask(json.dumps({"do": "probe", "parent": 2**22 + 1}))
    assert (ended.returncode, ended.stdout) == (1, "")


def test_an_answer_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeGpu(tmp_path, monkeypatch)
    (line,) = ask(json.dumps({"do": "probe", "parent": os.getpid()})).stdout.splitlines()
    answer = json.loads(line)
    assert answer.pop("event") == "device"
    assert answer["gpu"] == DEVICE.gpu


def test_a_failure_of_many_lines_is_one_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = FakeGpu(tmp_path, monkeypatch)
    gpu.set(import_error={"tensorrt": "one\ntwo\n\nthree"})
    (line,) = ask(json.dumps({"do": "probe", "parent": os.getpid()})).stdout.splitlines()
    assert json.loads(line)["reason"].endswith("(one two three)")


def test_another_process_may_have_built_it_while_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu, wish = FakeGpu(tmp_path, monkeypatch), Wish(tmp_path)
    find, calls = wish.store.find, []

    def find_nothing_at_first(key: object) -> bytes | None:
        calls.append(key)
        return None if len(calls) == 1 else find(wish.key())

    plan = wish.ensure()
    monkeypatch.setattr(wish.store, "find", find_nothing_at_first)
    assert wish.ensure() == plan
    assert gpu.count("builds") == 1
