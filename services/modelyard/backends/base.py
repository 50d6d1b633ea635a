"""What a backend is: load (its constructor), infer, close.

Inputs are checked once, before any backend sees them (pipeline.py); a backend may rely on names, dtypes and ranks.
"""

from collections.abc import Sequence
from typing import Protocol

from modelyard.tensors import Array


class BackendUnavailable(Exception):
    """This backend cannot run here: no device, no library, an artifact that it refuses. The chain tries the next."""


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
