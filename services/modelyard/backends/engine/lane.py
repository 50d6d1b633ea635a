"""A lane: a stream, pinned and device buffers, and a slot for each bucket. It serves one batch at a time.

    Lane.infer -> the bucket's slot, with a graph                  all shapes but the batch are fixed
               -> a slot for these very shapes, with a graph       shapes vary, and these came often enough
               -> the bucket's slot, set to the shapes, no graph   else

All slots of a lane share its buffers and its scratch memory, since only one runs at a time: a bucket more costs a
context, not memory for its activations.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np

from modelyard.backends.base import OutOfMemory
from modelyard.backends.engine.cuda import DeviceBuffer, HostBuffer, Stream
from modelyard.backends.engine.library import Journal
from modelyard.backends.engine.shapes import UNBATCHED, Profile
from modelyard.backends.engine.slot import Pin, Port, Slot
from modelyard.tensors import Array, Shape

log = logging.getLogger("modelyard.backends")

GRAPH_AFTER = 3
"""Batches of one set of shapes before it gets a context and a graph of its own: that takes longer than a run."""
MAX_GRAPHS = 16
"""Sets of shapes with a graph in a lane, beside the buckets: each holds device memory."""
MAX_COUNTED = 4096
"""Sets of shapes that are counted before counting starts anew."""


@dataclass(frozen=True)
class Loaded:
    """An engine and what all its lanes share."""

    trt: Any
    engine: Any
    journal: Journal
    profiles: tuple[Profile, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    """Those of model.yaml, in its order, come first."""
    free_dimensions: bool
    """Do shapes vary beyond the batch?"""
    opening: Lock
    """Contexts are made one at a time: TensorRT does not say that an engine makes them from several threads."""


class Lane:
    def __init__(self, loaded: Loaded) -> None:
        """Raises OutOfMemory; BackendUnavailable when an output's size cannot be known."""
        self._loaded = loaded
        self._inputs: list[Pin] = []
        self._outputs: list[Pin] = []
        self._scratch: DeviceBuffer | None = None
        self._slots: list[Slot] = []
        self._hot: dict[tuple[int, tuple[Shape, ...]], Slot] = {}
        self._seen: Counter[tuple[int, tuple[Shape, ...]]] = Counter()
        self._max_graphs = MAX_GRAPHS
        self._stream = Stream()
        try:
            self._allocate()
        except BaseException:
            self.close()
            raise

    @property
    def device_bytes(self) -> int:
        """What this lane itself allocated: buffers and scratch, without what TensorRT keeps for a context."""
        scratch = self._scratch.nbytes if self._scratch else 0
        return scratch + sum(pin.device.nbytes for pin in (*self._inputs, *self._outputs))

    def infer(self, bucket: int, arrays: Sequence[Array], rows: int, wanted: Sequence[int]) -> list[Array]:
        """Run `rows` rows, 1 for a model without batches, in the bucket of this index.

        The outputs are views that hold until the next run. Raises OutsideProfile, OutOfMemory, DeviceLost.
        """
        slot = self._slots[bucket]
        if self._loaded.free_dimensions:
            slot = self._slot_for(bucket, arrays)
        elif not slot.prepared:
            slot.prepare()
        return slot.run(arrays, rows, wanted)

    def warm(self) -> dict[int, float]:
        """Run every bucket, on zeros of the best shapes. Gives the seconds of the second run by bucket."""
        seconds: dict[int, float] = {}
        everything = range(sum(port.declared for port in self._loaded.outputs))
        for index, profile in enumerate(self._loaded.profiles):
            shapes = [port.opt for port in profile.inputs]
            ports = self._loaded.inputs
            arrays = [np.zeros(shape, port.dtype) for shape, port in zip(shapes, ports, strict=True)]
            self.infer(index, arrays, profile.rows or 1, everything)
            began = time.perf_counter()
            self.infer(index, arrays, profile.rows or 1, everything)
            seconds[profile.rows] = time.perf_counter() - began
        return seconds

    def close(self) -> None:
        """Free all, in the order in which it depends on each other. Nothing may run in this lane."""
        self._stream.settle()
        for slot in (*self._hot.values(), *self._slots):
            slot.close()
        self._hot.clear()
        self._slots.clear()
        for pin in (*self._inputs, *self._outputs):
            pin.free()
        if self._scratch:
            self._scratch.free()
        self._stream.free()

    def _allocate(self) -> None:
        loaded = self._loaded
        sizes = []
        for index, profile in enumerate(loaded.profiles):
            self._slots.append(self._open(index))
            largest = [port.max for port in profile.inputs]
            sizes.append(self._slots[index].measure(loaded.inputs, loaded.outputs, largest))
        largest_of = [max(of_profiles) for of_profiles in zip(*sizes, strict=True)]
        for place, port in enumerate((*loaded.inputs, *loaded.outputs)):
            pins = self._inputs if place < len(loaded.inputs) else self._outputs
            pins.append(_pin(port, largest_of[place]))
        self._scratch = DeviceBuffer(max(_scratch_bytes(loaded.engine, index) for index in range(len(sizes))))
        for pin in self._inputs:
            self._stream.zero(pin.device.address, pin.device.nbytes)  # the first run must not meet a wild index
        self._stream.synchronize()
        for slot, profile in zip(self._slots, loaded.profiles, strict=True):
            slot.bind(self._scratch)
            if not loaded.free_dimensions:
                slot.fit(tuple(port.opt for port in profile.inputs))

    def _open(self, index: int) -> Slot:
        """A slot with a context of this profile, which has no memory yet."""
        loaded = self._loaded
        with loaded.opening:
            context = _make_context(loaded.trt, loaded.engine)
            if context is None:
                raise loaded.journal.fault("make an execution context")
            if not context.set_optimization_profile_async(index, self._stream.handle):
                raise loaded.journal.fault(f"choose profile {index}")
        self._stream.synchronize()
        rows = loaded.profiles[index].rows
        return Slot(context, rows, self._stream, self._inputs, self._outputs, loaded.journal)

    def _slot_for(self, bucket: int, arrays: Sequence[Array]) -> Slot:
        """The slot for these shapes, filled up to the bucket."""
        profile = self._loaded.profiles[bucket]
        rows = () if profile.rows == UNBATCHED else (profile.rows,)
        shapes = tuple([(*rows, *array.shape[len(rows) :]) for array in arrays])
        key = (bucket, shapes)
        slot = self._hot.get(key)
        if slot is not None:
            return slot
        profile.check(shapes)
        if len(self._seen) >= MAX_COUNTED:
            self._seen.clear()
        self._seen[key] += 1
        if self._seen[key] >= GRAPH_AFTER and len(self._hot) < self._max_graphs:
            slot = self._open_hot(bucket, shapes)
            if slot is not None:
                self._hot[key] = slot
                return slot
        slot = self._slots[bucket]
        slot.fit(shapes)
        return slot

    def _open_hot(self, bucket: int, shapes: tuple[Shape, ...]) -> Slot | None:
        """A captured slot for shapes that come often; None when there is no memory for one more."""
        try:
            slot = self._open(bucket)
            try:
                if self._scratch is not None:
                    slot.bind(self._scratch)
                slot.fit(shapes)
                slot.prepare()
            except BaseException:
                slot.close()
                raise
        except OutOfMemory as error:
            log.warning("no memory for one more CUDA graph after %d: %s", len(self._hot), str(error))
            self._max_graphs = len(self._hot)
            return None
        return slot


def _make_context(trt: Any, engine: Any) -> Any:
    """A context whose scratch memory is ours to give."""
    strategies = getattr(trt, "ExecutionContextAllocationStrategy", None)
    make: Callable[..., Any]
    if strategies is None:  # before TensorRT 10
        make = engine.create_execution_context_without_device_memory
        return make()
    make = engine.create_execution_context
    return make(strategies.USER_MANAGED)


def _scratch_bytes(engine: Any, index: int) -> int:
    for name in ("get_device_memory_size_for_profile_v2", "get_device_memory_size_for_profile"):  # from 10.1; from 10.0
        if hasattr(engine, name):
            return int(getattr(engine, name)(index))
    return int(engine.device_memory_size)


def _pin(port: Port, nbytes: int) -> Pin:
    device = DeviceBuffer(max(nbytes, 1))
    try:
        return Pin(port, device, HostBuffer(nbytes if port.declared else 0))
    except BaseException:
        device.free()
        raise
