"""Runtime and engine: a plan becomes something that contexts can be made of.

Runtime.deserialize_cuda_engine(plan) -> ICudaEngine (weights on the device) -> create_execution_context()
"""

from typing import Any

import onnx

from tests.fakes.fakegpu.errors import OUT_OF_MEMORY, describe
from tests.fakes.fakegpu.machine import CudaFault, machine
from tests.fakes.faketrt.compute import Model
from tests.fakes.faketrt.context import IExecutionContext
from tests.fakes.faketrt.enums import (
    DataType,
    ExecutionContextAllocationStrategy,
    ProfilingVerbosity,
    Severity,
    TensorFormat,
    TensorIOMode,
    TensorLocation,
)
from tests.fakes.faketrt.foundation import Dims, IHostMemory, ILogger, check_logger, need_driver, tell
from tests.fakes.faketrt.network import ITensor
from tests.fakes.faketrt.plan import Plan, Unreadable, check_plan, compute_capability, read_plan
from tests.fakes.faketrt.version import LEVEL

STATIC = ExecutionContextAllocationStrategy.STATIC
USER_MANAGED = ExecutionContextAllocationStrategy.USER_MANAGED


class Runtime:
    def __init__(self, logger: ILogger) -> None:
        need_driver()
        self._logger = check_logger(logger, "Runtime")
        self.max_threads = 1
        self.engine_host_code_allowed = False
        machine.count_object("runtimes", 1)

    def __del__(self) -> None:
        if hasattr(self, "max_threads"):
            machine.count_object("runtimes", -1)

    @property
    def logger(self) -> ILogger:
        return self._logger

    def deserialize_cuda_engine(self, serialized_engine: Any) -> "ICudaEngine | None":
        need_driver()
        raw = memoryview(serialized_engine).tobytes()
        try:
            self._fault()
            plan = read_plan(raw)
            weights = machine.allocate(len(plan.onnx), pinned=False) if not machine.sticky else 0
            if machine.sticky:
                raise CudaFault(machine.sticky)
        except Unreadable as error:
            self._fail(str(error))
            return None
        except CudaFault as fault:
            self._fail(f"IRuntime::deserializeCudaEngine: Error Code 1: Cuda Runtime ({describe(fault.code)})")
            return None
        return ICudaEngine(self, plan, raw, weights)

    def _fault(self) -> None:
        fault = machine.faults.get("plan", None)
        if isinstance(fault, dict):
            kind, times = fault.get("fail"), fault.get("times")
            fault = kind if times is None or machine.faults.count("plan") <= int(times) else None
        if fault == "corrupt":
            raise Unreadable("IRuntime::deserializeCudaEngine: Error Code 1: Serialization (Magic tag does not match)")
        if fault == "foreign":
            check_plan("8.6.1.6", compute_capability())
        if fault == "memory":
            raise CudaFault(2)

    def _fail(self, text: str) -> None:
        tell(self._logger, Severity.ERROR, text)
        tell(self._logger, Severity.ERROR, "[engine.cpp::deserializeEngine] Error Code 4: Internal Error")


class ICudaEngine:
    """Made by Runtime.deserialize_cuda_engine()."""

    def __init__(self, runtime: Runtime, plan: Plan, raw: bytes, weights: int) -> None:
        self._runtime, self._plan, self._raw, self._weights = runtime, plan, raw, weights
        model = onnx.load_model_from_string(plan.onnx)
        known = {weight.name for weight in model.graph.initializer}
        inputs = [ITensor(value, True) for value in model.graph.input if value.name not in known]
        self._tensors = {tensor.name: tensor for tensor in [*inputs, *(ITensor(v, False) for v in model.graph.output)]}
        self._names = list(self._tensors)
        self.model = Model(plan.onnx)
        """Not of the real interface."""
        self.num_layers = len(model.graph.node)
        self.name = "Unnamed Network 0"
        machine.count_object("engines", 1)

    def __del__(self) -> None:
        if hasattr(self, "num_layers"):
            machine.count_object("engines", -1)
            machine.release(self._weights)

    @property
    def logger(self) -> ILogger:
        """Not of the real interface."""
        return self._runtime.logger

    @property
    def plan(self) -> Plan:
        """Not of the real interface."""
        return self._plan

    # --- tensors ---

    @property
    def num_io_tensors(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> str:
        return self._names[index]

    def get_tensor_name(self, index: int) -> str:
        return self._names[index] if 0 <= index < len(self._names) else ""

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        if name not in self._tensors:
            return TensorIOMode.NONE
        return TensorIOMode.INPUT if self._tensors[name].is_network_input else TensorIOMode.OUTPUT

    def get_tensor_shape(self, name: str) -> Dims:
        """-1 where it is free."""
        return Dims(self._tensor(name, "getTensorShape").shape)

    def get_tensor_dtype(self, name: str) -> DataType:
        return self._tensor(name, "getTensorDataType").dtype

    def get_tensor_location(self, name: str) -> TensorLocation:
        shape_input = self._tensor(name, "getTensorLocation").is_shape_tensor
        return TensorLocation.HOST if shape_input else TensorLocation.DEVICE

    def get_tensor_format(self, name: str, profile_index: int = 0) -> TensorFormat:
        self._tensor(name, "getTensorFormat")
        self._check_profile(profile_index)
        return TensorFormat.LINEAR

    def get_tensor_bytes_per_component(self, name: str) -> int:
        return int(self.get_tensor_dtype(name).itemsize)

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[Dims]:
        """Least, best, most."""
        self._check_profile(profile_index)
        shape = tuple(self._tensor(name, "getProfileShape").shape)
        profiles = self._plan.profiles
        return [Dims(s) for s in (profiles[profile_index].get(name, (shape,) * 3) if profiles else (shape,) * 3)]

    def is_shape_inference_io(self, name: str) -> bool:
        return self._tensor(name, "isShapeInferenceIO").is_shape_tensor

    def _tensor(self, name: str, call: str) -> ITensor:
        if name not in self._tensors:
            text = f"ICudaEngine::{call}: Error Code 3: API Usage Error (tensor {name} is not known)"
            tell(self.logger, Severity.ERROR, text)
            raise IndexError(f"the fake has no tensor {name}: the real one answers nonsense here")
        return self._tensors[name]

    def _check_profile(self, index: int) -> None:
        if not 0 <= index < self.num_optimization_profiles:
            raise IndexError(f"the fake has no profile {index}: the real one answers nonsense here")

    # --- memory and contexts ---

    @property
    def num_optimization_profiles(self) -> int:
        return max(1, len(self._plan.profiles))

    @property
    def device_memory_size_v2(self) -> int:
        """Bytes of scratch memory that serve every profile."""
        return max(self._plan.scratch)

    def get_device_memory_size_for_profile_v2(self, profile_index: int) -> int:
        self._check_profile(profile_index)
        return self._plan.scratch[profile_index]

    @property
    def refittable(self) -> bool:
        return False

    @property
    def profiling_verbosity(self) -> ProfilingVerbosity:
        return ProfilingVerbosity.LAYER_NAMES_ONLY

    @property
    def num_aux_streams(self) -> int:
        return 0

    def create_execution_context(
        self, strategy: ExecutionContextAllocationStrategy = STATIC
    ) -> IExecutionContext | None:
        if not isinstance(strategy, ExecutionContextAllocationStrategy):
            raise TypeError("create_execution_context(): incompatible function arguments")
        scratch = 0
        try:
            if machine.sticky:
                raise CudaFault(machine.sticky)
            limit = machine.faults.get("contexts_fail_after", None)
            if limit is not None and machine.faults.count("contexts") > int(limit):
                raise CudaFault(OUT_OF_MEMORY)
            if strategy is not USER_MANAGED:
                scratch = machine.allocate(self.device_memory_size_v2, pinned=False)
        except CudaFault as fault:
            text = f"ICudaEngine::createExecutionContext: Error Code 1: Cuda Runtime ({describe(fault.code)})"
            tell(self.logger, Severity.ERROR, text)
            return None
        return IExecutionContext(self, strategy, scratch)

    if LEVEL < 11:

        def create_execution_context_without_device_memory(self) -> IExecutionContext | None:
            return self.create_execution_context(USER_MANAGED)

        @property
        def device_memory_size(self) -> int:
            return self.device_memory_size_v2

        def get_device_memory_size_for_profile(self, profile_index: int) -> int:
            return self.get_device_memory_size_for_profile_v2(profile_index)

    def serialize(self) -> IHostMemory:
        return IHostMemory(self._raw)
