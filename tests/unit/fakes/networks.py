"""A small model, an engine of it, and a context with its buffers: what the tests of the fake TensorRT start from."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from tests.fakes.cuda.bindings import runtime
from tests.unit.fakes.device import SUCCESS, TO_DEVICE, TO_HOST, Array, Device

WEIGHTS = np.array([[1, 2], [3, 4], [5, 6]], np.float32)
BUCKETS = (1, 4)


def model(operator: str = "MatMul", domain: str = "", elements: int = TensorProto.FLOAT) -> bytes:
    """y = x @ WEIGHTS for x of (n, 3)."""
    weights = helper.make_tensor("w", TensorProto.FLOAT, [3, 2], WEIGHTS.ravel().tolist())
    node = helper.make_node(operator, ["x", "w"], ["y"], name="the_node", domain=domain)
    x = helper.make_tensor_value_info("x", elements, ["n", 3])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])
    graph = helper.make_graph([node], "g", [x], [y], [weights])
    opsets = [helper.make_opsetid("", 17), *([helper.make_opsetid(domain, 1)] if domain else [])]
    raw: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    return raw


def scalar_model() -> bytes:
    """y is the sum of x, of no dimensions."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [])
    graph = helper.make_graph([helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)], "g", [x], [y])
    raw: bytes = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    return raw


class Log:
    """Makes a logger of TensorRT that keeps what it is told."""

    def __init__(self, trt: ModuleType) -> None:
        self.lines: list[tuple[str, str]] = []
        lines = self.lines

        class Logger(trt.ILogger):  # type: ignore[misc, name-defined]  # the fake as its users see it: a module
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity: Any, msg: str) -> None:
                lines.append((severity.name, msg))

        self.logger = Logger()

    @property
    def errors(self) -> str:
        return "\n".join(text for severity, text in self.lines if severity == "ERROR")


class Build:
    """Builder, network and configuration, with one profile per bucket."""

    def __init__(self, trt: ModuleType, raw: bytes | None = None, buckets: tuple[int, ...] = BUCKETS) -> None:
        self.log = Log(trt)
        self.builder = trt.Builder(self.log.logger)
        self.network = self.builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        self.parser = trt.OnnxParser(self.network, self.log.logger)
        self.parsed = self.parser.parse(model() if raw is None else raw)
        self.config = self.builder.create_builder_config()
        for rows in buckets:
            profile = self.builder.create_optimization_profile()
            profile.set_shape("x", (rows, 3), (rows, 3), (rows, 3))
            self.config.add_optimization_profile(profile)

    def run(self) -> Any:
        return self.builder.build_serialized_network(self.network, self.config)


class Lane:
    """One context of a bucket, on a stream of its own, with memory for everything."""

    def __init__(self, trt: ModuleType, device: Device, engine: Any, bucket: int = 1) -> None:
        rows = BUCKETS[bucket]
        self.device, self.rows, self.stream = device, rows, device.stream()
        self.context = engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        self.scratch = device.allocate(engine.device_memory_size_v2)
        self.x, self.y = device.allocate(rows * 12), device.allocate(rows * 8)
        assert self.context.set_optimization_profile_async(bucket, int(self.stream))
        assert self.context.set_input_shape("x", (rows, 3))
        self.context.set_device_memory(self.scratch, engine.device_memory_size_v2)
        assert self.context.set_tensor_address("x", self.x)
        assert self.context.set_tensor_address("y", self.y)

    def put(self, x: Array) -> None:
        assert runtime.cudaMemcpy(self.x, np.ascontiguousarray(x), x.nbytes, TO_DEVICE) == SUCCESS

    def get(self) -> Array:
        y = np.zeros((self.rows, 2), np.float32)
        assert runtime.cudaMemcpy(y, self.y, y.nbytes, TO_HOST) == SUCCESS
        return y

    def run(self, x: Array) -> Array:
        self.put(x)
        assert self.context.execute_async_v3(int(self.stream))
        assert runtime.cudaStreamSynchronize(self.stream) == SUCCESS
        return self.get()

    def capture(self) -> runtime.cudaGraphExec_t:
        mode = runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        assert runtime.cudaStreamBeginCapture(self.stream, mode) == SUCCESS
        assert self.context.execute_async_v3(int(self.stream))
        graph = runtime.cudaStreamEndCapture(self.stream)[1]
        executable = runtime.cudaGraphInstantiate(graph, 0)[1]
        runtime.cudaGraphDestroy(graph)
        assert executable is not None
        return executable

    def free(self) -> None:
        del self.context
        for address in (self.scratch, self.x, self.y):
            assert runtime.cudaFree(address) == SUCCESS
        assert runtime.cudaStreamDestroy(self.stream) == SUCCESS


def rows(count: int) -> Array:
    return np.arange(count * 3, dtype=np.float32).reshape(count, 3)
