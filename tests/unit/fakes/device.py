"""The fake device within the process of a test: what to say to it, and what its memory holds."""

from __future__ import annotations

import ctypes
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.fakes.cuda.bindings import runtime
from tests.fakes.fakegpu.machine import machine

Array = npt.NDArray[Any]
SUCCESS = (runtime.cudaError_t.cudaSuccess,)
TO_DEVICE = runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
TO_HOST = runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost


class Device:
    def __init__(self, file: Path) -> None:
        self.file = file
        self.machine = machine
        self.set()

    def set(self, **faults: Any) -> None:
        draft = self.file.with_suffix(".draft")
        draft.write_text(json.dumps(faults))
        draft.replace(self.file)

    def stream(self) -> runtime.cudaStream_t:
        stream: runtime.cudaStream_t = given(runtime.cudaStreamCreateWithFlags(runtime.cudaStreamNonBlocking))
        return stream

    def allocate(self, size: int) -> int:
        return int(given(runtime.cudaMalloc(size)))

    def pinned(self, size: int) -> tuple[int, Array]:
        """The address, and the same memory as an array of bytes."""
        address = given(runtime.cudaHostAlloc(size, 0))
        return address, np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))

    def read(self, address: int, size: int) -> Array:
        out = np.zeros(size, np.uint8)
        assert runtime.cudaMemcpy(out, address, size, TO_HOST) == SUCCESS
        return out


def given(answer: tuple[Any, Any]) -> Any:
    """The value of a call that has to succeed."""
    error, value = answer
    assert error == runtime.cudaError_t.cudaSuccess
    return value
