"""TensorRT behind the port: a plan, and a pool of lanes that run it.

    infer -> take the lane that was used last -> split above the top bucket -> Lane.infer -> copy out -> give back

Lanes are shed when the device has no memory: a batch that meets CUDA error 2 is the next link's, and the lane it ran in
is closed unless it is the last. Closing waits for the batches that run.
"""

import logging
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from modelyard.backends.base import BackendUnavailable, DeviceLost, OutOfMemory
from modelyard.backends.engine import cuda, library, shapes
from modelyard.backends.engine.lane import Lane, Loaded
from modelyard.backends.engine.slot import Port
from modelyard.errors import ConfigurationError
from modelyard.spec import BackendSpec, ModelSpec, TensorSpec
from modelyard.tensors import DTYPES, Array

log = logging.getLogger("modelyard.backends")


class PlanRefused(BackendUnavailable):
    """This plan is of no use here (another TensorRT, another GPU, damage): delete it and build a new one."""


class TensorRtBackend:
    def __init__(self, plan: bytes, spec: ModelSpec, backend: BackendSpec) -> None:
        """Raises BackendUnavailable, PlanRefused, OutOfMemory; ConfigurationError when model.yaml says otherwise."""
        self.name: str = backend.name
        self.precision: str = backend.precision
        self._model = spec.name
        self._batched = spec.batched
        self._buckets = shapes.buckets(spec)
        self._outputs = {tensor.name: position for position, tensor in enumerate(spec.outputs)}
        self._plan_bytes = len(plan)
        self._changed = threading.Condition()
        self._count = 0
        """Lanes that are open, idle or not."""
        self._idle: list[Lane] = []
        self._closed = self._lost = False
        loaded = _load(plan, spec, backend)
        self._lane_bytes = 0
        try:
            while self._count < backend.lanes and self._add_lane(loaded):
                pass
        except BaseException:
            self.close()
            raise

    @property
    def lanes(self) -> int:
        """Batches that can be on the device at once."""
        return self._count

    @property
    def memory_bytes(self) -> int:
        """On the device: buffers and scratch of the lanes, and the weights, taken to be as large as the plan."""
        return self._lane_bytes * self._count + self._plan_bytes

    def infer(self, inputs: Sequence[Array], outputs: Sequence[str]) -> list[Array]:
        """Raises OutsideProfile, OutOfMemory, DeviceLost, RuntimeError."""
        wanted = [self._outputs[name] for name in outputs]
        lane = self._take()
        try:
            results = self._run(lane, inputs, wanted)
        except OutOfMemory:
            self._shed(lane)
            raise
        except BaseException as error:
            self._lost = self._lost or isinstance(error, DeviceLost)
            self._give(lane)
            raise
        self._give(lane)
        return results

    def warm(self) -> dict[int, float]:
        """Run every bucket in every lane. Gives the seconds of a run by bucket. Raises as `infer` does."""
        with self._changed:
            lanes = [self._idle.pop() for _ in range(len(self._idle))]
        seconds: dict[int, float] = {}
        while lanes:
            lane = lanes.pop()
            try:
                seconds = self._warm(lane)
            except BaseException:
                for other in lanes:
                    self._give(other)
                raise
        return seconds

    def close(self) -> None:
        """Wait for the batches that run, then free all. Batches that wait for a lane are refused."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: len(self._idle) == self._count)
            lanes, self._idle, self._count = self._idle, [], 0
        while lanes:
            lanes.pop().close()

    def _warm(self, lane: Lane) -> dict[int, float]:
        try:
            seconds = lane.warm()
        except OutOfMemory:
            if self._shed(lane):
                return {}
            raise
        except BaseException:
            self._give(lane)
            raise
        self._give(lane)
        return seconds

    def _run(self, lane: Lane, inputs: Sequence[Array], wanted: Sequence[int]) -> list[Array]:
        """Views of the lane's memory are copied here, since the next batch overwrites them."""
        if not self._batched:
            return [view[0].copy() for view in lane.infer(0, inputs, 1, wanted)]
        rows, buckets = inputs[0].shape[0], self._buckets
        if rows <= buckets[-1]:
            bucket = shapes.bucket_of(buckets, rows)
            return [view.copy() for view in lane.infer(bucket, inputs, rows, wanted)]
        results: list[Array] = []
        for start, stop in shapes.split(rows, buckets[-1]):
            part = [array[start:stop] for array in inputs]
            views = lane.infer(shapes.bucket_of(buckets, stop - start), part, stop - start, wanted)
            results = results or [np.empty((rows, *view.shape[1:]), view.dtype) for view in views]
            for result, view in zip(results, views, strict=True):
                result[start:stop] = view
        return results

    def _take(self) -> Lane:
        with self._changed:
            while not (self._idle or self._closed or self._lost):
                self._changed.wait()
            if self._lost:
                raise DeviceLost("the CUDA context of this process is dead")
            if self._closed:
                raise BackendUnavailable("tensorrt is closed")
            return self._idle.pop()

    def _give(self, lane: Lane) -> None:
        with self._changed:
            self._idle.append(lane)
            if self._closed or self._lost:
                self._changed.notify_all()
            else:
                self._changed.notify()

    def _shed(self, lane: Lane) -> bool:
        """Give back a lane that met an error for want of memory, or close it when it is not the last: True."""
        with self._changed:
            shed = self._count > 1
            if shed:
                self._count -= 1
                self._changed.notify_all()
        if shed:
            log.warning("%s: no device memory: %d lanes are left", self._model, self._count)
            lane.close()
        else:
            self._give(lane)
        return shed

    def _add_lane(self, loaded: Loaded) -> bool:
        """False: there is no memory for one more, and there is one already."""
        try:
            lane = Lane(loaded)
        except OutOfMemory as error:
            if not self._count:
                raise
            log.warning("%s: no device memory for more than %d lanes (%s)", self._model, self._count, str(error))
            return False
        self._idle.append(lane)
        self._lane_bytes = lane.device_bytes
        self._count += 1
        return True


def _load(plan: bytes, spec: ModelSpec, backend: BackendSpec) -> Loaded:
    profiles = shapes.profiles(spec, backend)
    trt = library.load()
    cuda.require_device()
    journal = library.Journal()
    heard = library.logger(trt, journal)
    library.load_plugins(trt, heard)
    engine = trt.Runtime(heard).deserialize_cuda_engine(plan)
    if engine is None:
        problem = journal.fault("read the plan")
        raise problem if isinstance(problem, OutOfMemory) else PlanRefused(str(problem))
    if engine.num_optimization_profiles != len(profiles):
        raise PlanRefused(f"the plan has {engine.num_optimization_profiles} profiles, {len(profiles)} are asked for")
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    modes = {name: engine.get_tensor_mode(name) for name in names}
    for name in names:
        if engine.get_tensor_location(name) != trt.TensorLocation.DEVICE:
            raise BackendUnavailable(f"tensor '{name}' decides on shapes, which lanes do not support")
    inputs, more = _ports(engine, "input", spec.inputs, [n for n in names if modes[n] == trt.TensorIOMode.INPUT])
    if more:
        raise ConfigurationError(
            f"the engine needs the inputs {[p.name for p in more]}, which model.yaml does not list"
        )
    outputs, more = _ports(engine, "output", spec.outputs, [n for n in names if modes[n] == trt.TensorIOMode.OUTPUT])
    free = shapes.has_free_dimensions(spec)
    return Loaded(trt, engine, journal, profiles, inputs, outputs + more, free, threading.Lock())


def _ports(
    engine: Any, what: str, declared: Sequence[TensorSpec], real: Sequence[str]
) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
    """Those of model.yaml, and those that the engine has beside them: an output that nobody reads needs memory too."""
    for tensor in declared:
        found = _datatype(engine, tensor.name) if tensor.name in real else "none"
        if found != tensor.datatype:
            raise ConfigurationError(
                f"model.yaml says {what} '{tensor.name}' is {tensor.datatype}, the engine has {found}"
            )
    names = {tensor.name for tensor in declared}
    more = [Port(name, DTYPES[_datatype(engine, name)], declared=False) for name in real if name not in names]
    return tuple(Port(tensor.name, DTYPES[tensor.datatype]) for tensor in declared), tuple(more)


def _datatype(engine: Any, name: str) -> str:
    """The protocol's name. Raises BackendUnavailable for a type that it has no name for."""
    found = engine.get_tensor_dtype(name).name
    for datatype, of_tensorrt in shapes.TYPES.items():
        if of_tensorrt == found:
            return datatype
    raise BackendUnavailable(f"tensor '{name}' is {found} in the engine, for which there is no datatype")
