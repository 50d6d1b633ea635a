"""ONNX Runtime's CUDA provider, as its users call it, but for its two silences: a session that runs on the CPU, and
TF32 in the place of FP32. Both are refused here."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from loadtests.bench.payloads import Array
from loadtests.gpu.subject import FOLDER, Given, Loaded
from modelyard.spec import Precision

PROVIDER = "CUDAExecutionProvider"


class OnnxRuntimeCuda:
    """A session with CUDA alone."""

    def __init__(self, precision: Precision) -> None:
        self.precision = precision
        self._session: Any = None

    def why_not(self) -> str:
        """No onnxruntime-gpu. Whether there is a device is seen when the session is opened."""
        if find_spec("onnxruntime") is None:
            return "onnxruntime is not installed"
        import onnxruntime

        if PROVIDER in onnxruntime.get_available_providers():
            return ""
        return f"onnxruntime {onnxruntime.__version__} has no {PROVIDER}: it is not onnxruntime-gpu"

    def load(self, given: Given) -> Loaded:
        """A session that runs on CUDA, or RuntimeError."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        artifact = _half(given) if self.precision == "fp16" else given.onnx
        provider = (PROVIDER, {"use_tf32": "0"})
        session = onnxruntime.InferenceSession(str(artifact), options, providers=[provider])
        if session.get_providers()[0] != PROVIDER:
            raise RuntimeError(f"CUDA was asked for, ONNX Runtime gave {session.get_providers()[0]} without an error")
        self._session, self._names = session, (given.info.input, given.info.output)
        return Loaded(versions={"onnxruntime": str(onnxruntime.__version__)})

    def run(self, batch: Array) -> Array:
        """One run of the session."""
        source, target = self._names
        (result,) = self._session.run([target], {source: batch})
        return np.asarray(result)

    def close(self) -> None:
        """The session's memory goes with it."""
        self._session = None


def _half(given: Given) -> Path:
    """The model in FP16, converted as for TensorRT: both run the same graph."""
    from modelyard.backends.engine.precision import prepare

    folder = FOLDER / f"{given.model}-fp16"
    folder.mkdir(parents=True, exist_ok=True)
    return prepare(given.onnx, "fp16", folder)
