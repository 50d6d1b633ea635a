"""Streams: in order and late, so that who does not wait sees old bytes."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from tests.fakes.cuda.bindings import runtime
from tests.unit.fakes.device import SUCCESS, TO_DEVICE, TO_HOST, Device, given

NOT_READY = (runtime.cudaError_t.cudaErrorNotReady,)
BAD_HANDLE = (runtime.cudaError_t.cudaErrorInvalidResourceHandle,)


def test_nothing_runs_before_somebody_waits(device: Device) -> None:
    stream, memory = device.stream(), device.allocate(4)
    address, view = device.pinned(4)
    view[:] = 1
    assert runtime.cudaMemcpyAsync(memory, address, 4, TO_DEVICE, stream) == SUCCESS
    view[:] = 2  # too early: the copy has not happened
    assert runtime.cudaStreamSynchronize(stream) == SUCCESS
    assert device.read(memory, 4).tolist() == [2, 2, 2, 2]


def test_an_eager_stream_runs_at_once(device: Device) -> None:
    device.set(stream="eager")
    stream, memory = device.stream(), device.allocate(4)
    address, view = device.pinned(4)
    view[:] = 1
    runtime.cudaMemcpyAsync(memory, address, 4, TO_DEVICE, stream)
    view[:] = 2
    assert device.read(memory, 4).tolist() == [1, 1, 1, 1]


def test_pageable_memory_is_read_at_the_call_and_waited_for_on_the_way_back(device: Device) -> None:
    stream, memory = device.stream(), device.allocate(4)
    source, target = np.full(4, 7, np.uint8), np.zeros(4, np.uint8)
    runtime.cudaMemcpyAsync(memory, source, 4, TO_DEVICE, stream)
    source[:] = 8
    runtime.cudaMemcpyAsync(target, memory, 4, TO_HOST, stream)
    assert target.tolist() == [7] * 4
    assert device.machine.counts["pageable_copies"] == 2


def test_operations_of_a_stream_run_in_order(device: Device) -> None:
    stream, memory = device.stream(), device.allocate(4)
    for value in (1, 2, 3):
        runtime.cudaMemsetAsync(memory, value, 4, stream)
    assert device.read(memory, 4).tolist() == [3] * 4, "a synchronous copy waits for the device"


def test_a_query_says_once_that_it_is_not_ready(device: Device) -> None:
    stream = device.stream()
    runtime.cudaMemsetAsync(device.allocate(4), 1, 4, stream)
    assert runtime.cudaStreamQuery(stream) == NOT_READY
    assert runtime.cudaStreamQuery(stream) == SUCCESS


def test_freeing_waits_for_the_device(device: Device) -> None:
    stream, memory = device.stream(), device.allocate(4)
    address, view = device.pinned(4)
    runtime.cudaMemsetAsync(memory, 5, 4, stream)
    runtime.cudaMemcpyAsync(address, memory, 4, TO_HOST, stream)
    assert runtime.cudaFree(memory) == SUCCESS
    assert view.tolist() == [5] * 4
    assert not device.machine.violations


def test_a_destroyed_stream_is_known_for_what_it_is(device: Device) -> None:
    stream = device.stream()
    assert runtime.cudaStreamDestroy(stream) == SUCCESS
    assert runtime.cudaStreamSynchronize(stream) == BAD_HANDLE
    assert runtime.cudaStreamDestroy(stream) == BAD_HANDLE
    assert len(device.machine.violations) == 2
    assert not device.machine.held()


def test_events_mark_a_place_in_a_stream(device: Device) -> None:
    stream, memory = device.stream(), device.allocate(4)
    start, end = given(runtime.cudaEventCreate()), given(runtime.cudaEventCreate())
    runtime.cudaEventRecord(start, stream)
    runtime.cudaMemsetAsync(memory, 1, 4, stream)
    runtime.cudaEventRecord(end, stream)
    runtime.cudaMemsetAsync(memory, 2, 4, stream)
    assert runtime.cudaEventElapsedTime(start, end)[0] == runtime.cudaError_t.cudaErrorNotReady
    assert runtime.cudaEventSynchronize(end) == SUCCESS
    assert device.machine.streams[int(stream)].busy, "what comes after the event waits"
    assert given(runtime.cudaEventElapsedTime(start, end)) >= 0
    assert runtime.cudaEventQuery(end) == SUCCESS
    assert runtime.cudaEventDestroy(start) == runtime.cudaEventDestroy(end) == SUCCESS


def test_a_stream_waits_for_an_event_of_another(device: Device) -> None:
    one, other, memory = device.stream(), device.stream(), device.allocate(4)
    event = given(runtime.cudaEventCreateWithFlags(runtime.cudaEventDisableTiming))
    runtime.cudaMemsetAsync(memory, 1, 4, one)
    runtime.cudaEventRecord(event, one)
    runtime.cudaStreamWaitEvent(other, event, 0)
    runtime.cudaMemsetAsync(memory, 2, 4, other)
    assert runtime.cudaStreamSynchronize(other) == SUCCESS
    assert runtime.cudaStreamSynchronize(one) == SUCCESS
    assert device.read(memory, 4).tolist() == [2] * 4


def test_streams_of_two_threads_do_not_wait_for_each_other(device: Device) -> None:
    gate, streams = threading.Barrier(2, timeout=10), (device.stream(), device.stream())

    def work(stream: runtime.cudaStream_t) -> None:
        memory = device.allocate(4)
        for _ in range(200):
            runtime.cudaMemsetAsync(memory, 1, 4, stream)
            assert runtime.cudaStreamSynchronize(stream) == SUCCESS
        gate.wait()

    threads = [threading.Thread(target=work, args=(stream,)) for stream in streams]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert not gate.broken
    assert device.machine.counts["cudaStreamSynchronize"] == 400


@pytest.mark.parametrize("handle", [0, runtime.cudaStream_t(0), None])
def test_the_default_stream_is_always_there(device: Device, handle: object) -> None:
    assert runtime.cudaStreamSynchronize(handle) == SUCCESS
    started = time.monotonic()
    assert runtime.cudaDeviceSynchronize() == SUCCESS
    assert time.monotonic() - started < 5
