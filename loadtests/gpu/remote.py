"""A subject from outside: its process, asked line by line. Whatever happens to it is a `Failed` with a reason."""

from __future__ import annotations

import json
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from loadtests.bench.core import LOGS, ROOT
from loadtests.bench.process import end_tree, tail
from loadtests.gpu.subject import Given

WHY_SECONDS = 120.0
LOAD_SECONDS = 3600.0  # two builds of an engine
RUN_SECONDS = 900.0  # the first run of torch.compile compiles
END_SECONDS = 20.0


class Failed(Exception):
    """It could not do what it was asked; the text says why."""


class Remote:
    """The process of one subject with one model."""

    def __init__(self, name: str, given: Given, data: Path) -> None:
        self.name = name
        self._log = LOGS / f"gpu-{name}-{given.model}.log".replace(" ", "-")
        self._log.parent.mkdir(parents=True, exist_ok=True)
        document = json.dumps({**asdict(given), "onnx": str(given.onnx), "repository": str(given.repository)})
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "loadtests.gpu.child", name, document, str(data)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=ROOT,
                start_new_session=True,
            )

    def ask(self, what: str, limit: float = RUN_SECONDS, **more: Any) -> dict[str, Any]:
        """The answer to a request, within `limit` seconds. Raises Failed."""
        process = self._process
        if process.stdin is None or process.stdout is None:
            raise Failed("it has no pipes")
        try:
            process.stdin.write(json.dumps({"do": what, **more}).encode() + b"\n")
            process.stdin.flush()
        except OSError:
            raise Failed(self._ended()) from None
        # one answer a request: nothing can lie in the buffer that select does not see
        if not select.select([process.stdout], [], [], limit)[0]:
            self.close()
            raise Failed(f"no answer to '{what}' within {limit:g} s")
        line = process.stdout.readline()
        if not line:
            raise Failed(self._ended())
        answer: dict[str, Any] = json.loads(line)
        if "failed" in answer:
            raise Failed(answer["failed"])
        return answer

    def end(self) -> None:
        """In peace if it can be had."""
        try:
            self.ask("end", END_SECONDS)
            self._process.wait(END_SECONDS)
        except (Failed, subprocess.TimeoutExpired, ValueError):  # ValueError: it is closed already
            pass
        self.close()

    def close(self) -> None:
        """Whatever is left of it, ended."""
        if self._process.poll() is None:
            end_tree(self._process.pid)
            self._process.wait(END_SECONDS)
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):  # a request that nobody took
                if pipe is not None:
                    pipe.close()

    def _ended(self) -> str:
        code = self._process.wait(END_SECONDS)
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"status {code}"
        return f"its process ended with {how}: {tail(self._log, 2)[-250:]}".rstrip(": ")


@contextmanager
def remote(name: str, given: Given, data: Path) -> Iterator[Remote]:
    """A process for the length of a block."""
    made = Remote(name, given, data)
    try:
        yield made
    finally:
        made.end()
