"""What the file of faults says of one run on the device: wait, hang, fail, or answer wrongly."""

import time
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.fakes.fakegpu.machine import machine

HANG_STEP = 0.02


class Injected(Exception):
    """The run is to fail: with a cudaError_t, or with a word."""

    def __init__(self, code: int | str) -> None:
        super().__init__(code)
        self.code = code


def inject(part: str) -> None:
    """Raises Injected. A hang lasts until the file says otherwise."""
    call = machine.faults.count(part)
    fault = machine.faults.part(part)
    time.sleep(float(fault.get("seconds", 0.0)))
    while machine.faults.part(part).get("hang"):
        time.sleep(HANG_STEP)
    first = int(fault.get("from_call", 1))
    last = first + int(fault["times"]) if "times" in fault else None
    error = fault.get("error")
    if error and call >= first and (last is None or call < last):
        raise Injected(int(error) if str(error).isdigit() else str(error))


def spoil(array: npt.NDArray[Any], wrong: object) -> npt.NDArray[Any]:
    """Wrong answers: "nan", or true for numbers that are off by one."""
    if not wrong or array.dtype == object:
        return array
    if wrong == "nan" and np.issubdtype(array.dtype, np.floating):
        return np.full_like(array, np.nan)
    return np.asarray(~array if array.dtype == np.bool_ else array + np.ones((), array.dtype))
