"""What a process holds of the device, and what is counted of it.

State (this file) <- StreamCalls (work.py) <- MemoryCalls, Machine (machine.py)
"""

import threading

from tests.fakes.fakegpu.errors import STICKY
from tests.fakes.fakegpu.faults import Faults
from tests.fakes.fakegpu.memory import Memory
from tests.fakes.fakegpu.streams import Event, Graph, Stream

GIB = 2**30


class CudaFault(Exception):
    """A CUDA call that returns an error."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class State:
    def __init__(self) -> None:
        self.faults = Faults()
        self.lock = threading.RLock()
        self.reset()

    def reset(self) -> None:
        """A new device, as after a restart of the process. For tests that run the fakes in their own process."""
        with self.lock:
            self.memory = Memory()
            self.streams: dict[int, Stream] = {handle: Stream(handle) for handle in (0, 1, 2)}
            self.events: dict[int, Event] = {}
            self.graphs: dict[int, Graph] = {}
            self.executables: dict[int, Graph] = {}
            self.sticky = 0
            self.violations: list[str] = []
            self.counts: dict[str, int] = {}
            self.objects: dict[str, int] = {}
            """Of TensorRT, alive: runtimes, engines, contexts."""
            self.faults.forget()

    @property
    def has_driver(self) -> bool:
        return bool(self.faults.get("driver", True))

    @property
    def total_memory(self) -> int:
        return int(self.faults.get("memory_bytes", 16 * GIB))

    @property
    def free_memory(self) -> int:
        return max(0, self.total_memory - self.memory.device_bytes)

    def fail(self, code: int) -> None:
        """A fault of the device; a sticky one ends all work of this process."""
        if code not in STICKY or self.sticky:
            return
        with self.lock:
            self.sticky = code
            for stream in self.streams.values():
                stream.queue.clear()

    def violate(self, text: str) -> None:
        with self.lock:
            self.violations.append(text)

    def tally(self, what: str) -> None:
        with self.lock:
            self.counts[what] = self.counts.get(what, 0) + 1

    def count_object(self, kind: str, change: int) -> None:
        with self.lock:
            self.objects[kind] = self.objects.get(kind, 0) + change
