"""The cache key of a row: a 256-bit blake3 digest of everything that the answer depends on.

It covers the model's name, the artifact's digest, each input's name, datatype, shape and bytes, the parameters that may
change the answer and the outputs that were asked for; never the request id or a header. Every part is length-prefixed,
so that no two different requests can feed the hash the same bytes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from blake3 import blake3

from modelyard.cache.store import Key
from modelyard.tensors import Parameter, Shape, Tensor, to_bytes

MAX_REMEMBERED = 1024
"""Characters of parameters above which a signature's hash state is not kept: callers choose these texts."""
_NEUTRAL = frozenset({"timeout", "priority", "cache", "binary_data_output"})
"""Parameters that say how to answer, not what."""


@dataclass(frozen=True)
class Signature:
    """What all rows of a request share. Only rows with equal signatures may run in one batch."""

    inputs: tuple[tuple[str, str, Shape], ...]
    """(name, datatype, shape of a row; the whole shape where the model has no batch dimension)"""
    outputs: tuple[str, ...]
    parameters: tuple[tuple[str, str], ...]

    @cached_property
    def _hash(self) -> int:
        return hash((self.inputs, self.outputs, self.parameters))

    def __hash__(self) -> int:
        return self._hash  # asked for several times for each request

    @classmethod
    def of(
        cls, inputs: Sequence[Tensor], outputs: tuple[str, ...], parameters: Mapping[str, Parameter], batched: bool
    ) -> "Signature":
        start = 1 if batched else 0
        kept = (
            tuple(
                sorted(
                    (name, f"{type(value).__name__}:{value}")
                    for name, value in parameters.items()
                    if name not in _NEUTRAL
                )
            )
            if parameters
            else ()
        )
        return cls(tuple((t.name, t.datatype, t.array.shape[start:]) for t in inputs), outputs, kept)


def row_keys(model: str, digest: str, signature: Signature, inputs: Sequence[Tensor], batched: bool) -> list[Key]:
    """One key per row; one for the whole request where the model has no batch dimension."""
    small = (
        not signature.parameters or sum(len(name) + len(value) for name, value in signature.parameters) < MAX_REMEMBERED
    )
    base = (_base if small else _base.__wrapped__)(model, digest, signature, batched)
    if not batched:
        hasher = base.copy()
        for tensor in inputs:
            hasher.update(to_bytes(tensor.datatype, tensor.array))
        return [hasher.digest()]
    rows = inputs[0].array.shape[0]
    slices = [_row_bytes(tensor, rows) for tensor in inputs]
    keys = []
    for row in range(rows):
        hasher = base.copy()
        for of_input in slices:
            hasher.update(of_input[row])
        keys.append(hasher.digest())
    return keys


@lru_cache(maxsize=4096)
def _base(model: str, digest: str, signature: Signature, batched: bool) -> blake3:
    """The hash state after everything but the rows' bytes; copied for each row."""
    hasher = blake3()
    parts = [model, digest, "rows" if batched else "whole"]
    for name, datatype, shape in signature.inputs:
        parts += [name, datatype, str(shape)]
    parts += ["outputs", *signature.outputs, "parameters"]
    for name, value in signature.parameters:
        parts += [name, value]
    for part in parts:
        raw = part.encode()
        hasher.update(len(raw).to_bytes(4, "little"))
        hasher.update(raw)
    return hasher


def _row_bytes(tensor: Tensor, rows: int) -> Sequence[bytes | memoryview]:
    array = tensor.array
    if tensor.datatype == "BYTES":
        return [to_bytes("BYTES", array[row : row + 1]) for row in range(rows)]
    size = array.nbytes // rows
    if not size:
        return [b""] * rows
    view = np.ascontiguousarray(array).data.cast("B")
    return [view[start : start + size] for start in range(0, rows * size, size)]
