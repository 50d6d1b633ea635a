"""Streams and captures as the calls of CUDA see them.

enqueue -> capture under way? -> its graph        no -> the queue of the stream ... wait -> CudaFault, or nothing
"""

import threading

from tests.fakes.fakegpu.errors import (
    CAPTURE_INVALIDATED,
    CAPTURE_UNSUPPORTED,
    ILLEGAL_STATE,
    INVALID_HANDLE,
    WRONG_THREAD,
)
from tests.fakes.fakegpu.state import CudaFault, State
from tests.fakes.fakegpu.streams import Capture, Graph, Operation, Stream

GLOBAL, THREAD_LOCAL, RELAXED = 0, 1, 2


class StreamCalls(State):
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


def _overlap(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] < other[1] and other[0] < one[1]
