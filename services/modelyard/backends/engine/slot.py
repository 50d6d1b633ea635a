"""One execution context at one set of shapes, and the CUDA graph of its run.

    arrays -> pinned host -> device -> graph (or enqueue) -> device -> pinned host -> views of it

Rows of the bucket that a batch does not fill are zero: what a batch gets never depends on another caller's rows. The
device buffer remembers how much of it is not zero, so that a batch as large as the last one clears nothing.

A context belongs to one graph: a graph holds addresses inside the context, which change with its shapes.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from modelyard.backends.base import BackendUnavailable, OutOfMemory
from modelyard.backends.engine.cuda import DeviceBuffer, Graph, HostBuffer, Stream
from modelyard.backends.engine.library import Journal
from modelyard.backends.engine.shapes import UNBATCHED, OutsideProfile
from modelyard.tensors import Array, Shape

log = logging.getLogger("modelyard.backends")


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of the engine."""

    name: str
    dtype: np.dtype[Any]
    declared: bool = True
    """False: an output that model.yaml does not list. It needs memory on the device, nobody reads it."""

    def nbytes(self, shape: Shape) -> int:
        return prod(shape) * self.dtype.itemsize


@dataclass(slots=True)
class Pin:
    """A port's memory in a lane: fixed addresses, large enough for every bucket."""

    port: Port
    device: DeviceBuffer
    host: HostBuffer
    dirty: int = 0
    """Bytes from the start of the device buffer that may not be zero. Of inputs."""

    def free(self) -> None:
        self.device.free()
        self.host.free()


@dataclass(slots=True)
class _Window:
    """The part of a pin that a slot uses: `view` has the rows in front."""

    pin: Pin
    view: Array
    row_bytes: int
    device: int = field(init=False)
    host: int = field(init=False)

    def __post_init__(self) -> None:
        self.device, self.host = self.pin.device.address, self.pin.host.address


class Slot:
    def __init__(
        self, context: Any, rows: int, stream: Stream, inputs: Sequence[Pin], outputs: Sequence[Pin], journal: Journal
    ) -> None:
        """`rows` is the bucket; the context has its profile. The pins may follow until `bind` is called."""
        self._context, self._rows, self._stream, self._journal = context, rows, stream, journal
        self._pins = (inputs, outputs)
        self._shapes: tuple[Shape, ...] = ()
        self._inputs: list[_Window] = []
        self._outputs: list[_Window] = []
        self._graph: Graph | None = None
        self.prepared = False
        """It has run once, and is captured where that is possible."""

    def measure(self, inputs: Sequence[Port], outputs: Sequence[Port], largest: Sequence[Shape]) -> list[int]:
        """Bytes of every port at the largest shapes of the inputs. Raises BackendUnavailable as `fit` does."""
        for port, shape in zip(inputs, largest, strict=True):
            if not self._context.set_input_shape(port.name, shape):
                raise self._journal.fault(f"take {list(shape)} for input '{port.name}'")
        sizes = [port.nbytes(shape) for port, shape in zip(inputs, largest, strict=True)]
        return sizes + [port.nbytes(self._output_shape(port)) for port in outputs]

    def bind(self, scratch: DeviceBuffer) -> None:
        """Tell the context the addresses of the pins and of its scratch memory."""
        for pin in (*self._pins[0], *self._pins[1]):
            if not self._context.set_tensor_address(pin.port.name, pin.device.address):
                raise self._journal.fault(f"take the address of '{pin.port.name}'")
        if hasattr(self._context, "set_device_memory"):
            self._context.set_device_memory(scratch.address, scratch.nbytes)
        else:
            self._context.device_memory = scratch.address  # before TensorRT 10.1

    def fit(self, shapes: tuple[Shape, ...]) -> None:
        """Set the shapes of the inputs. Raises OutsideProfile; BackendUnavailable when an output's shape is unknown."""
        if shapes == self._shapes:
            return
        inputs, outputs = self._pins
        self._shapes = ()
        self._drop_graph()
        for pin, shape in zip(inputs, shapes, strict=True):
            if not self._context.set_input_shape(pin.port.name, shape):
                self._journal.take()
                raise OutsideProfile(f"the engine does not take {list(shape)} for input '{pin.port.name}'")
        self._inputs = [self._window(pin, shape) for pin, shape in zip(inputs, shapes, strict=True)]
        declared = [pin for pin in outputs if pin.port.declared]
        self._outputs = [self._window(pin, self._output_shape(pin.port)) for pin in declared]
        self._shapes = shapes

    def prepare(self) -> None:
        """Run once, then capture: TensorRT does work at the first run after a change of shape that no graph can hold.

        Where there is no memory for a graph, or the engine has what a graph cannot hold, batches run without one.
        """
        self._enqueue()
        self._stream.synchronize()
        self.prepared = True
        try:
            self._graph = self._stream.capture(lambda: bool(self._context.execute_async_v3(self._stream.handle)))
        except (RuntimeError, OutOfMemory) as error:
            said = self._journal.take()
            log.warning("a batch of %s runs without a CUDA graph: %s %s", self._rows, str(error), said[:300])

    def run(self, arrays: Sequence[Array], rows: int, wanted: Sequence[int]) -> list[Array]:
        """Outputs of these positions for the first `rows` rows, as views that hold until the next run in this lane."""
        stream = self._stream
        try:
            for window, array in zip(self._inputs, arrays, strict=True):
                pin, used = window.pin, rows * window.row_bytes
                dirty, pin.dirty = pin.dirty, max(pin.dirty, used)
                if used:
                    window.view[:rows] = array
                    stream.upload(window.device, window.host, used)
                if dirty > used:
                    stream.zero(window.device + used, dirty - used)
                    pin.dirty = used
            if self._graph is not None:
                stream.launch(self._graph)
            else:
                self._enqueue()
            outputs = [self._outputs[position] for position in wanted]
            for window in outputs:
                if rows and window.row_bytes:
                    stream.download(window.host, window.device, rows * window.row_bytes)
            stream.synchronize()
        except BaseException:
            stream.settle()  # the buffers are used again by the next batch
            raise
        return [window.view[:rows] for window in outputs]

    def close(self) -> None:
        self._drop_graph()
        self._inputs, self._outputs, self._context = [], [], None

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(self._stream.handle):
            self._stream.synchronize()  # raises when the device is what failed
            raise self._journal.fault("run a batch")

    def _window(self, pin: Pin, shape: Shape) -> _Window:
        rows = 1 if self._rows == UNBATCHED else self._rows
        nbytes = pin.port.nbytes(shape)
        view = pin.host.array[:nbytes].view(pin.port.dtype)
        full = (1, *shape) if self._rows == UNBATCHED else shape
        return _Window(pin, view.reshape(full), nbytes // rows)

    def _output_shape(self, port: Port) -> Shape:
        """Of an output once the inputs' shapes are set. Raises BackendUnavailable where no padding could be cut off."""
        shape = tuple(int(size) for size in self._context.get_tensor_shape(port.name))
        if any(size < 0 for size in shape):
            raise BackendUnavailable(f"the size of output '{port.name}' depends on the data: no fixed buffer holds it")
        if self._rows != UNBATCHED and port.declared and shape[:1] != (self._rows,):
            raise BackendUnavailable(
                f"output '{port.name}' has shape {list(shape)} for {self._rows} rows: its first dimension is no batch"
            )
        return shape

    def _drop_graph(self) -> None:
        graph, self._graph, self.prepared = self._graph, None, False
        if graph is not None:
            graph.free()
