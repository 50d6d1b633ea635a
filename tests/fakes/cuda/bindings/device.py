"""Calls about the device, its errors and its memory."""

# ruff: noqa: N802, N803
# (the names are NVIDIA's)

from typing import Any

from tests.fakes.cuda.bindings.calls import SUCCESS, as_size, gives, gives_two, last, plain, pointer
from tests.fakes.cuda.bindings.enums import cudaDeviceAttr, cudaError_t, cudaMemoryType
from tests.fakes.cuda.bindings.handles import cudaDeviceProp, cudaPointerAttributes
from tests.fakes.fakegpu.errors import INVALID_DEVICE, INVALID_VALUE, describe
from tests.fakes.fakegpu.machine import CudaFault, machine

ATTRIBUTES = {
    cudaDeviceAttr.cudaDevAttrMaxThreadsPerBlock: 1024,
    cudaDeviceAttr.cudaDevAttrMultiProcessorCount: 132,
    cudaDeviceAttr.cudaDevAttrCanMapHostMemory: 1,
    cudaDeviceAttr.cudaDevAttrUnifiedAddressing: 1,
    cudaDeviceAttr.cudaDevAttrMemoryPoolsSupported: 1,
}


def _check_device_number(device: int) -> None:
    if not 0 <= device < int(machine.faults.get("devices", 1)):
        raise CudaFault(INVALID_DEVICE)


def _compute() -> tuple[int, int]:
    major, minor = machine.faults.get("compute", [9, 0])
    return int(major), int(minor)


@gives
def cudaGetDeviceCount() -> int:
    return int(machine.faults.get("devices", 1))


@gives
def cudaGetDevice() -> int:
    return 0


@plain
def cudaSetDevice(device: int) -> None:
    _check_device_number(device)


@gives
def cudaGetDeviceProperties(device: int) -> cudaDeviceProp:
    _check_device_number(device)
    properties = cudaDeviceProp()
    properties.name = str(machine.faults.get("name", "NVIDIA Fake 10")).encode()
    properties.major, properties.minor = _compute()
    properties.totalGlobalMem = machine.total_memory
    properties.multiProcessorCount = ATTRIBUTES[cudaDeviceAttr.cudaDevAttrMultiProcessorCount]
    return properties


@gives
def cudaDeviceGetAttribute(attr: cudaDeviceAttr, device: int) -> int:
    _check_device_number(device)
    major, minor = _compute()
    if attr == cudaDeviceAttr.cudaDevAttrComputeCapabilityMajor:
        return major
    if attr == cudaDeviceAttr.cudaDevAttrComputeCapabilityMinor:
        return minor
    return ATTRIBUTES.get(attr, 0)


def cudaDriverGetVersion() -> tuple[cudaError_t, int]:
    """0 without a driver; it asks for no device."""
    return SUCCESS, int(machine.faults.get("driver_version", 13010)) if machine.has_driver else 0


def cudaRuntimeGetVersion() -> tuple[cudaError_t, int]:
    return SUCCESS, int(machine.faults.get("runtime_version", 13050))


@plain
def cudaDeviceSynchronize() -> None:
    machine.unsafe_call()
    machine.synchronize()


@plain
def cudaSetDeviceFlags(flags: int) -> None:
    if flags < 0:
        raise OverflowError("can't convert negative value to unsigned int")


# --- errors ---


def cudaGetLastError() -> tuple[cudaError_t]:
    """The thread's last error, which is then forgotten unless it is sticky."""
    error = machine.sticky or last.error
    last.error = 0
    return (cudaError_t(error),)


def cudaPeekAtLastError() -> tuple[cudaError_t]:
    return (cudaError_t(machine.sticky or last.error),)


def cudaGetErrorName(error: cudaError_t) -> tuple[cudaError_t, bytes]:
    return SUCCESS, cudaError_t(error).name.encode()


def cudaGetErrorString(error: cudaError_t) -> tuple[cudaError_t, bytes]:
    return SUCCESS, describe(int(error)).encode()


# --- memory ---


@gives_two
def cudaMemGetInfo() -> tuple[int, int]:
    return machine.free_memory, machine.total_memory


@gives
def cudaMalloc(size: int) -> int:
    return machine.allocate(as_size(size), pinned=False)


@plain
def cudaFree(devPtr: Any) -> None:
    machine.free(pointer(devPtr), pinned=False)


@gives
def cudaMallocHost(size: int) -> int:
    return machine.allocate(as_size(size), pinned=True)


@gives
def cudaHostAlloc(size: int, flags: int) -> int:
    if flags & ~7:
        raise CudaFault(INVALID_VALUE)
    return machine.allocate(as_size(size), pinned=True)


@plain
def cudaFreeHost(ptr: Any) -> None:
    machine.free(pointer(ptr), pinned=True)


@gives
def cudaPointerGetAttributes(ptr: Any) -> cudaPointerAttributes:
    address = pointer(ptr)
    attributes = cudaPointerAttributes()
    with machine.lock:
        block = machine.memory.block_of(address)
    if block is not None:
        attributes.type = cudaMemoryType.cudaMemoryTypeHost if block.pinned else cudaMemoryType.cudaMemoryTypeDevice
        attributes.device, attributes.devicePointer = 0, address
        attributes.hostPointer = address if block.pinned else 0
    return attributes
