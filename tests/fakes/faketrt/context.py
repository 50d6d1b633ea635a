"""An execution context: shapes and addresses are set, then the engine is run in a stream.

    set_input_shape, set_tensor_address -> execute_async_v3(stream) -> an operation in the stream (or in its capture)

What was set holds when it is enqueued; the bytes at the addresses are read when the stream comes to it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tests.fakes.fakegpu.errors import CAPTURE_UNSUPPORTED, OUT_OF_MEMORY, describe
from tests.fakes.fakegpu.machine import CudaFault, machine
from tests.fakes.fakegpu.streams import Operation, Stream
from tests.fakes.faketrt.enums import ExecutionContextAllocationStrategy, Severity, TensorIOMode
from tests.fakes.faketrt.execution import Execution
from tests.fakes.faketrt.foundation import Dims, tell

if TYPE_CHECKING:
    from tests.fakes.faketrt.engine import ICudaEngine

ALIGNMENT = 256
USAGE = "Error Code 3: API Usage Error"


class State:
    """What an operation in a stream needs of its context, and may outlive it."""

    def __init__(self) -> None:
        self.alive = True
        self.version = 0
        """Counts the changes of shapes and profile: a graph that was captured before is not good any more."""
        self.settled = -1
        """The version that was enqueued once outside a capture."""


class IExecutionContext:
    """Made by ICudaEngine.create_execution_context()."""

    def __init__(self, engine: ICudaEngine, strategy: ExecutionContextAllocationStrategy, scratch: int) -> None:
        self._engine, self._own_scratch = engine, scratch
        self._strategy = strategy
        self._scratch: tuple[int, int] | None = (scratch, engine.device_memory_size_v2) if scratch else None
        self._profile = 0
        self._shapes = self._fixed_shapes()
        self._addresses: dict[str, int] = {}
        self._state = State()
        self.name = ""
        self.debug_sync = False
        self.enqueue_emits_profile = True
        machine.count_object("contexts", 1)

    def __del__(self) -> None:
        if not hasattr(self, "debug_sync") or sys.is_finalizing():
            return
        machine.count_object("contexts", -1)
        self._state.alive = False
        with machine.lock:
            pending = [task for stream in machine.streams.values() for task in stream.pending()]
            if any(task.owner is self._state for task in pending):
                machine.violate("a context was destroyed while its work was in a stream")
        machine.release(self._own_scratch)

    @property
    def engine(self) -> ICudaEngine:
        return self._engine

    # --- profile and scratch memory ---

    @property
    def active_optimization_profile(self) -> int:
        return self._profile

    def set_optimization_profile_async(self, profile_index: int, stream_handle: Any) -> bool:
        if not 0 <= profile_index < self._engine.num_optimization_profiles:
            self._fail("setOptimizationProfileAsync", f"profile {profile_index} does not exist")
            raise RuntimeError("Error in set optimization profile async.")
        self._stream(stream_handle)
        if profile_index != self._profile:
            self._profile, self._shapes = profile_index, self._fixed_shapes()
            self._state.version += 1
        return True

    def set_device_memory(self, memory: int, size: int) -> None:
        if self._strategy is not ExecutionContextAllocationStrategy.USER_MANAGED:
            self._fail("setDeviceMemoryV2", "the context has memory of its own")
            return
        needed = self._engine.get_device_memory_size_for_profile_v2(self._profile)
        if int(memory) % ALIGNMENT or size < needed:
            self._fail("setDeviceMemoryV2", f"{size} bytes at {int(memory):#x}: {needed} are needed, aligned to 256")
            return
        self._scratch = (int(memory), size)

    def _set_device_memory(self, memory: int) -> None:
        self.set_device_memory(memory, self._engine.device_memory_size_v2)

    device_memory = property(None, _set_device_memory)

    def update_device_memory_size_for_shapes(self) -> int:
        return self._engine.get_device_memory_size_for_profile_v2(self._profile)

    # --- shapes and addresses ---

    def set_input_shape(self, name: str, shape: Iterable[int]) -> bool:
        sizes = tuple(int(size) for size in shape)
        if self._engine.get_tensor_mode(name) is not TensorIOMode.INPUT:
            return self._fail("setInputShape", f"{name} is no input tensor")
        least, _, most = (tuple(dims) for dims in self._engine.get_tensor_profile_shape(name, self._profile))
        if len(sizes) != len(least):
            return self._fail("setInputShape", f"{name} has {len(least)} dimensions, not {len(sizes)}")
        if not all(low <= size <= high for low, size, high in zip(least, sizes, most, strict=True)):
            return self._fail(
                "setInputShape",
                f"Set dimensions {list(sizes)} for tensor {name} does not satisfy any optimization profiles. Valid "
                f"range for profile {self._profile}: {list(least)}..{list(most)}",
            )
        if self._shapes.get(name) != sizes:
            self._shapes[name] = sizes
            self._state.version += 1
        return True

    def get_tensor_shape(self, name: str) -> Dims:
        """-1 in the sizes of an output as long as an input's shape is not set."""
        if self._engine.get_tensor_mode(name) is TensorIOMode.INPUT:
            return Dims(self._shapes.get(name) or self._engine.get_tensor_shape(name))
        if self.infer_shapes():
            return self._engine.get_tensor_shape(name)
        shape = self._engine.model.output_shapes(self._shapes)[name]
        unknown = name in machine.faults.get("data_dependent", [])
        return Dims((-1,) * len(shape) if unknown else shape)

    def infer_shapes(self) -> list[str]:
        """The inputs whose shapes are not set."""
        return [name for name in self._engine.model.inputs if name not in self._shapes]

    @property
    def all_binding_shapes_specified(self) -> bool:
        return not self.infer_shapes()

    @property
    def all_shape_inputs_specified(self) -> bool:
        return True

    def set_tensor_address(self, name: str, memory: int) -> bool:
        if self._engine.get_tensor_mode(name) is TensorIOMode.NONE:
            return self._fail("setTensorAddress", f"{name} is no tensor of the engine")
        address = _integer(memory)
        if address % ALIGNMENT:
            machine.violate(f"the address of {name} is not aligned to 256 bytes")
        self._addresses[name] = address
        return True

    def get_tensor_address(self, name: str) -> int:
        return self._addresses.get(name, 0)

    def get_max_output_size(self, name: str) -> int:
        shapes = {
            n: tuple(self._engine.get_tensor_profile_shape(n, self._profile)[2]) for n in self._engine.model.inputs
        }
        elements = 1
        for size in self._engine.model.output_shapes(shapes)[name]:
            elements *= size
        return elements * self._engine.model.outputs[name].itemsize

    # --- execution ---

    def execute_async_v3(self, stream_handle: Any) -> bool:
        """False, and an error in the logger, where it cannot even be enqueued."""
        machine.tally("enqueues")
        problem = self._problem()
        if problem:
            return self._fail("enqueueV3", problem)
        try:
            self._refuse()
            stream = self._stream(stream_handle)
            if machine.sticky:
                raise CudaFault(machine.sticky)
            if stream.handle == 0:
                tell(
                    self._logger, Severity.WARNING, "Using default stream in enqueueV3() may lead to performance issues"
                )
            self._check_capture(stream)
            machine.enqueue(stream, self._operation(captured=stream.capture is not None))
        except CudaFault as fault:
            return self._fail("enqueueV3", describe(fault.code), "Error Code 1: Cuda Runtime")
        return True

    @staticmethod
    def _refuse() -> None:
        """With an error of CUDA, as the file of faults says."""
        refuse = machine.faults.part("execute").get("refuse")
        if refuse and refuse is not True:
            raise CudaFault(OUT_OF_MEMORY if refuse == "memory" else int(refuse))

    def _check_capture(self, stream: Stream) -> None:
        """What a change of shape leaves to be done cannot be captured: it is done by an enqueue before."""
        if stream.capture is None:
            self._state.settled = self._state.version
        elif self._state.settled != self._state.version or machine.faults.get("capture", "") == "refuse":
            stream.capture.invalidated = True
            raise CudaFault(CAPTURE_UNSUPPORTED)

    def _operation(self, captured: bool) -> Operation:
        scratch = self._scratch or (0, 0)
        execution = Execution(
            model=self._engine.model,
            state=self._state,
            version=self._state.version if captured else None,
            shapes=dict(self._shapes),
            addresses=dict(self._addresses),
            scratch=(scratch[0], self._engine.get_device_memory_size_for_profile_v2(self._profile)),
        )
        return Operation("execute", execution.run, (scratch[0], scratch[0] + scratch[1]), self._state)

    def _problem(self) -> str | None:
        if machine.faults.part("execute").get("refuse") is True:
            return "refused by the file of faults"
        missing = self.infer_shapes()
        if missing:
            return f"Not all shapes are specified. Following input tensors' dimensions are not specified: {missing}"
        names = [*self._engine.model.inputs, *self._engine.model.outputs]
        unset = [name for name in names if not self._addresses.get(name)]
        if unset:
            return f"Neither address or allocator is set for tensors {unset}. Call setTensorAddress before enqueue"
        if self._scratch is None:
            return "the context needs device memory: call setDeviceMemoryV2 before enqueue"
        needed = self._engine.get_device_memory_size_for_profile_v2(self._profile)
        if self._scratch[1] < needed:
            return f"the device memory has {self._scratch[1]} bytes, {needed} are needed"
        return None

    # --- inner ---

    @property
    def _logger(self) -> Any:
        return self._engine.logger

    def _fixed_shapes(self) -> dict[str, tuple[int, ...]]:
        shapes = {name: tuple(self._engine.get_tensor_shape(name)) for name in self._engine.model.inputs}
        return {name: shape for name, shape in shapes.items() if -1 not in shape}

    def _stream(self, handle: Any) -> Stream:
        return machine.stream(_integer(handle))

    def _fail(self, call: str, text: str, kind: str = USAGE) -> bool:
        tell(self._logger, Severity.ERROR, f"IExecutionContext::{call}: {kind} ({text})")
        return False


def _integer(handle: Any) -> int:
    """As pybind11 makes a size_t of it."""
    if isinstance(handle, (float, str)) or not hasattr(handle, "__int__"):
        raise TypeError("incompatible function arguments: no integer")
    value = int(handle)
    if value < 0:
        raise TypeError("incompatible function arguments: negative")
    return value
