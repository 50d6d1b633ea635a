"""One run of an engine in a stream: from the addresses through the model to the addresses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tests.fakes.fakegpu.inject import Injected, inject, spoil
from tests.fakes.fakegpu.machine import machine
from tests.fakes.fakegpu.streams import DeviceFault

if TYPE_CHECKING:
    from tests.fakes.faketrt.compute import Model
    from tests.fakes.faketrt.context import State

SCRATCH_BYTE = 0xA5
SCRATCH_WRITTEN = 2**20


@dataclass(slots=True, frozen=True)
class Execution:
    model: Model
    state: State
    version: int | None
    """The context's version at capture; None for what was enqueued directly."""
    shapes: Mapping[str, tuple[int, ...]]
    addresses: Mapping[str, int]
    scratch: tuple[int, int]

    def run(self) -> None:
        """Raises DeviceFault."""
        self._check_context()
        try:
            inject("execute")
        except Injected as fault:
            raise DeviceFault(int(fault.code)) from None
        feed = {name: self._input(name) for name in self.model.inputs}
        machine.device_bytes(*self.scratch)[:SCRATCH_WRITTEN] = SCRATCH_BYTE
        wrong = machine.faults.get("wrong_answers", False)
        for name, array in self.model.run(feed).items():
            raw = spoil(array, wrong).reshape(-1).view(np.uint8)
            if raw.nbytes:
                machine.device_bytes(self.addresses[name], raw.nbytes)[:] = raw
        machine.tally("executions")

    def _check_context(self) -> None:
        if not self.state.alive:
            machine.violate("a graph was launched after the context that it was captured from had gone")
            raise DeviceFault(700)
        if self.version is not None and self.version != self.state.version:
            machine.violate("a graph was launched after its context had been given other shapes")
            raise DeviceFault(700)

    def _input(self, name: str) -> npt.NDArray[Any]:
        dtype, shape = self.model.inputs[name], self.shapes[name]
        size = dtype.itemsize
        for length in shape:
            size *= length
        return machine.device_bytes(self.addresses[name], size).copy().view(dtype).reshape(shape)
