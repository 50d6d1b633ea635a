"""Graphs: what is captured does not run, and what cannot be captured spoils the capture."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from tests.fakes.cuda.bindings import runtime
from tests.unit.fakes.device import SUCCESS, TO_DEVICE, Device, given

MODES = runtime.cudaStreamCaptureMode
THREAD_LOCAL, GLOBAL = MODES.cudaStreamCaptureModeThreadLocal, MODES.cudaStreamCaptureModeGlobal
UNSUPPORTED = runtime.cudaError_t.cudaErrorStreamCaptureUnsupported
INVALIDATED = runtime.cudaError_t.cudaErrorStreamCaptureInvalidated
STATUS = runtime.cudaStreamCaptureStatus


def captured(device: Device, memory: int, value: int) -> runtime.cudaGraphExec_t:
    stream = device.stream()
    assert runtime.cudaStreamBeginCapture(stream, THREAD_LOCAL) == SUCCESS
    assert runtime.cudaMemsetAsync(memory, value, 4, stream) == SUCCESS
    graph = given(runtime.cudaStreamEndCapture(stream))
    executable: runtime.cudaGraphExec_t = given(runtime.cudaGraphInstantiate(graph, 0))
    assert runtime.cudaGraphDestroy(graph) == SUCCESS
    return executable


def test_a_graph_is_replayed_as_often_as_it_is_launched(device: Device) -> None:
    memory, stream = device.allocate(4), device.stream()
    executable = captured(device, memory, 9)
    assert device.read(memory, 4).tolist() == [0xCD] * 4, "capturing runs nothing"
    for _ in range(2):
        runtime.cudaMemset(memory, 0, 4)
        assert runtime.cudaGraphLaunch(executable, stream) == SUCCESS
        assert runtime.cudaStreamSynchronize(stream) == SUCCESS
        assert device.read(memory, 4).tolist() == [9] * 4
    assert runtime.cudaGraphExecDestroy(executable) == SUCCESS
    assert device.machine.counts["graph_launches"] == 2


def test_a_destroyed_graph_cannot_be_launched(device: Device) -> None:
    executable = captured(device, device.allocate(4), 1)
    assert runtime.cudaGraphExecDestroy(executable) == SUCCESS
    assert runtime.cudaGraphLaunch(executable, device.stream())[0] == runtime.cudaError_t.cudaErrorInvalidValue
    assert "executable graph" in device.machine.violations[0]


def test_a_graph_that_outlives_its_memory_is_an_illegal_access(device: Device) -> None:
    memory = device.allocate(4)
    executable, stream = captured(device, memory, 1), device.stream()
    assert runtime.cudaFree(memory) == SUCCESS
    assert runtime.cudaGraphLaunch(executable, stream) == SUCCESS, "nobody knows yet"
    assert runtime.cudaStreamSynchronize(stream)[0] == runtime.cudaError_t.cudaErrorIllegalAddress
    assert runtime.cudaMalloc(1)[0] == runtime.cudaError_t.cudaErrorIllegalAddress, "sticky"
    assert "freed" in device.machine.violations[0]


def test_synchronizing_a_capturing_stream_spoils_it(device: Device) -> None:
    stream = device.stream()
    runtime.cudaStreamBeginCapture(stream, THREAD_LOCAL)
    assert runtime.cudaStreamIsCapturing(stream)[1] == STATUS.cudaStreamCaptureStatusActive
    assert runtime.cudaStreamSynchronize(stream) == (UNSUPPORTED,)
    assert runtime.cudaStreamIsCapturing(stream)[1] == STATUS.cudaStreamCaptureStatusInvalidated
    assert runtime.cudaStreamEndCapture(stream) == (INVALIDATED, None)
    assert runtime.cudaStreamIsCapturing(stream)[1] == STATUS.cudaStreamCaptureStatusNone
    assert runtime.cudaStreamSynchronize(stream) == SUCCESS, "the stream is good again"


@pytest.mark.parametrize(("mode", "answer"), [(THREAD_LOCAL, 0), (GLOBAL, 900)])
def test_another_thread_spoils_a_global_capture_alone(
    device: Device, mode: runtime.cudaStreamCaptureMode, answer: int
) -> None:
    stream, answers = device.stream(), []
    runtime.cudaStreamBeginCapture(stream, mode)
    thread = threading.Thread(target=lambda: answers.append(runtime.cudaMalloc(8)[0]))
    thread.start()
    thread.join(10)
    assert answers == [answer]
    assert runtime.cudaStreamEndCapture(stream)[0] == (INVALIDATED if answer else 0)


def test_an_allocation_by_the_capturing_thread_spoils_it(device: Device) -> None:
    stream = device.stream()
    runtime.cudaStreamBeginCapture(stream, THREAD_LOCAL)
    assert runtime.cudaMalloc(8) == (UNSUPPORTED, None)
    assert runtime.cudaStreamEndCapture(stream)[0] == INVALIDATED


def test_pageable_memory_cannot_be_captured(device: Device) -> None:
    stream, memory = device.stream(), device.allocate(4)
    runtime.cudaStreamBeginCapture(stream, THREAD_LOCAL)
    assert runtime.cudaMemcpyAsync(memory, np.zeros(4, np.uint8), 4, TO_DEVICE, stream) == (UNSUPPORTED,)
    assert runtime.cudaStreamEndCapture(stream)[0] == INVALIDATED


def test_a_capture_is_begun_once_and_ended_once(device: Device) -> None:
    stream = device.stream()
    illegal = runtime.cudaError_t.cudaErrorIllegalState
    assert runtime.cudaStreamEndCapture(stream)[0] == illegal
    assert runtime.cudaStreamBeginCapture(stream, THREAD_LOCAL) == SUCCESS
    assert runtime.cudaStreamBeginCapture(stream, THREAD_LOCAL)[0] == illegal
    assert runtime.cudaStreamBeginCapture(0, THREAD_LOCAL)[0] == UNSUPPORTED, "not on the default stream"


def test_a_capture_is_ended_by_the_thread_that_began_it(device: Device) -> None:
    stream, answers = device.stream(), []
    runtime.cudaStreamBeginCapture(stream, THREAD_LOCAL)
    thread = threading.Thread(target=lambda: answers.append(runtime.cudaStreamEndCapture(stream)[0]))
    thread.start()
    thread.join(10)
    assert answers == [runtime.cudaError_t.cudaErrorStreamCaptureWrongThread]
