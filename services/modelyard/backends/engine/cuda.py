"""The CUDA runtime through cuda-python: the only file that knows its names. Memory is freed when it is told, not later.

    array -> HostBuffer (pinned) -> upload -> DeviceBuffer -> Graph -> DeviceBuffer -> download -> HostBuffer

Every call is checked. An error is OutOfMemory (2), DeviceLost (sticky: the context is dead for this process) or
CudaError. From cuda-bindings 12.9.1 on every call releases the interpreter's lock.
"""

import ctypes
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from modelyard.backends.base import CUDA_OUT_OF_MEMORY, BackendUnavailable, DeviceLost, OutOfMemory, is_sticky
from modelyard.tensors import Array

log = logging.getLogger("modelyard.backends")

NO_DRIVER, NO_DEVICE = 35, 100


class CudaError(Exception):
    """Any error that leaves the context alive. `code` is that of cudaError_t."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Properties:
    """Device 0: CUDA_VISIBLE_DEVICES says which one that is."""

    name: str
    compute_capability: tuple[int, int]
    memory_bytes: int
    driver: int
    """1000 * major + 10 * minor of the CUDA that the driver supports."""
    runtime: int


def runtime() -> Any:
    """cuda.bindings.runtime. Raises BackendUnavailable when it is not installed."""
    try:
        from cuda.bindings import runtime as bindings  # noqa: PLC0415  # a machine without a GPU need not have it
    except ImportError as error:
        raise BackendUnavailable(f"cuda-python is not installed ({error})") from None
    return bindings


def fault(error: Any) -> Exception:
    """The exception of a cudaError_t."""
    code = int(error)
    text = f"CUDA error {code} ({_name(error)})"
    if code == CUDA_OUT_OF_MEMORY:
        return OutOfMemory(text)
    return DeviceLost(text) if is_sticky(code) else CudaError(code, text)


def call(function: Callable[..., Any], *arguments: Any) -> Any:
    """The value of a call, a tuple of several. Raises what `fault` makes of an error."""
    error, *values = function(*arguments)
    if error:
        raise fault(error)
    return values[0] if len(values) == 1 else tuple(values)


def device_count() -> int:
    """Raises CudaError with code NO_DRIVER or NO_DEVICE where there is none. Safe without a driver."""
    return int(call(runtime().cudaGetDeviceCount))


def require_device() -> None:
    """Raises BackendUnavailable without a device: TensorRT would end the process."""
    try:
        count = device_count()
    except CudaError as error:
        reasons = {NO_DRIVER: "no NVIDIA driver, or one that is too old", NO_DEVICE: "no NVIDIA device"}
        raise BackendUnavailable(reasons.get(error.code, str(error))) from None
    if count == 0:
        raise BackendUnavailable("no NVIDIA device")


def properties() -> Properties:
    cuda = runtime()
    device = call(cuda.cudaGetDeviceProperties, 0)
    name = device.name.decode() if isinstance(device.name, bytes) else str(device.name)
    return Properties(
        name.rstrip("\0"),
        (int(device.major), int(device.minor)),
        int(device.totalGlobalMem),
        int(call(cuda.cudaDriverGetVersion)),
        int(call(cuda.cudaRuntimeGetVersion)),
    )


def memory() -> tuple[int, int]:
    """Bytes free and in all on the device, whoever uses them."""
    free, total = call(runtime().cudaMemGetInfo)
    return int(free), int(total)


class DeviceBuffer:
    """Bytes on the device, which hold anything at first. Raises OutOfMemory."""

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes
        self._cuda = runtime()
        self.address = int(call(self._cuda.cudaMalloc, nbytes)) if nbytes else 0

    def free(self) -> None:
        address, self.address = self.address, 0
        if address:
            _release(self._cuda.cudaFree, address)


class HostBuffer:
    """Pinned bytes on the host, which the device reads and writes by itself. `array` must not outlive `free`."""

    def __init__(self, nbytes: int) -> None:
        self._cuda = runtime()
        self.address = int(call(self._cuda.cudaHostAlloc, max(nbytes, 1), self._cuda.cudaHostAllocDefault))
        self.array: Array = np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(self.address))

    def free(self) -> None:
        address, self.address = self.address, 0
        if address:
            self.array = np.empty(0, np.uint8)
            _release(self._cuda.cudaFreeHost, address)


class Graph:
    """A captured graph, ready for Stream.launch."""

    def __init__(self, cuda: Any, captured: Any) -> None:
        self._cuda = cuda
        try:
            self.executable: Any = call(cuda.cudaGraphInstantiate, captured, 0)
        finally:
            _release(cuda.cudaGraphDestroy, captured)

    def free(self) -> None:
        executable, self.executable = self.executable, None
        if executable is not None:
            _release(self._cuda.cudaGraphExecDestroy, executable)


class Stream:
    """A stream of its own: it does not wait for the default stream, nor that one for it."""

    def __init__(self) -> None:
        self._cuda = cuda = runtime()
        self._stream: Any = call(cuda.cudaStreamCreateWithFlags, cuda.cudaStreamNonBlocking)
        self.handle = _handle(self._stream)
        """The address, for libraries that take a number."""
        self._to_device = cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._to_host = cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        # Looked up once: these run for every batch.
        self._copy, self._set = cuda.cudaMemcpyAsync, cuda.cudaMemsetAsync
        self._launch, self._synchronize = cuda.cudaGraphLaunch, cuda.cudaStreamSynchronize

    def upload(self, device: int, host: int, nbytes: int) -> None:
        """Raises what `fault` makes of an error, as all of these."""
        (error,) = self._copy(device, host, nbytes, self._to_device, self._stream)
        if error:
            raise fault(error)

    def download(self, host: int, device: int, nbytes: int) -> None:
        (error,) = self._copy(host, device, nbytes, self._to_host, self._stream)
        if error:
            raise fault(error)

    def zero(self, device: int, nbytes: int) -> None:
        (error,) = self._set(device, 0, nbytes, self._stream)
        if error:
            raise fault(error)

    def launch(self, graph: Graph) -> None:
        (error,) = self._launch(graph.executable, self._stream)
        if error:
            raise fault(error)

    def synchronize(self) -> None:
        """Wait for all that was given to this stream; other threads go on meanwhile."""
        (error,) = self._synchronize(self._stream)
        if error:
            raise fault(error)

    def settle(self) -> None:
        """After a failure: nothing of this stream touches the buffers any more. Raises nothing."""
        self._synchronize(self._stream)

    def capture(self, enqueue: Callable[[], bool]) -> Graph:
        """What `enqueue` gives to this stream, as a graph; it is not run. Raises RuntimeError where it cannot be one.

        Only this thread is held to the rules of a capture: another may allocate meanwhile.
        """
        cuda = self._cuda
        call(cuda.cudaStreamBeginCapture, self._stream, cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal)
        done = False
        try:
            done = enqueue()
        finally:
            error, captured = cuda.cudaStreamEndCapture(self._stream)
            if not error and not done:
                _release(cuda.cudaGraphDestroy, captured)
            if not is_sticky(int(error)):
                cuda.cudaGetLastError()  # a refused capture must not be taken for a failure of the next call
        if error:
            problem = fault(error)
            raise RuntimeError(str(problem)) if isinstance(problem, CudaError) else problem
        if not done:
            raise RuntimeError("the work was refused while it was captured")
        return Graph(cuda, captured)

    def free(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            _release(self._cuda.cudaStreamSynchronize, stream)
            _release(self._cuda.cudaStreamDestroy, stream)


def _release(function: Callable[..., Any], argument: Any) -> None:
    """Freeing raises nothing: on a dead context all of it fails, and the process is about to end."""
    error = function(argument)[0]
    if error:
        log.debug("%s: CUDA error %s", getattr(function, "__name__", "free"), int(error))


def _handle(stream: Any) -> int:
    try:
        from cuda.bindings.utils import get_cuda_native_handle  # noqa: PLC0415  # as above; older bindings lack it
    except ImportError:
        return int(stream)
    return int(get_cuda_native_handle(stream))


def _name(error: Any) -> str:
    name = runtime().cudaGetErrorName(error)[1]
    return name.decode() if isinstance(name, bytes) else str(name)
