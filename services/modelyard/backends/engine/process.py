"""The child process in which CUDA is probed and engines are built: what crashes there, crashes nothing here.

request -> stdin | child | stdout -> events, one JSON object a line
                         | stderr -> the log, and the last words of a child that failed
"""

import json
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from types import TracebackType
from typing import IO, Any, Self

from pydantic import BaseModel

log = logging.getLogger("modelyard.engines")

Event = dict[str, Any]

_COMMAND = (sys.executable, "-P", "-m", "modelyard.backends.engine.child")  # -P: no module from the working folder
_LOUD = ("WARNING", "ERROR", "CRITICAL")
_TICK_SECONDS = 0.05
_END_SECONDS = 10.0


class ChildStopped(Exception):
    """The caller set its event; the child is killed."""


class ChildTimeout(Exception):
    """The child was not done in time; it is killed."""


class ChildProcess:
    """One request to one child. When the `with` block is left, the child is dead."""

    def __init__(self, request: BaseModel, stop: threading.Event) -> None:
        self._stop = stop
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._last_words: deque[str] = deque(maxlen=5)
        # a server's metrics folder is for the server's own processes
        environment = {name: value for name, value in os.environ.items() if name != "PROMETHEUS_MULTIPROC_DIR"}
        self._process = subprocess.Popen(
            _COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,  # Ctrl-C is ours to answer, and what the child starts can be killed with it
        )
        self._threads = [
            threading.Thread(target=read, name=f"engine{read.__name__}", daemon=True)
            for read in (self._follow, self._listen)
        ]
        for thread in self._threads:
            thread.start()
        with suppress(BrokenPipeError), _pipe(self._process.stdin) as pipe:  # it died already: its end says why
            pipe.write(request.model_dump_json().encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.kill()

    def event(self, deadline: float) -> Event | None:
        """The next event; None when the child has closed its stdout. `deadline` is of time.monotonic().

        Raises ChildStopped or ChildTimeout.
        """
        while True:
            if self._stop.is_set():
                self.kill()
                raise ChildStopped
            if time.monotonic() > deadline:
                self.kill()
                raise ChildTimeout
            with suppress(queue.Empty):
                return self._events.get(timeout=_TICK_SECONDS)

    def end(self) -> tuple[int, str]:
        """Its exit status, negative for a signal, and how it ended in words. Waits for it, but not for long."""
        try:
            status = self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            return 0, "said nothing more, and did not end"
        for thread in self._threads:
            thread.join(1.0)
        if status < 0:
            return status, f"was ended by {signal.Signals(-status).name}"
        return status, f"ended with status {status}" + "".join(f": {line}" for line in list(self._last_words)[-1:])

    def kill(self) -> None:
        """At once, and whatever it started."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            try:
                self._process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                log.error("process %d hangs in the driver and cannot be killed", self._process.pid)
        for thread in self._threads:
            thread.join(1.0)

    def _follow(self) -> None:
        with _pipe(self._process.stdout) as pipe:
            for line in pipe:
                try:
                    event = json.loads(line)
                    self._events.put(event if isinstance(event, dict) else {"event": "?"})
                except ValueError:
                    log.warning("the engine builder said what is no event: %r", line[:200])
        self._events.put(None)

    def _listen(self) -> None:
        with _pipe(self._process.stderr) as pipe:
            for line in pipe:
                text = line.decode("utf-8", "replace").strip()[:1000]
                log.log(logging.WARNING if text.startswith(_LOUD) else logging.DEBUG, "builder: %s", text)
                self._last_words.extend([text] if text else [])


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise RuntimeError("the child was started without this pipe")
    return stream
