"""torch, as it comes and compiled. The same weights as the ONNX file, on the device, without gradients."""

from __future__ import annotations

import os
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

from loadtests.bench.payloads import Array
from loadtests.gpu.subject import Given, Loaded
from modelyard.spec import Precision


class TorchEager:
    """Operator by operator."""

    def __init__(self, precision: Precision, device: str = "cuda") -> None:
        self.precision = precision
        self._device = device
        self._network: Any = None

    def why_not(self) -> str:
        """No torch, or none with CUDA, or no device for it."""
        if find_spec("torch") is None:
            return "torch is not installed"
        import torch

        if torch.version.cuda is None:
            return f"torch {version('torch')} is built without CUDA"
        return "" if torch.cuda.is_available() else "torch finds no CUDA device or driver"

    def load(self, given: Given) -> Loaded:
        """Weights to the device."""
        import torch

        from loadtests.gpu.networks import network

        # TF32 would be neither of the two precisions that are compared; shapes are fixed, so cuDNN may try its kernels
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = True
        type_ = torch.float16 if self.precision == "fp16" else torch.float32
        made = network(given.model, given.onnx).to(self._device, type_)
        self._type = type_
        self._network = self._ready(made)
        cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]  # torch left it untyped
        found = {"torch": torch.__version__, "CUDA of torch": torch.version.cuda, "cuDNN of torch": cudnn}
        return Loaded(versions={name: str(value) for name, value in found.items() if value})

    def run(self, batch: Array) -> Array:
        """To the device, through the network, back."""
        import torch

        with torch.inference_mode():
            values = torch.from_numpy(batch).to(self._device)
            values = values.to(self._type) if values.is_floating_point() else values
            result: Array = self._network(values).float().cpu().numpy()
            return result

    def close(self) -> None:
        """The process ends next."""
        self._network = None

    def _ready(self, made: Any) -> Any:
        return made


class TorchCompiled(TorchEager):
    """Compiled for each batch size, run as CUDA graphs: torch's own counterpart of an engine."""

    def _ready(self, made: Any) -> Any:
        import torch

        return torch.compile(made, mode="reduce-overhead", dynamic=False)

    def load(self, given: Given) -> Loaded:
        """Kernels are compiled at the first run of each batch size: from nothing, whatever runs before have kept."""
        os.environ["TORCHINDUCTOR_FORCE_DISABLE_CACHES"] = "1"
        return super().load(given)
