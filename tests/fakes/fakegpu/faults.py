"""The file that steers the fake device: JSON, named by FAKE_GPU, read again whenever it changes.

    a test writes FAKE_GPU --> Faults.part("execute") --> the device fails, waits or lies

Counts ("fails after n", "times k") start anew with each version of the file, so that a test can say "from now on".
"""

import contextlib
import json
import os
import threading
from pathlib import Path
from typing import Any

NONE: frozenset[str] = frozenset()
RUN = frozenset({"error", "from_call", "times", "seconds", "hang"})
DEVICE = ("driver", "devices", "name", "compute", "memory_bytes", "driver_version", "runtime_version", "calls")
MEMORY = ("malloc_fails_after", "malloc_error", "host_malloc_fails_after", "host_malloc_error", "contexts_fail_after")
MODEL = ("tensorrt", "parser_refuses", "shape_tensors", "data_dependent", "wrong_answers")
KEYS: dict[str, frozenset[str]] = {
    **dict.fromkeys((*DEVICE, *MEMORY, *MODEL, "probe_crash", "probe_hang", "stream", "capture", "report"), NONE),
    "import_error": frozenset({"tensorrt", "cuda"}),
    "build": frozenset({"seconds", "fail", "largest_workspace"}),
    "plan": frozenset({"fail", "times"}),
    "execute": RUN | {"refuse"},
    "ort_cuda": RUN | {"available", "silent_cpu", "open_error", "wrong_answers"},
}
"""What the file may say, and what the objects in it may; README.md says what it means."""


class Faults:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stamp: tuple[str, int, int, int] | None = None
        self._values: dict[str, Any] = {}
        self._counts: dict[str, int] = {}

    def get(self, key: str, default: Any) -> Any:
        with self._lock:
            self._read()
            return self._values.get(key, default)

    def part(self, key: str) -> dict[str, Any]:
        part = self.get(key, {})
        return part if isinstance(part, dict) else {}

    def count(self, what: str) -> int:
        """How often `what` has happened since the file changed, this time included."""
        with self._lock:
            self._read()
            self._counts[what] = self._counts.get(what, 0) + 1
            return self._counts[what]

    def forget(self) -> None:
        with self._lock:
            self._stamp, self._values, self._counts = None, {}, {}

    def _read(self) -> None:
        name = os.environ.get("FAKE_GPU", "")
        try:
            status = Path(name).stat() if name else None
        except OSError:
            status = None
        stamp = (name, status.st_mtime_ns, status.st_size, status.st_ino) if status else None
        if stamp == self._stamp:
            return
        if stamp is None:
            self._stamp, self._values, self._counts = None, {}, {}
            return
        values = None
        # A file that is half written stays unread: its next version has another stamp.
        with contextlib.suppress(OSError, ValueError):
            values = json.loads(Path(name).read_text(encoding="utf-8"))
        if isinstance(values, dict):
            check(values)
            self._stamp, self._values, self._counts = stamp, values, {}


def check(values: dict[str, Any]) -> None:
    """Raises TypeError for what nobody reads: a fault that is misspelt would make a test prove nothing."""
    unknown = [key for key in values if key not in KEYS]
    for key, known in KEYS.items():
        part = values.get(key)
        unknown += (
            [f"{key}.{inner}" for inner in part if inner not in known] if known and isinstance(part, dict) else []
        )
    if unknown:
        raise TypeError(f"FAKE_GPU: the fakes know nothing of {unknown}")
