"""The CUDA runtime behind one file: every error has its class, every byte is given back."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pytest

from modelyard.backends.base import BackendUnavailable, DeviceLost, OutOfMemory
from modelyard.backends.engine import cuda
from modelyard.backends.engine.cuda import CudaError, DeviceBuffer, HostBuffer, Stream
from tests.unit.conftest import Gpu


class TestWithoutDriver:
    """Against NVIDIA's own bindings, where this machine has no driver."""

    @pytest.fixture(autouse=True)
    def no_driver(self) -> None:
        runtime = importlib.import_module("cuda.bindings.runtime")
        if int(runtime.cudaGetDeviceCount()[0]) != cuda.NO_DRIVER:
            pytest.skip("there is a driver here")

    def test_counting_devices_says_so_and_does_not_crash(self) -> None:
        with pytest.raises(CudaError, match=r"35.*InsufficientDriver") as caught:
            cuda.device_count()
        assert caught.value.code == cuda.NO_DRIVER

    def test_the_reason_is_in_plain_words(self) -> None:
        with pytest.raises(BackendUnavailable, match="no NVIDIA driver"):
            cuda.require_device()

    def test_nothing_can_be_made(self) -> None:
        makers: list[Any] = [Stream, cuda.properties, cuda.memory, partial(DeviceBuffer, 8), partial(HostBuffer, 8)]
        for make in makers:
            with pytest.raises(CudaError):
                make()

    def test_every_name_exists_in_the_real_bindings(self) -> None:
        """The fake may have what NVIDIA's has not: all that the file names is looked up here."""
        names = set(re.findall(r"\bcuda\.(cuda\w+)", inspect.getsource(cuda)))
        assert len(names) > 15
        assert [name for name in sorted(names) if not hasattr(cuda.runtime(), name)] == []


def test_without_the_bindings_the_backend_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(BackendUnavailable, match="cuda-python is not installed"):
        cuda.require_device()


def test_without_a_device_the_reason_is_in_plain_words(gpu: Gpu) -> None:
    gpu.set(devices=0)
    with pytest.raises(BackendUnavailable, match="no NVIDIA device"):
        cuda.require_device()


def test_the_device_is_described(gpu: Gpu) -> None:
    gpu.set(name="NVIDIA Fake 10", compute=[9, 0], memory_bytes=2**30)
    found = cuda.properties()
    assert (found.name, found.compute_capability, found.memory_bytes) == ("NVIDIA Fake 10", (9, 0), 2**30)
    buffer = DeviceBuffer(1000)
    free, total = cuda.memory()
    assert (total, total - free) == (2**30, 1000)
    buffer.free()


@pytest.mark.parametrize(
    ("code", "kind"), [(2, OutOfMemory), (700, DeviceLost), (719, DeviceLost), (999, DeviceLost), (1, CudaError)]
)
def test_every_error_has_its_class(gpu: Gpu, code: int, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=f"CUDA error {code} .cudaError"):
        raise cuda.fault(cuda.runtime().cudaError_t(code))


def test_bytes_go_to_the_device_and_back(gpu: Gpu) -> None:
    stream, host, device = Stream(), HostBuffer(64), DeviceBuffer(64)
    host.array[:] = np.arange(64)
    stream.upload(device.address, host.address, 64)
    stream.zero(device.address + 32, 32)
    stream.synchronize()
    host.array[:] = 0xFF
    stream.download(host.address, device.address, 64)
    stream.synchronize()
    assert host.array.tolist() == [*range(32), *[0] * 32]
    for thing in (stream, host, device):
        thing.free()


def test_freeing_twice_is_freeing_once(gpu: Gpu) -> None:
    things: list[Any] = [Stream(), HostBuffer(0), HostBuffer(8), DeviceBuffer(8), DeviceBuffer(0)]
    for thing in things + things:
        thing.free()


def test_a_capture_records_and_does_not_run(gpu: Gpu) -> None:
    stream, device, host = Stream(), DeviceBuffer(8), HostBuffer(8)
    host.array[:] = 7
    stream.upload(device.address, host.address, 8)
    stream.synchronize()

    def clear() -> bool:
        stream.zero(device.address, 8)
        return True

    graph = stream.capture(clear)
    stream.download(host.address, device.address, 8)
    stream.synchronize()
    assert host.array.tolist() == [7] * 8
    stream.launch(graph)
    stream.download(host.address, device.address, 8)
    stream.synchronize()
    assert host.array.tolist() == [0] * 8
    for thing in (graph, stream, device, host):
        thing.free()


def test_a_capture_that_fails_leaves_the_stream_as_it_was(gpu: Gpu) -> None:
    stream, buffers = Stream(), []

    def allocate() -> bool:
        buffers.append(DeviceBuffer(8))
        return True

    with pytest.raises(CudaError, match="900"):
        stream.capture(allocate)
    with pytest.raises(RuntimeError, match="refused"):
        stream.capture(lambda: False)
    with pytest.raises(ZeroDivisionError):
        stream.capture(lambda: bool(1 // 0))
    graph = stream.capture(lambda: True)
    stream.launch(graph)
    stream.synchronize()
    graph.free()
    stream.free()


def test_another_thread_may_allocate_during_a_capture(gpu: Gpu) -> None:
    stream = Stream()

    def meanwhile() -> bool:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(lambda: DeviceBuffer(8).free()).result()
        return True

    stream.capture(meanwhile).free()
    stream.free()


def test_on_a_dead_context_freeing_raises_nothing(gpu: Gpu) -> None:
    gpu.forgiven = True
    stream, device, host = Stream(), DeviceBuffer(8), HostBuffer(8)
    gpu.machine.fail(700)
    with pytest.raises(DeviceLost):
        stream.synchronize()
    for thing in (stream, device, host):
        thing.free()


def test_no_memory_is_out_of_memory(gpu: Gpu) -> None:
    gpu.set(memory_bytes=1000)
    with pytest.raises(OutOfMemory):
        DeviceBuffer(2000)
    gpu.set(host_malloc_fails_after=0)
    with pytest.raises(OutOfMemory):
        HostBuffer(8)
