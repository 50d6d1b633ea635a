"""A child process with an end in time, memory and output: what a file breaks there, breaks nothing here.

    request (JSON) -> stdin | child | stdout -> one answer (JSON), or {"error": "one line"}
                            | stderr -> the last words of a child that died

The child gets no variable of the environment but those of `_KEPT`: no key and no password of the shell. It is the first
that the kernel kills when memory is short, it ends with its parent, and what it started ends with it.
"""

import ctypes
import json
import math
import os
import resource
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from modelyard.errors import ConfigurationError

Answer = dict[str, Any]

_KEPT = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME")
_MOST_ANSWER = 16 * 2**20
_LAST_WORDS = 4096
_LARGEST_FILE = 8 * 2**30
_LEAST_MEMORY = 2**30


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one child."""

    seconds: float = 60.0
    memory_bytes: int = 16 * 2**30


def ask_child(
    module: str, request: Mapping[str, Any], limits: Limits, what: str, environment: Mapping[str, str] | None = None
) -> Answer:
    """Run `python -m module` on the request. `what` begins the error's text, such as "the trial run of m.onnx".

    Raises ConfigurationError when the child refuses, dies, takes too long or wants too much memory.
    """
    with tempfile.TemporaryDirectory(prefix="modelyard-child-") as home:
        out, err = Path(home, "stdout"), Path(home, "stderr")
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", module],  # -P: no module from the working folder
                stdin=subprocess.PIPE,
                stdout=stdout,
                stderr=stderr,
                env={**kept, "HOME": home, "TMPDIR": home, "MALLOC_ARENA_MAX": "2", **(environment or {})},
                cwd=home,
                start_new_session=True,
            )
        try:
            _send(process, {**request, "limits": [limits.seconds, limits.memory_bytes], "parent": os.getpid()})
            status = process.wait(limits.seconds)
        except subprocess.TimeoutExpired:
            raise ConfigurationError(_too_long(what, limits)) from None
        finally:
            _end(process)
        return _answer(what, limits, status, out, _tail(err))


def answer(handle: Callable[[Answer], Answer]) -> None:
    """The main of a child: bounds itself, reads the request, writes what `handle` gives, and ends at once."""
    own = _take_stdout()
    request: Answer = json.loads(sys.stdin.buffer.read())
    _bound(Limits(*request["limits"]), request["parent"])
    try:
        result = handle(request)
    except ConfigurationError as error:
        result = {"error": str(error)}
    except MemoryError:
        result = {"memory": True}
    except BaseException as error:  # also SystemExit: a file that ends the process has answered nothing
        traceback.print_exc()
        result = {"error": f"{type(error).__name__}: {str(error).strip()}"}
    own.write(json.dumps(result))
    own.flush()
    os._exit(0)  # what a hostile file left in memory need not be taken down in order


def one_line(text: str, most: int = 500) -> str:
    """On a terminal, text out of a file must neither move the cursor nor fill the screen."""
    shown = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(shown.split())[:most]


def _send(process: subprocess.Popen[bytes], request: Answer) -> None:
    if process.stdin is None:
        raise RuntimeError("the child was started without a pipe")
    with suppress(BrokenPipeError), process.stdin as pipe:  # it died already: its end says why
        pipe.write(json.dumps(request).encode())


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _answer(what: str, limits: Limits, status: int, out: Path, last_words: str) -> Answer:
    with out.open("rb") as file:
        raw = file.read(_MOST_ANSWER)
    try:
        result = json.loads(raw)
    except ValueError:
        result = None
    if isinstance(result, dict) and status == 0:
        if "error" in result:
            raise ConfigurationError(one_line(str(result["error"])))
        if "memory" not in result:
            return result
    if status == -signal.SIGXCPU:
        raise ConfigurationError(_too_long(what, limits))
    if isinstance(result, dict) or "bad_alloc" in last_words or "MemoryError" in last_words:
        raise ConfigurationError(
            f"{what} wants more than {limits.memory_bytes / 2**30:.3g} GiB of memory "
            "(MODELYARD_IMPORT_MEMORY_BYTES, and the memory of this machine, are the bounds)"
        )
    if status < 0:
        hint = ": out of memory, most likely" if status == -signal.SIGKILL else ""
        raise ConfigurationError(f"{what} crashed ({signal.Signals(-status).name}{hint})")
    words = one_line(last_words.strip().rpartition("\n")[2], 300)
    raise ConfigurationError(f"{what} ended with status {status}{': ' + words if words else ' and no answer'}")


def _too_long(what: str, limits: Limits) -> str:
    return f"{what} took longer than {limits.seconds:g} s and was stopped (MODELYARD_IMPORT_SECONDS allows more)"


def _tail(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _LAST_WORDS))
        return file.read(_LAST_WORDS).decode("utf-8", "replace")


def _bound(limits: Limits, parent: int) -> None:
    memory = max(_LEAST_MEMORY, min(limits.memory_bytes, _physical_memory()))
    seconds = math.ceil(limits.seconds) * (os.cpu_count() or 1) + 1  # of all its threads
    for kind, bound in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, _LARGEST_FILE),
        (resource.RLIMIT_DATA, memory),
        (resource.RLIMIT_AS, 2 * memory),  # mapped files, and what is reserved but never used, count here too
    ):
        with suppress(ValueError, OSError):  # stricter already
            resource.setrlimit(kind, (bound, bound))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    if os.getppid() != parent:  # it died before that
        os._exit(1)


def _physical_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _take_stdout() -> IO[str]:
    """The stdout that we were given, for us alone: whatever a library prints there goes to stderr."""
    sys.stdout.flush()
    own = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return own
