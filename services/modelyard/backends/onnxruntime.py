"""ONNX Runtime, on the CPU or through CUDA. The only file that knows its names.

Two vocabularies meet here in one table: the protocol's datatypes and ONNX Runtime's tensor types. Strings go in as
`str`, since ONNX strings are UTF-8; BF16 goes in and out through OrtValue, since NumPy has no such dtype.
"""

import ctypes
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from modelyard.backends.base import CUDA_OUT_OF_MEMORY, BackendUnavailable, DeviceLost, OutOfMemory, is_sticky
from modelyard.errors import ConfigurationError, InvalidInput
from modelyard.spec import BackendSpec, ModelSpec
from modelyard.tensors import Array

log = logging.getLogger("modelyard.backends")

TYPES = {
    "BOOL": "tensor(bool)",
    "UINT8": "tensor(uint8)",
    "UINT16": "tensor(uint16)",
    "UINT32": "tensor(uint32)",
    "UINT64": "tensor(uint64)",
    "INT8": "tensor(int8)",
    "INT16": "tensor(int16)",
    "INT32": "tensor(int32)",
    "INT64": "tensor(int64)",
    "FP16": "tensor(float16)",
    "FP32": "tensor(float)",
    "FP64": "tensor(double)",
    "BF16": "tensor(bfloat16)",
    "BYTES": "tensor(string)",
}
DATATYPES = {ort_type: datatype for datatype, ort_type in TYPES.items()}
_ONNX_BFLOAT16 = 16
"""onnx.TensorProto.BFLOAT16"""
_SILENT = 4
"""Fatal only: ONNX Runtime's own error lines quote input values, ours do not."""
_CUDA_ERROR = re.compile(r"CUDA (?:failure|error)[ :]+(\d+)", re.IGNORECASE)
_NO_MEMORY = re.compile(r"out of memory|failed to allocate|CUDNN_STATUS_ALLOC_FAILED", re.IGNORECASE)
_OPTIONS = {"CUDAExecutionProvider": {"use_tf32": "0"}}
"""TensorFloat-32, on by default, keeps 10 bits of an FP32 mantissa: FP32 would not mean the same on every backend."""
PROVIDERS = {"onnxruntime-cpu": "CPUExecutionProvider", "onnxruntime-cuda": "CUDAExecutionProvider"}


def open_session(artifact: Path, provider: str = "CPUExecutionProvider", threads: int = 1) -> ort.InferenceSession:
    """A session on exactly this execution provider. Raises BackendUnavailable when there is none.

    ONNX Runtime answers a request for CUDA with a CPU session and a log line; that silence is refused here.
    """
    if provider not in ort.get_available_providers():
        raise BackendUnavailable(f"this ONNX Runtime has no {provider}")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _SILENT
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if provider != "CPUExecutionProvider":
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    try:
        session = ort.InferenceSession(str(artifact), options, providers=[(provider, _OPTIONS.get(provider, {}))])
    except Exception as error:
        raise BackendUnavailable(str(error).splitlines()[0][:300]) from None
    if session.get_providers()[0] != provider:
        raise BackendUnavailable(f"{provider} was asked for, ONNX Runtime gave {session.get_providers()[0]}")
    return session


class OnnxRuntimeBackend:
    def __init__(self, artifact: Path, spec: ModelSpec, backend: BackendSpec) -> None:
        """Raises BackendUnavailable, or ConfigurationError when the artifact is not what model.yaml says."""
        self.name: str = backend.name
        self.precision: str = backend.precision
        self._session = open_session(artifact, PROVIDERS[backend.name])
        _check_interface(self._session, spec, artifact)
        self._batched = spec.batched
        self._inputs = [(tensor.name, tensor.datatype) for tensor in spec.inputs]
        self._bfloat16 = any(tensor.datatype == "BF16" for tensor in spec.inputs)
        self._bfloat16_outputs = any(tensor.datatype == "BF16" for tensor in spec.outputs)
        self._strings = {tensor.name for tensor in spec.outputs if tensor.datatype == "BYTES"}
        self._has_bytes = any(tensor.datatype == "BYTES" for tensor in spec.inputs)
        if self._bfloat16_outputs and (self._has_bytes or self._strings):
            raise ConfigurationError(
                "ONNX Runtime's Python interface cannot mix strings and BF16 outputs; cast one of them"
            )

    def infer(self, inputs: Sequence[Array], outputs: Sequence[str]) -> list[Array]:
        if self._batched and not inputs[0].shape[0]:
            return self._infer_nothing(inputs, outputs)
        try:
            return self._infer(inputs, outputs)
        except InvalidInput:
            raise
        except Exception as error:
            if self.name == "onnxruntime-cuda":
                raise _of_device(error) from None
            raise

    def close(self) -> None:
        del self._session

    def _infer_nothing(self, inputs: Sequence[Array], outputs: Sequence[str]) -> list[Array]:
        """No rows: what one blank row gives, without it. A recurrent operator that gets no row ends the process."""
        blank = [np.full((1, *a.shape[1:]), b"" if a.dtype.hasobject else 0, a.dtype) for a in inputs]
        return [array[:0] for array in self.infer(blank, outputs)]

    def _infer(self, inputs: Sequence[Array], outputs: Sequence[str]) -> list[Array]:
        if self._bfloat16_outputs:
            return self._infer_values(inputs, outputs)
        feed: dict[str, Any] = {name: array for (name, _), array in zip(self._inputs, inputs, strict=True)}
        if self._has_bytes:
            feed |= {name: _to_str(name, feed[name]) for name, datatype in self._inputs if datatype == "BYTES"}
        if self._bfloat16:
            feed |= {name: _to_value(feed[name], datatype) for name, datatype in self._inputs if datatype == "BF16"}
        results: list[Array] = self._session.run(list(outputs), feed)
        if self._strings:
            results = [_to_bytes(a) if n in self._strings else a for n, a in zip(outputs, results, strict=True)]
        return results

    def _infer_values(self, inputs: Sequence[Array], outputs: Sequence[str]) -> list[Array]:
        feed = {n: _to_value(array, datatype) for (n, datatype), array in zip(self._inputs, inputs, strict=True)}
        values = self._session.run_with_ort_values(list(outputs), feed)
        return [_from_value(value) for value in values]


def _of_device(error: Exception) -> Exception:
    """What ONNX Runtime says of CUDA in words, as the chain knows it. The texts are those of its cuda_call.cc."""
    text = str(error)
    code = _CUDA_ERROR.search(text)
    if code and is_sticky(int(code[1])):
        return DeviceLost(f"CUDA error {code[1]} in ONNX Runtime")
    if _NO_MEMORY.search(text) or (code and int(code[1]) == CUDA_OUT_OF_MEMORY):
        return OutOfMemory("ONNX Runtime has no memory on the device")
    return error


def _check_interface(session: ort.InferenceSession, spec: ModelSpec, artifact: Path) -> None:
    for what, declared, real in (
        ("input", spec.inputs, session.get_inputs()),
        ("output", spec.outputs, session.get_outputs()),
    ):
        types = {node.name: node.type for node in real}
        for tensor in declared:
            if types.get(tensor.name) != TYPES[tensor.datatype]:
                raise ConfigurationError(
                    f"model.yaml says {what} '{tensor.name}' is {tensor.datatype}, "
                    f"{artifact.name} has {DATATYPES.get(types.get(tensor.name, ''), types.get(tensor.name, 'none'))}"
                )
        if what == "input" and len(types) != len(declared):
            missing = sorted(set(types) - {tensor.name for tensor in declared})
            raise ConfigurationError(f"{artifact.name} needs the inputs {missing}, which model.yaml does not list")


def _to_str(name: str, array: Array) -> Array:
    texts = np.empty(array.shape, np.object_)
    try:
        for index, element in np.ndenumerate(array):
            texts[index] = element.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidInput(
            f"input '{name}': a BYTES element is no UTF-8, and the model takes strings", "value"
        ) from None
    return texts


def _to_bytes(array: Array) -> Array:
    raw = np.empty(array.shape, np.object_)
    for index, element in np.ndenumerate(array):
        raw[index] = element.encode("utf-8")
    return raw


def _to_value(array: Array, datatype: str) -> Any:
    if datatype == "BF16":
        return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(np.ascontiguousarray(array), _ONNX_BFLOAT16)
    return ort.OrtValue.ortvalue_from_numpy(array)


def _from_value(value: Any) -> Array:
    if value.data_type() == TYPES["BF16"]:
        bits = np.empty(value.shape(), np.uint16)
        ctypes.memmove(bits.ctypes.data, value.data_ptr(), bits.nbytes)
        return bits
    array: Array = value.numpy()
    return _to_bytes(array) if array.dtype == object else array
