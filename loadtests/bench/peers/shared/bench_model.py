"""The model that a peer is asked to serve, the same for each: an ONNX Runtime session with one intra-op thread.

It runs in the environment of a peer (numpy and onnxruntime are all it needs). What to serve and where comes from the
environment: BENCH_MODEL, BENCH_ONNX, BENCH_PORT, and for those that have them BENCH_GRPC_PORT and
BENCH_SIDE_PORT (metrics, say, which nobody asks).
"""

import os
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

HOST = "127.0.0.1"
NAME = os.environ["BENCH_MODEL"]
PORT = int(os.environ["BENCH_PORT"])
GRPC_PORT = int(os.environ.get("BENCH_GRPC_PORT", "0"))
SIDE_PORT = int(os.environ.get("BENCH_SIDE_PORT", "0"))

# One setting for every peer that batches. The encoder's batches are small: on a CPU its rows cost more in larger ones.
# The wait is the least that all of them can express: it costs least at few connections, and at many a batch is full
# before it ends.
MAX_BATCH = 8 if NAME.startswith("encoder") else 32
WAIT_MS = 1

Array = npt.NDArray[Any]


class OnnxModel:
    """A session, the name and dtype of its one input, the name of its one output."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        path = os.environ["BENCH_ONNX"]
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        tensor = self.session.get_inputs()[0]
        self.input = tensor.name
        self.dtype = np.dtype(np.int64 if tensor.type == "tensor(int64)" else np.float32)
        self.columns = int(tensor.shape[1])
        self.output = self.session.get_outputs()[0].name
        self.out_columns = int(self.session.get_outputs()[0].shape[1])

    def infer(self, values: Array) -> Array:
        """The output for a batch of rows."""
        return np.asarray(self.session.run([self.output], {self.input: values})[0])

    def infer_all(self, requests: list[Array]) -> list[Array]:
        """One run for many requests, each of any number of rows; the output of each."""
        values = self.infer(np.concatenate(requests))
        ends = np.cumsum([len(rows) for rows in requests])
        return np.split(values, ends[:-1])

    def read(self, body: dict[str, Any]) -> Array:
        """The rows of a JSON request {"x": [[...]]}."""
        return np.asarray(body[self.input], self.dtype)

    def answer(self, values: Array) -> dict[str, Any]:
        """The JSON response {"y": [[...]]}."""
        return {self.output: values.tolist()}
