"""Copies between memories, done at once or in their stream's turn.

pinned or device memory -> read when the stream comes to it
pageable source         -> read at the call, as the real runtime stages it
pageable target         -> the call waits for the stream
"""

# ruff: noqa: N802, N803
# (the names are NVIDIA's)

from typing import Any

from tests.fakes.cuda.bindings.calls import as_size, plain, pointer
from tests.fakes.cuda.bindings.enums import cudaMemcpyKind
from tests.fakes.fakegpu.errors import ILLEGAL_ADDRESS, INVALID_DIRECTION
from tests.fakes.fakegpu.machine import CudaFault, machine
from tests.fakes.fakegpu.memory import Bytes
from tests.fakes.fakegpu.streams import DeviceFault, Operation

SIDES = {
    cudaMemcpyKind.cudaMemcpyHostToHost: ("host", "host"),
    cudaMemcpyKind.cudaMemcpyHostToDevice: ("device", "host"),
    cudaMemcpyKind.cudaMemcpyDeviceToHost: ("host", "device"),
    cudaMemcpyKind.cudaMemcpyDeviceToDevice: ("device", "device"),
    cudaMemcpyKind.cudaMemcpyDefault: ("any", "any"),
}


def _ends(dst: Any, src: Any, count: int, kind: int) -> tuple[Bytes, Bytes]:
    try:
        to, of = SIDES[cudaMemcpyKind(kind)]
    except ValueError:
        raise CudaFault(INVALID_DIRECTION) from None
    return machine.bytes_for_copy(pointer(dst), count, to), machine.bytes_for_copy(pointer(src), count, of)


@plain
def cudaMemcpy(dst: Any, src: Any, count: int, kind: cudaMemcpyKind) -> None:
    machine.unsafe_call()
    if not as_size(count):
        return
    machine.synchronize()
    target, source = _ends(dst, src, count, kind)
    target[:] = source


@plain
def cudaMemcpyAsync(dst: Any, src: Any, count: int, kind: cudaMemcpyKind, stream: Any) -> None:
    on = machine.stream(pointer(stream))
    if not as_size(count):
        return
    target, source = _ends(dst, src, count, kind)
    to, of = pointer(dst), pointer(src)
    if on.capture is not None and (machine.is_pageable(to) or machine.is_pageable(of)):
        machine.spoil(on)
    if machine.is_pageable(of):
        source = source.copy()
        machine.tally("pageable_copies")

    def run() -> None:
        for address in (to, of):
            if machine.was_freed(address):
                machine.violate(f"a copy of {count} bytes ran after {address:#x} was freed")
                raise DeviceFault(ILLEGAL_ADDRESS)
        target[:] = source

    machine.enqueue(on, Operation("copy", run))
    if machine.is_pageable(to):
        machine.tally("pageable_copies")
        machine.wait(on)


@plain
def cudaMemset(devPtr: Any, value: int, count: int) -> None:
    machine.unsafe_call()
    machine.synchronize()
    if as_size(count):
        machine.bytes_for_copy(pointer(devPtr), count, "device")[:] = value & 0xFF


@plain
def cudaMemsetAsync(devPtr: Any, value: int, count: int, stream: Any) -> None:
    on = machine.stream(pointer(stream))
    if not as_size(count):
        return
    address = pointer(devPtr)
    machine.bytes_for_copy(address, count, "device")

    def run() -> None:
        machine.device_bytes(address, count)[:] = value & 0xFF

    machine.enqueue(on, Operation("memset", run))
