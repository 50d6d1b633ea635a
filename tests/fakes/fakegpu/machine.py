"""The device as one process sees it: what the calls of all fakes act upon.

    cuda call -> Machine: sticky error? capture? -> memory, streams -> a value, or CudaFault(code)

A machine outlives no process, as a CUDA context does not. `report()` says what is still held and what was done wrong.
"""

import atexit
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

from tests.fakes.fakegpu.errors import (
    CAPTURE_INVALIDATED,
    CAPTURE_UNSUPPORTED,
    ILLEGAL_ADDRESS,
    ILLEGAL_STATE,
    INVALID_HANDLE,
    INVALID_VALUE,
    OUT_OF_MEMORY,
    STICKY,
    WRONG_THREAD,
)
from tests.fakes.fakegpu.faults import Faults
from tests.fakes.fakegpu.memory import Block, Bytes, Memory, Violation, host_bytes
from tests.fakes.fakegpu.streams import Capture, DeviceFault, Event, Graph, Operation, Stream

GLOBAL, THREAD_LOCAL, RELAXED = 0, 1, 2
GIB = 2**30


class CudaFault(Exception):
    """A CUDA call that returns an error."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Machine:
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

    # --- the device ---

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
        if code in STICKY and not self.sticky:
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

    # --- memory ---

    def allocate(self, size: int, pinned: bool) -> int:
        self.unsafe_call()
        with self.lock:
            key = "host_malloc" if pinned else "malloc"
            limit = self.faults.get(f"{key}_fails_after", None)
            if limit is not None and self.faults.count(key) > limit:
                raise CudaFault(int(self.faults.get(f"{key}_error", OUT_OF_MEMORY)))
            if not pinned and size > self.free_memory:
                raise CudaFault(OUT_OF_MEMORY)
            return self.memory.allocate(size, pinned) if size else 0

    def free(self, address: int, pinned: bool) -> None:
        """Waits for the device first, as the real calls do."""
        if not address:
            return
        self.unsafe_call()
        self.synchronize()
        with self.lock:
            try:
                self.memory.free(address, pinned)
            except Violation as violation:
                self.violate(str(violation))
                raise CudaFault(INVALID_VALUE) from None

    def device_bytes(self, address: int, size: int) -> Bytes:
        """For a kernel: a wrong address is the device's fault, and sticky."""
        with self.lock:
            try:
                return self.memory.find(address, size)
            except Violation as violation:
                self.violate(str(violation))
                raise DeviceFault(ILLEGAL_ADDRESS) from None

    def bytes_for_copy(self, address: int, size: int, side: str) -> Bytes:
        """`side` is device, host or any. Raises CudaFault where the address cannot be what the copy's kind says."""
        with self.lock:
            block: Block | None = self.memory.block_of(address)
            try:
                if side == "device" and (block is None or block.pinned):
                    raise Violation(f"copy: {address:#x} is not device memory (freed, or never allocated)")
                if side == "host" and block is not None and not block.pinned:
                    raise Violation(f"copy: {address:#x} is device memory, not the host's")
                if block is None and self.memory.was_freed(address):
                    raise Violation(f"copy: {address:#x} was freed")
                return host_bytes(address, size) if block is None else self.memory.find(address, size)
            except Violation as violation:
                self.violate(str(violation))
                raise CudaFault(INVALID_VALUE) from None

    def is_pageable(self, address: int) -> bool:
        with self.lock:
            return self.memory.block_of(address) is None

    def was_freed(self, address: int) -> bool:
        with self.lock:
            return self.memory.was_freed(address)

    # --- streams ---

    def stream(self, handle: int) -> Stream:
        with self.lock:
            if handle not in self.streams:
                self.violate(f"use of stream {handle:#x}, which does not exist")
                raise CudaFault(INVALID_HANDLE)
            return self.streams[handle]

    def enqueue(self, stream: Stream, operation: Operation) -> None:
        if stream.capture is not None:
            self._check_capture(stream.capture)
            stream.capture.operations.append(operation)
            return
        self.check_sharing(stream, operation)
        stream.queue.append(operation)
        if self.faults.get("stream", "lazy") == "eager":
            self.wait(stream)

    def wait(self, stream: Stream, until: Operation | None = None) -> None:
        """Raises CudaFault with what went wrong in the stream."""
        stream.drain(until)
        code = stream.take_error()
        self.fail(code)
        if self.sticky or code:
            raise CudaFault(self.sticky or code)

    def synchronize(self) -> None:
        """Every stream. An error that is not sticky stays with its stream's user."""
        with self.lock:
            streams = list(self.streams.values())
        for stream in streams:
            stream.drain()
            self.fail(stream.error)
        if self.sticky:
            raise CudaFault(self.sticky)

    def check_sharing(self, stream: Stream, operation: Operation) -> None:
        """Two executions at once must share neither their context nor its scratch memory."""
        if operation.owner is None and operation.scratch is None:
            return
        with self.lock:
            others = [other for other in self.streams.values() if other is not stream]
        for pending in (task for other in others for task in other.pending()):
            if pending.owner is not None and pending.owner is operation.owner:
                self.violate("one context is enqueued on two streams at once")
            if pending.scratch and operation.scratch and _overlap(pending.scratch, operation.scratch):
                self.violate("two executions at once share scratch memory")

    # --- capture ---

    def unsafe_call(self) -> None:
        """A call that a capture under way forbids: it fails, and it spoils the capture."""
        with self.lock:
            captures = [stream.capture for stream in self.streams.values() if stream.capture]
        me = threading.get_ident()
        hit = [c for c in captures if c.mode == GLOBAL or (c.mode == THREAD_LOCAL and c.thread == me)]
        if hit:
            for capture in hit:
                capture.invalidated = True
            raise CudaFault(CAPTURE_UNSUPPORTED)

    def spoil(self, stream: Stream) -> None:
        """A call on a capturing stream that cannot be captured."""
        if stream.capture is not None:
            stream.capture.invalidated = True
            raise CudaFault(CAPTURE_UNSUPPORTED)

    def begin_capture(self, stream: Stream, mode: int) -> None:
        if stream.handle in (0, 1):
            raise CudaFault(CAPTURE_UNSUPPORTED)
        if stream.capture is not None:
            raise CudaFault(ILLEGAL_STATE)
        stream.capture = Capture(mode, threading.get_ident())

    def end_capture(self, stream: Stream) -> Graph:
        capture = stream.capture
        if capture is None:
            raise CudaFault(ILLEGAL_STATE)
        if capture.mode != RELAXED and capture.thread != threading.get_ident():
            raise CudaFault(WRONG_THREAD)
        stream.capture = None
        if capture.invalidated:
            raise CudaFault(CAPTURE_INVALIDATED)
        graph = Graph(capture.operations)
        with self.lock:
            self.graphs[graph.handle] = graph
        return graph

    @staticmethod
    def _check_capture(capture: Capture) -> None:
        if capture.invalidated:
            raise CudaFault(CAPTURE_INVALIDATED)

    # --- what is left ---

    def held(self) -> dict[str, int]:
        """What nobody freed. Empty values are left out."""
        with self.lock:
            left = {
                "device_bytes": self.memory.device_bytes,
                "device_blocks": sum(not block.pinned for block in self.memory.blocks.values()),
                "pinned_bytes": self.memory.pinned_bytes,
                "pinned_blocks": sum(block.pinned for block in self.memory.blocks.values()),
                "streams": len(self.streams) - 3,
                "events": len(self.events),
                "graphs": len(self.graphs),
                "executables": len(self.executables),
                **self.objects,
            }
        return {what: number for what, number in left.items() if number}

    def report(self) -> dict[str, Any]:
        return {
            "pid": os.getpid(),
            "time": time.time(),
            "held": self.held(),
            "violations": list(self.violations),
            "counts": dict(self.counts),
            "sticky": self.sticky,
        }


def _overlap(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] < other[1] and other[0] < one[1]


machine = Machine()


@atexit.register
def _write_report() -> None:
    name = machine.faults.get("report", "")
    if name:
        with Path(name).open("a", encoding="utf-8") as file:
            file.write(json.dumps(machine.report()) + "\n")
