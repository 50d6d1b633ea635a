"""What a fake engine computes with: ONNX Runtime on the CPU, one session for all contexts of an engine."""

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

Array = npt.NDArray[Any]
NUMPY_OF = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int8)": np.int8,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(uint8)": np.uint8,
    "tensor(bool)": np.bool_,
}


class Model:
    def __init__(self, onnx: bytes) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        # At its highest level ONNX Runtime 1.31 ends the process when it opens certain encoders in FP16.
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        self._session: Any = ort.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
        self.inputs = {node.name: np.dtype(NUMPY_OF[node.type]) for node in self._session.get_inputs()}
        self.outputs = {node.name: np.dtype(NUMPY_OF[node.type]) for node in self._session.get_outputs()}
        self._lock = threading.Lock()
        self._shapes: dict[tuple[tuple[str, tuple[int, ...]], ...], dict[str, tuple[int, ...]]] = {}

    def run(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        results = self._session.run(list(self.outputs), dict(feed))
        return {name: np.asarray(array, order="C") for name, array in zip(self.outputs, results, strict=True)}

    def output_shapes(self, inputs: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        """Found by running zeros through it once: right for every model whose shapes hang on no values."""
        key = tuple(sorted(inputs.items()))
        with self._lock:
            if key not in self._shapes:
                zeros = {name: np.zeros(shape, self.inputs[name]) for name, shape in inputs.items()}
                self._shapes[key] = {name: array.shape for name, array in self.run(zeros).items()}
            return self._shapes[key]
