"""A child that does what it is asked: `python -m tests.unit.importing.naughty`, for the tests of bounded.py."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Any

from modelyard.errors import ConfigurationError
from modelyard.importing.bounded import Answer, answer


def handle(request: Answer) -> Answer:
    result = DOINGS[request["do"]](request)
    return result if isinstance(result, dict) else {}


def _refuse(_: Answer) -> None:
    raise ConfigurationError("it is \x1b[31mred\nand has two lines")


def _fail(_: Answer) -> None:
    raise KeyError("no such thing")


def _allocate(_: Answer) -> Answer:
    return {"length": len(bytearray(3 * 2**30))}


def _leave(request: Answer) -> None:
    """A grandchild that outlives us, unless it is ended with us."""
    subprocess.Popen([sys.executable, "-c", f"import time; time.sleep(3); open({request['mark']!r}, 'w')"])


def _spin(_: Answer) -> None:
    while True:
        pass


def _print(_: Answer) -> None:
    sys.stdout.write("this is no answer\n")
    os.write(1, b"nor is this\n")


DOINGS: dict[str, Any] = {
    "echo": lambda request: {"words": request["words"]},
    "environment": lambda _: {"names": sorted(os.environ), "path": sys.path},
    "refuse": _refuse,
    "fail": _fail,
    "exit": lambda _: sys.exit(0),
    "end": lambda _: os._exit(3),
    "sleep": lambda _: time.sleep(60),
    "spin": _spin,
    "segfault": lambda _: os.kill(os.getpid(), signal.SIGSEGV),
    "killed": lambda _: os.kill(os.getpid(), signal.SIGKILL),
    "allocate": _allocate,
    "leave": _leave,
    "print": _print,
}

if __name__ == "__main__":
    answer(handle)
