"""Streams, events and graphs."""

# ruff: noqa: N802, N803
# (the names are NVIDIA's)

import time
from typing import Any

from tests.fakes.cuda.bindings.calls import gives, plain, pointer
from tests.fakes.cuda.bindings.enums import cudaStreamCaptureMode, cudaStreamCaptureStatus
from tests.fakes.cuda.bindings.handles import cudaEvent_t, cudaGraph_t, cudaGraphExec_t, cudaStream_t
from tests.fakes.fakegpu.errors import INVALID_HANDLE, INVALID_VALUE, NOT_READY
from tests.fakes.fakegpu.machine import CudaFault, machine
from tests.fakes.fakegpu.streams import Event, Graph, Operation, Stream

DISABLE_TIMING = 2


def _new_stream() -> cudaStream_t:
    stream = Stream()
    with machine.lock:
        machine.streams[stream.handle] = stream
    return cudaStream_t(stream.handle)


@gives
def cudaStreamCreate() -> cudaStream_t:
    return _new_stream()


@gives
def cudaStreamCreateWithFlags(flags: int) -> cudaStream_t:
    if flags not in (0, 1):
        raise CudaFault(INVALID_VALUE)
    return _new_stream()


@gives
def cudaStreamCreateWithPriority(flags: int, priority: int) -> cudaStream_t:
    if flags not in (0, 1):
        raise CudaFault(INVALID_VALUE)
    return _new_stream()


@plain
def cudaStreamDestroy(stream: Any) -> None:
    """What is in the stream is still done, as on a real device."""
    on = machine.stream(pointer(stream))
    if on.handle in (0, 1, 2):
        raise CudaFault(INVALID_HANDLE)
    machine.wait(on)
    with machine.lock:
        del machine.streams[on.handle]


@plain
def cudaStreamSynchronize(stream: Any) -> None:
    on = machine.stream(pointer(stream))
    machine.spoil(on)
    machine.wait(on)


@plain
def cudaStreamQuery(stream: Any) -> None:
    on = machine.stream(pointer(stream))
    machine.spoil(on)
    _query(on)


def _query(on: Stream) -> None:
    """Says that it is not ready once, so that a caller's waiting is tried, and gets on with the work."""
    if not on.busy:
        return
    if not machine.faults.part("execute").get("hang"):
        machine.wait(on)
    raise CudaFault(NOT_READY)


# --- events ---


def _event(handle: Any) -> Event:
    with machine.lock:
        event = machine.events.get(pointer(handle))
    if event is None:
        machine.violate(f"use of event {pointer(handle):#x}, which does not exist")
        raise CudaFault(INVALID_HANDLE)
    return event


@gives
def cudaEventCreate() -> cudaEvent_t:
    return _new_event(0)


@gives
def cudaEventCreateWithFlags(flags: int) -> cudaEvent_t:
    return _new_event(flags)


def _new_event(flags: int) -> cudaEvent_t:
    event = Event(timing=not flags & DISABLE_TIMING)
    with machine.lock:
        machine.events[event.handle] = event
    return cudaEvent_t(event.handle)


@plain
def cudaEventDestroy(event: Any) -> None:
    gone = _event(event)
    with machine.lock:
        del machine.events[gone.handle]


@plain
def cudaEventRecord(event: Any, stream: Any) -> None:
    on, recorded = machine.stream(pointer(stream)), _event(event)

    def passed() -> None:
        recorded.passed_at, recorded.stream = time.monotonic(), None

    recorded.mark = Operation("event", passed)
    recorded.stream, recorded.passed_at = on, None
    machine.enqueue(on, recorded.mark)


@plain
def cudaEventSynchronize(event: Any) -> None:
    _finish(_event(event))


def _finish(event: Event) -> None:
    stream = event.stream
    if stream is not None:
        machine.wait(stream, event.mark)


@plain
def cudaEventQuery(event: Any) -> None:
    machine.unsafe_call()
    waited = _event(event)
    if waited.stream is None:
        return
    if not machine.faults.part("execute").get("hang"):
        _finish(waited)
    raise CudaFault(NOT_READY)


@gives
def cudaEventElapsedTime(start: Any, end: Any) -> float:
    """Milliseconds."""
    first, second = _event(start), _event(end)
    if not (first.timing and second.timing):
        raise CudaFault(INVALID_HANDLE)
    if first.stream is not None or second.stream is not None:
        raise CudaFault(NOT_READY)
    if first.passed_at is None or second.passed_at is None:
        raise CudaFault(INVALID_HANDLE)
    return (second.passed_at - first.passed_at) * 1e3


@plain
def cudaStreamWaitEvent(stream: Any, event: Any, flags: int) -> None:
    on, waited = machine.stream(pointer(stream)), _event(event)
    machine.enqueue(on, Operation("wait", lambda: _finish(waited)))


# --- graphs ---


@plain
def cudaStreamBeginCapture(stream: Any, mode: cudaStreamCaptureMode) -> None:
    machine.begin_capture(machine.stream(pointer(stream)), int(mode))


@gives
def cudaStreamEndCapture(stream: Any) -> cudaGraph_t:
    return cudaGraph_t(machine.end_capture(machine.stream(pointer(stream))).handle)


@gives
def cudaStreamIsCapturing(stream: Any) -> cudaStreamCaptureStatus:
    capture = machine.stream(pointer(stream)).capture
    if capture is None:
        return cudaStreamCaptureStatus.cudaStreamCaptureStatusNone
    if capture.invalidated:
        return cudaStreamCaptureStatus.cudaStreamCaptureStatusInvalidated
    return cudaStreamCaptureStatus.cudaStreamCaptureStatusActive


def _graph(handle: Any, among: dict[int, Graph], what: str) -> Graph:
    with machine.lock:
        graph = among.get(pointer(handle))
    if graph is None:
        machine.violate(f"use of {what} {pointer(handle):#x}, which does not exist")
        raise CudaFault(INVALID_VALUE)
    return graph


@gives
def cudaGraphInstantiate(graph: Any, flags: int) -> cudaGraphExec_t:
    source = _graph(graph, machine.graphs, "graph")
    executable = Graph(list(source.operations))
    with machine.lock:
        machine.executables[executable.handle] = executable
    return cudaGraphExec_t(executable.handle)


@plain
def cudaGraphUpload(graphExec: Any, stream: Any) -> None:
    machine.stream(pointer(stream))
    _graph(graphExec, machine.executables, "executable graph")


@plain
def cudaGraphLaunch(graphExec: Any, stream: Any) -> None:
    on = machine.stream(pointer(stream))
    executable = _graph(graphExec, machine.executables, "executable graph")
    machine.tally("graph_launches")
    for operation in executable.operations:
        machine.enqueue(on, operation)


@plain
def cudaGraphDestroy(graph: Any) -> None:
    gone = _graph(graph, machine.graphs, "graph")
    with machine.lock:
        del machine.graphs[gone.handle]


@plain
def cudaGraphExecDestroy(graphExec: Any) -> None:
    gone = _graph(graphExec, machine.executables, "executable graph")
    with machine.lock:
        del machine.executables[gone.handle]
