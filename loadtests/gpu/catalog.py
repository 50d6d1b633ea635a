"""What is measured, by name."""

from __future__ import annotations

from collections.abc import Callable

from loadtests.gpu.onnxruntime_subject import OnnxRuntimeCuda
from loadtests.gpu.subject import Subject
from loadtests.gpu.tensorrt_subject import TensorRt
from loadtests.gpu.torch_subjects import TorchCompiled, TorchEager
from modelyard.spec import BackendName, Precision

SUBJECTS: dict[str, Callable[[], Subject]] = {
    "torch eager fp32": lambda: TorchEager("fp32"),
    "torch.compile fp32": lambda: TorchCompiled("fp32"),
    "ONNX Runtime CUDA fp32": lambda: OnnxRuntimeCuda("fp32"),
    "TensorRT fp32": lambda: TensorRt("fp32"),
    "torch eager fp16": lambda: TorchEager("fp16"),
    "torch.compile fp16": lambda: TorchCompiled("fp16"),
    "ONNX Runtime CUDA fp16": lambda: OnnxRuntimeCuda("fp16"),
    "TensorRT fp16": lambda: TensorRt("fp16"),
}
# the same through our server, which converts no model for ONNX Runtime: name -> backend, precision, subject in process
SERVED: dict[str, tuple[BackendName, Precision, str]] = {
    "server, onnxruntime-cuda fp32": ("onnxruntime-cuda", "fp32", "ONNX Runtime CUDA fp32"),
    "server, tensorrt fp32": ("tensorrt", "fp32", "TensorRT fp32"),
    "server, tensorrt fp16": ("tensorrt", "fp16", "TensorRT fp16"),
}
MODELS = ("encoder", "convnet")
TINY = "mlp"  # says nothing about a GPU, but goes the whole way in seconds
BATCHES = (1, 8, 32, 128)
QUICK_BATCHES = (1, 32)


def chosen(names: list[str], only: list[str]) -> list[str]:
    """Those of `names` that have one of the words in them, whatever the case; all when there is no word."""
    return [name for name in names if not only or any(word.lower() in name.lower() for word in only)]
