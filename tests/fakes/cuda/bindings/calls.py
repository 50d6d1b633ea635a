"""How every call of the fake runtime goes: checks first, an answer as a tuple with its error in front.

call -> driver? sticky error? -> body -> (cudaSuccess, value)
                                    \\-> CudaFault(code) -> (that error, None), and the thread's last error
"""

import functools
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from tests.fakes.cuda.bindings.enums import cudaError_t
from tests.fakes.fakegpu.errors import NO_DEVICE, NO_DRIVER
from tests.fakes.fakegpu.machine import CudaFault, machine

P = ParamSpec("P")
T = TypeVar("T")
U = TypeVar("U")

HANG_STEP = 0.02
SUCCESS = cudaError_t.cudaSuccess


class _Last(threading.local):
    error = 0


last = _Last()


def check_device() -> None:
    """What every call meets first. Raises CudaFault."""
    if machine.faults.get("probe_crash", False):
        os.kill(os.getpid(), signal.SIGSEGV)
    while machine.faults.get("probe_hang", False):
        time.sleep(HANG_STEP)
    if not machine.has_driver:
        raise CudaFault(NO_DRIVER)
    if machine.sticky:
        raise CudaFault(machine.sticky)
    if int(machine.faults.get("devices", 1)) < 1:
        raise CudaFault(NO_DEVICE)


def _attempt(name: str, body: Callable[[], T]) -> tuple[cudaError_t, T | None]:
    machine.tally(name)
    try:
        check_device()
        forced = machine.faults.part("calls").get(name)
        if forced:
            machine.fail(int(forced))
            raise CudaFault(int(forced))
        return SUCCESS, body()
    except CudaFault as fault:
        last.error = fault.code
        return cudaError_t(fault.code), None


def plain(body: Callable[P, None]) -> Callable[P, tuple[cudaError_t]]:
    """A call that gives nothing but its error."""

    @functools.wraps(body)
    def call(*args: P.args, **kwargs: P.kwargs) -> tuple[cudaError_t]:
        return (_attempt(body.__name__, lambda: body(*args, **kwargs))[0],)

    return call


def gives(body: Callable[P, T]) -> Callable[P, tuple[cudaError_t, T | None]]:
    @functools.wraps(body)
    def call(*args: P.args, **kwargs: P.kwargs) -> tuple[cudaError_t, T | None]:
        return _attempt(body.__name__, lambda: body(*args, **kwargs))

    return call


def gives_two(body: Callable[P, tuple[T, U]]) -> Callable[P, tuple[cudaError_t, T | None, U | None]]:
    @functools.wraps(body)
    def call(*args: P.args, **kwargs: P.kwargs) -> tuple[cudaError_t, T | None, U | None]:
        error, values = _attempt(body.__name__, lambda: body(*args, **kwargs))
        return (error, None, None) if values is None else (error, *values)

    return call


def pointer(value: Any) -> int:
    """An address comes as an integer, as None, or as an object with the buffer protocol. Raises TypeError."""
    if value is None:
        return 0
    if isinstance(value, (str, float)):
        raise TypeError(
            f"Provided argument is of type {type(value)} but expected Type None, int or object with Buffer Protocol"
        )
    if hasattr(value, "__int__") and not hasattr(value, "shape"):
        return int(value)
    if hasattr(value, "ctypes"):
        return int(value.ctypes.data)
    import ctypes  # noqa: PLC0415  (rare: bytes and memoryviews)

    view = memoryview(value)
    return ctypes.addressof(ctypes.c_char.from_buffer(view)) if not view.readonly else _readonly(value)


def _readonly(value: Any) -> int:
    import numpy as np  # noqa: PLC0415  (rare)

    return int(np.frombuffer(value, np.uint8).ctypes.data)


def as_size(value: int) -> int:
    """Raises as Cython does for a size_t."""
    if not hasattr(value, "__index__"):
        raise TypeError("an integer is required")
    if value < 0:
        raise OverflowError("can't convert negative value to size_t")
    return int(value)
