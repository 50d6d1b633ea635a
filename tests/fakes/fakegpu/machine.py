"""The device as one process sees it: what the calls of all fakes act upon.

    cuda call -> Machine: sticky error? capture? -> memory, streams -> a value, or CudaFault(code)

A machine outlives no process, as a CUDA context does not. `report()` says what is still held and what was done wrong.
"""

import atexit
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from tests.fakes.fakegpu.errors import ILLEGAL_ADDRESS, INVALID_VALUE, OUT_OF_MEMORY
from tests.fakes.fakegpu.memory import Block, Bytes, Violation, host_bytes
from tests.fakes.fakegpu.state import CudaFault
from tests.fakes.fakegpu.streams import DeviceFault
from tests.fakes.fakegpu.work import StreamCalls


class MemoryCalls(StreamCalls):
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

    def release(self, address: int) -> None:
        """Free device memory without the checks of a call: a destructor may run at any moment, and at the very end."""
        if not sys.is_finalizing():
            with self.lock:
                if address in self.memory.blocks:
                    self.memory.free(address, pinned=False)

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


class Machine(MemoryCalls):
    """All of it, and what is left in the end."""

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


machine = Machine()


@atexit.register
def _write_report() -> None:
    name = machine.faults.get("report", "")
    if name:
        with Path(name).open("a", encoding="utf-8") as file:
            file.write(json.dumps(machine.report()) + "\n")


__all__ = ["CudaFault", "Machine", "machine"]
