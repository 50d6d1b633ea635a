"""A child process ends in time and memory, whatever it does, and learns nothing of the shell."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from modelyard.errors import ConfigurationError
from modelyard.importing.bounded import Answer, Limits, ask_child, one_line

ROOT = str(Path(__file__).resolve().parents[3])
LIMITS = Limits(seconds=60.0, memory_bytes=2**31)


def ask(do: str, limits: Limits = LIMITS, **more: Any) -> Answer:
    path = os.pathsep.join([ROOT, os.environ.get("PYTHONPATH", "")])
    request = {"do": do, **more}
    return ask_child("tests.unit.importing.naughty", request, limits, "the trial of x.onnx", {"PYTHONPATH": path})


def test_a_child_answers() -> None:
    assert ask("echo", words=["ä", 1, None])["words"] == ["ä", 1, None]


def test_a_child_that_prints_answers_all_the_same() -> None:
    assert ask("print") == {}


def test_a_child_learns_nothing_of_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("MODELYARD_API_KEYS", "alice:key")
    monkeypatch.setenv("HTTPS_PROXY", "http://user:password@proxy")
    answer = ask("environment")
    assert not {"AWS_SECRET_ACCESS_KEY", "MODELYARD_API_KEYS", "HTTPS_PROXY", "USER"} & set(answer["names"])
    assert "" not in answer["path"]


@pytest.mark.parametrize(
    ("do", "words"),
    [
        ("refuse", "it is  [31mred and has two lines".replace("  ", " ")),
        ("fail", "KeyError: 'no such thing'"),
        ("exit", "SystemExit"),
        ("end", "the trial of x.onnx ended with status 3"),
        ("segfault", r"the trial of x.onnx crashed \(SIGSEGV\)"),
        ("killed", "out of memory, most likely"),
        ("allocate", "wants more than 2 GiB of memory"),
    ],
)
def test_how_a_child_ends_is_one_line(do: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words.replace("[31m", r"\[31m")) as caught:
        ask(do)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("do", ["sleep", "spin"])
def test_a_child_that_does_not_end_is_ended(do: str) -> None:
    began = time.monotonic()
    with pytest.raises(ConfigurationError, match="longer than 2 s"):
        ask(do, Limits(2.0, 2**31))
    assert time.monotonic() - began < 30


def test_what_a_child_started_ends_with_it(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    ask("leave", mark=str(mark))
    time.sleep(4)
    assert not mark.exists()


@pytest.mark.parametrize("text", ["", "a\nb", "\x1b[2Jx", "x" * 10_000, "\u202eabc", "\ud800"])
def test_a_line_is_one_line(text: str) -> None:
    line = one_line(text)
    assert line.isprintable()
    assert len(line) <= 500
