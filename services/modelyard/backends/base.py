"""What a backend is: load (its constructor), infer, close.

Inputs are checked once, before any backend sees them (pipeline.py); a backend may rely on names, dtypes and ranks.
"""

from collections.abc import Sequence
from typing import Protocol

from modelyard.tensors import Array


class BackendUnavailable(Exception):
    """This backend cannot run here: no device, no library, an artifact that it refuses. The chain tries the next."""


class OutOfMemory(Exception):
    """The device has no memory for this run. The batch goes to the next link; this one is as good as before."""


class DeviceLost(Exception):
    """The device's context is dead for this whole process (a sticky CUDA error): only a restart helps."""


CUDA_OUT_OF_MEMORY = 2


def is_sticky(code: int) -> bool:
    """Does this CUDA error leave the context dead? An illegal address, a hardware fault, a launch that failed, unknown.

    Source: cudaError_t in the CUDA runtime's reference, "the process must be terminated and relaunched"; and 999, of
    which nothing is known.
    """
    return code in {226, 700, 702, 721, 810, 911, 999} or 710 <= code <= 719


class Backend(Protocol):
    @property
    def name(self) -> str:
        """As in model.yaml: tensorrt, onnxruntime-cuda, onnxruntime-cpu."""
        ...

    @property
    def precision(self) -> str: ...

    def infer(self, inputs: Sequence[Array], outputs: Sequence[str]) -> list[Array]:
        """Run on inputs in the order of model.yaml; return the named outputs in order. Called from several threads."""
        ...

    def close(self) -> None: ...
