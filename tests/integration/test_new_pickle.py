"""A pickle can run any code: never in the command's own process, never without --trust, and not for ever."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.harness import CommandResult, modelyard


class Calls:
    """A pickle that calls a function when it is opened."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def bring(folder: Path, thing: Any, *more: str, **env: str) -> CommandResult:
    source = folder / "model.pkl"
    source.write_bytes(pickle.dumps(thing))
    settings = {"MODELYARD_IMPORT_SECONDS": "20", "MODELYARD_IMPORT_MEMORY_BYTES": str(2**31), **env}
    return modelyard("new", "m", "--from", source, *more, cwd=folder, env=settings, timeout=300)


def refused(done: CommandResult, *words: str) -> str:
    assert done.code == 1, done
    (line,) = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in done.err
    assert all(word in line for word in words), line
    return line


def test_without_trust_nothing_is_run(tmp_path: Path) -> None:
    refused(bring(tmp_path, Calls(os.mkdir, str(tmp_path / "run"))), "is a pickle", "--trust")
    assert not (tmp_path / "run").exists()


def test_with_trust_it_runs_elsewhere_and_learns_no_secret(tmp_path: Path) -> None:
    code = (
        "import os, pathlib; pathlib.Path({!r}).write_text("
        "str(os.getppid()) + ' ' + ' '.join(sorted(os.environ)) + ' ' + os.getcwd())"
    ).format(str(tmp_path / "seen"))
    done = bring(tmp_path, Calls(exec, code), "--trust", AWS_SECRET_ACCESS_KEY="secret", TOKEN="token")
    refused(done, "no estimator")
    assert "any code" in done.err
    seen = (tmp_path / "seen").read_text()
    assert not {"AWS_SECRET_ACCESS_KEY", "TOKEN", "MODELYARD_IMPORT_SECONDS"} & set(seen.split())
    assert str(tmp_path) not in seen
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("thing", "words"),
    [
        (Calls(exec, "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"), "crashed (SIGSEGV)"),
        (Calls(exec, "import os; os._exit(0)"), "ended with status 0 and no answer"),
        (Calls(exec, "raise SystemExit(0)"), "SystemExit"),
        (Calls(exec, "bytearray(2**36)"), "GiB of memory"),
        (Calls(exec, "import os; os.write(1, b'{\"notes\": []}' * 10**6)"), "no estimator"),
        (Calls(exec, "import sys; print('noise'); print('noise', file=sys.stderr)"), "no estimator"),
    ],
    ids=["segfault", "exit", "SystemExit", "memory", "output", "noise"],
)
def test_whatever_it_does_the_command_answers_in_one_line(tmp_path: Path, thing: Any, words: str) -> None:
    refused(bring(tmp_path, thing, "--trust"), words)
    assert not (tmp_path / "models").exists()


def test_it_does_not_run_for_ever(tmp_path: Path) -> None:
    done = bring(tmp_path, Calls(exec, "while True: pass"), "--trust", MODELYARD_IMPORT_SECONDS="1")
    refused(done, "longer than 5 s")


def test_a_forged_answer_brings_no_link(tmp_path: Path) -> None:
    """The child may be anybody's: where it says that it has written a file, a link is not followed."""
    code = (
        "import json, os, sys, gc\n"
        "frame = sys._getframe()\n"
        "while frame and 'request' not in frame.f_locals: frame = frame.f_back\n"
        "scratch = frame.f_locals['request']['scratch']\n"
        "os.symlink('/etc/passwd', scratch + '/converted.onnx')\n"
        "os.write([n for n in range(3, 64) if os.path.exists(f'/proc/self/fd/{n}') and "
        "os.readlink(f'/proc/self/fd/{n}').endswith('stdout')][0], b'{\"notes\": []}')\n"
        "os._exit(0)\n"
    )
    refused(bring(tmp_path, Calls(exec, code, {}), "--trust"), "left a link")


def test_a_module_that_is_not_here_is_named(tmp_path: Path) -> None:
    source = tmp_path / "model.pkl"
    source.write_bytes(b"\x80\x04cnobody_has_this\nThing\n.")
    done = modelyard("new", "m", "--from", source, "--trust", cwd=tmp_path)
    refused(done, "needs the module 'nobody_has_this'")
