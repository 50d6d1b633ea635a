"""Memory of the fake device: host memory that is looked up, fenced and counted.

    allocate(size) -> address          [ block, filled with 0xCD ][ fence ]
    find(address, size) -> the block, or a Violation that says whose fault it is

A freed block is overwritten and kept for a while, so that its address is not given out again at once: who still uses
it is found out.
"""

import ctypes
from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

ALIGNMENT = 512
FENCE = 256
FENCE_BYTE, FRESH_BYTE, FREED_BYTE = 0xFE, 0xCD, 0xDD
FILL_LIMIT = 16 * 2**20
"""Larger blocks (a workspace of gigabytes) are not written, so that they cost no real memory."""
QUARANTINE = 64 * 2**20

Bytes = npt.NDArray[np.uint8]


class Violation(Exception):
    """A use of memory that a real device may answer with anything, from an error to another's data."""


@dataclass(slots=True)
class Block:
    address: int
    size: int
    pinned: bool
    raw: Bytes

    @property
    def end(self) -> int:
        return self.address + self.size

    def view(self, start: int, size: int) -> Bytes:
        first = start - self.raw.ctypes.data
        return self.raw[first : first + size]


class Memory:
    """Not thread-safe: the machine holds its lock."""

    def __init__(self) -> None:
        self.blocks: dict[int, Block] = {}
        self.freed: deque[Block] = deque()
        self.device_bytes = 0
        self.pinned_bytes = 0
        self.device_allocations = 0
        """Ever made."""
        self.pinned_allocations = 0

    def allocate(self, size: int, pinned: bool) -> int:
        raw: Bytes = np.empty(size + ALIGNMENT + FENCE, np.uint8)
        start = -raw.ctypes.data % ALIGNMENT
        if size <= FILL_LIMIT:
            raw[start : start + size] = FRESH_BYTE
        raw[start + size : start + size + FENCE] = FENCE_BYTE
        block = Block(raw.ctypes.data + start, size, pinned, raw)
        self.blocks[block.address] = block
        if pinned:
            self.pinned_bytes += size
            self.pinned_allocations += 1
        else:
            self.device_bytes += size
            self.device_allocations += 1
        return block.address

    def free(self, address: int, pinned: bool) -> None:
        """Raises Violation for what was never allocated, was freed before, or was written past its end."""
        what = "pinned" if pinned else "device"
        block = self.blocks.get(address)
        if block is None or block.pinned != pinned:
            raise Violation(f"free of {self._say(address)} as {what} memory")
        del self.blocks[address]
        if pinned:
            self.pinned_bytes -= block.size
        else:
            self.device_bytes -= block.size
        broken = bool((block.view(block.end, FENCE) != FENCE_BYTE).any())
        self._keep(block)
        if broken:
            raise Violation(f"{what} memory of {block.size} bytes at {address:#x} was written past its end")

    def find(self, address: int, size: int) -> Bytes:
        """The bytes at `address`, device or pinned. Raises Violation where they are not all of one live block."""
        block = self.block_of(address)
        if block is None:
            raise Violation(f"access to {self._say(address)}")
        if address + size > block.end:
            raise Violation(
                f"access to {size} bytes at {address:#x}: that block of {block.size} bytes ends after "
                f"{block.end - address}"
            )
        return block.view(address, size)

    def block_of(self, address: int) -> Block | None:
        exact = self.blocks.get(address)
        if exact is not None:
            return exact
        return next((block for block in list(self.blocks.values()) if block.address <= address < block.end), None)

    def was_freed(self, address: int) -> bool:
        return any(block.address <= address < max(block.end, block.address + 1) for block in list(self.freed))

    def _keep(self, block: Block) -> None:
        if block.size > FILL_LIMIT:  # its addresses may soon be somebody else's
            return
        block.raw[:] = FREED_BYTE
        self.freed.append(block)
        while len(self.freed) > 1 and sum(old.raw.nbytes for old in self.freed) > QUARANTINE:
            self.freed.popleft()

    def _say(self, address: int) -> str:
        if address in self.blocks:
            return f"{'pinned' if self.blocks[address].pinned else 'device'} memory {address:#x}"
        if self.was_freed(address):
            return f"freed memory {address:#x}"
        if self.block_of(address) is not None:
            return f"{address:#x}, the midst of a block"
        return f"unknown memory {address:#x}"


def host_bytes(address: int, size: int) -> Bytes:
    """Pageable memory of this process, which nobody checks."""
    if size == 0:
        return np.empty(0, np.uint8)
    return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))
