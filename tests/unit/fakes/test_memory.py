"""Memory: what the real runtime refuses is refused, and what it lets pass to everybody's harm is found out."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from tests.fakes.cuda.bindings import runtime
from tests.unit.fakes.device import SUCCESS, TO_DEVICE, TO_HOST, Device, given

INVALID = (runtime.cudaError_t.cudaErrorInvalidValue,)
NO_MEMORY = runtime.cudaError_t.cudaErrorMemoryAllocation


def test_bytes_go_to_the_device_and_back(device: Device) -> None:
    address = device.allocate(12)
    assert runtime.cudaMemcpy(address, np.arange(3, dtype=np.float32), 12, TO_DEVICE) == SUCCESS
    assert device.read(address, 12).view(np.float32).tolist() == [0, 1, 2]
    assert runtime.cudaFree(address) == SUCCESS
    assert device.machine.held() == {}
    assert device.machine.violations == []


def test_fresh_memory_holds_garbage(device: Device) -> None:
    assert device.read(device.allocate(4), 4).tolist() == [0xCD] * 4


def test_what_is_held_is_counted(device: Device) -> None:
    device.allocate(1000)
    device.pinned(24)
    device.stream()
    assert device.machine.held() == {
        "device_bytes": 1000,
        "device_blocks": 1,
        "pinned_bytes": 24,
        "pinned_blocks": 1,
        "streams": 1,
    }
    free, total = runtime.cudaMemGetInfo()[1:]
    assert total is not None
    assert free == total - 1000


@pytest.mark.parametrize("what", ["freed", "unknown", "midst", "pinned"])
def test_only_what_was_allocated_can_be_freed(device: Device, what: str) -> None:
    address = device.allocate(64)
    if what == "freed":
        assert runtime.cudaFree(address) == SUCCESS
    wrong = {"freed": address, "unknown": 4096, "midst": address + 8, "pinned": device.pinned(8)[0]}[what]
    assert runtime.cudaFree(wrong) == INVALID
    assert what in device.machine.violations[0]


def test_null_can_be_freed(device: Device) -> None:
    assert runtime.cudaFree(0) == runtime.cudaFreeHost(None) == SUCCESS
    assert not device.machine.violations


def test_a_copy_past_the_end_is_refused(device: Device) -> None:
    address = device.allocate(8)
    assert runtime.cudaMemcpy(address, np.zeros(3, np.float32), 12, TO_DEVICE) == INVALID
    assert "8 bytes" in device.machine.violations[0]


def test_a_copy_from_freed_memory_is_refused(device: Device) -> None:
    address = device.allocate(8)
    assert runtime.cudaFree(address) == SUCCESS
    assert runtime.cudaMemcpy(np.zeros(8, np.uint8), address, 8, TO_HOST) == INVALID
    assert "freed" in device.machine.violations[0]


def test_a_copy_in_the_wrong_direction_is_refused(device: Device) -> None:
    address = device.allocate(8)
    assert runtime.cudaMemcpy(address, np.zeros(8, np.uint8), 8, TO_HOST) == INVALID
    assert device.machine.violations


def test_writing_past_the_end_of_pinned_memory_is_found_when_it_is_freed(device: Device) -> None:
    address, view = device.pinned(4)
    np.lib.stride_tricks.as_strided(view, (5,))[4] = 1
    assert runtime.cudaFreeHost(address) == INVALID
    assert "past its end" in device.machine.violations[0]


def test_freed_memory_holds_garbage(device: Device) -> None:
    address, view = device.pinned(4)
    view[:] = 1
    assert runtime.cudaFreeHost(address) == SUCCESS
    assert view.tolist() == [0xDD] * 4


def test_memory_is_bounded(device: Device) -> None:
    device.set(memory_bytes=100)
    assert runtime.cudaMalloc(101) == (NO_MEMORY, None)
    assert device.allocate(100)
    assert runtime.cudaMalloc(1) == (NO_MEMORY, None)
    assert runtime.cudaGetLastError() == (NO_MEMORY,)
    assert runtime.cudaGetLastError() == SUCCESS, "it is told once"


def test_allocations_fail_after_so_many_since_the_file_changed(device: Device) -> None:
    device.allocate(1)
    device.set(malloc_fails_after=1)
    device.allocate(1)
    assert runtime.cudaMalloc(1)[0] == NO_MEMORY
    device.set(malloc_fails_after=1)
    device.allocate(1)
    device.set(malloc_fails_after=0, malloc_error=700)
    assert runtime.cudaMalloc(1)[0] == 700


def test_pinned_allocations_fail_by_a_key_of_their_own(device: Device) -> None:
    device.set(host_malloc_fails_after=0)
    device.allocate(1)
    assert runtime.cudaHostAlloc(1, 0) == (NO_MEMORY, None)


def test_arguments_are_checked_as_cython_does() -> None:
    with pytest.raises(OverflowError):
        runtime.cudaMalloc(-1)
    with pytest.raises(TypeError):
        runtime.cudaFree("x")
    with pytest.raises(TypeError):
        runtime.cudaMalloc("x")  # type: ignore[arg-type]  # the error is what is tested


def test_properties_and_attributes_come_from_the_file(device: Device) -> None:
    device.set(name="NVIDIA Test", compute=[8, 6], driver_version=12080)
    properties = given(runtime.cudaGetDeviceProperties(0))
    assert (properties.name, properties.major, properties.minor) == (b"NVIDIA Test", 8, 6)
    major = runtime.cudaDeviceAttr.cudaDevAttrComputeCapabilityMajor
    assert runtime.cudaDeviceGetAttribute(major, 0)[1] == 8
    assert runtime.cudaDriverGetVersion()[1] == 12080
    assert runtime.cudaGetDeviceProperties(1) == (runtime.cudaError_t.cudaErrorInvalidDevice, None)


def test_without_a_driver_every_call_says_so_and_does_nothing(device: Device) -> None:
    device.set(driver=False)
    error = runtime.cudaError_t.cudaErrorInsufficientDriver
    assert runtime.cudaGetDeviceCount() == (error, None)
    assert runtime.cudaMemGetInfo() == (error, None, None)
    assert runtime.cudaFree(0) == (error,)
    assert runtime.cudaDriverGetVersion() == (*SUCCESS, 0)
    assert runtime.cudaGetErrorString(error)[1] == b"CUDA driver version is insufficient for CUDA runtime version"


def test_without_a_device_the_count_is_an_error(device: Device) -> None:
    device.set(devices=0)
    assert runtime.cudaGetDeviceCount() == (runtime.cudaError_t.cudaErrorNoDevice, None)


def test_a_named_call_fails_by_the_file(device: Device) -> None:
    device.set(calls={"cudaStreamCreateWithFlags": 2})
    assert runtime.cudaStreamCreateWithFlags(1) == (NO_MEMORY, None)
    assert device.allocate(1)


def test_a_sticky_error_stays_for_every_later_call(device: Device) -> None:
    device.set(calls={"cudaMemGetInfo": 719})
    assert runtime.cudaMemGetInfo()[0] == 719
    device.set()
    assert runtime.cudaMalloc(1) == (runtime.cudaError_t.cudaErrorLaunchFailure, None)
    assert runtime.cudaGetLastError()[0] == runtime.cudaGetLastError()[0] == 719


def test_a_file_that_is_half_written_changes_nothing(device: Device) -> None:
    device.set(devices=3)
    assert runtime.cudaGetDeviceCount()[1] == 3
    device.file.write_text('{"devices": ')
    assert runtime.cudaGetDeviceCount()[1] == 3


@pytest.mark.parametrize("faults", [{"drivers": False}, {"execute": {"errors": 700}}])
def test_a_misspelt_fault_is_an_error(device: Device, faults: dict[str, object]) -> None:
    device.set(**faults)
    with pytest.raises(TypeError, match="errors" if "execute" in faults else "drivers"):
        runtime.cudaGetDeviceCount()


def test_a_probe_hangs_as_long_as_the_file_says_so(device: Device) -> None:
    device.set(probe_hang=True)
    answers: list[object] = []
    thread = threading.Thread(target=lambda: answers.append(runtime.cudaGetDeviceCount()), daemon=True)
    thread.start()
    thread.join(0.2)
    assert thread.is_alive()
    device.set()
    thread.join(10)
    assert answers == [(*SUCCESS, 1)]
