"""Which shapes an engine is built for, and which of them serves a batch. Pure: no TensorRT, no CUDA.

    model.yaml, max_batch_size 8   ->  buckets 1 2 4 8  ->  one optimization profile each
    a batch of 19 rows             ->  split 8 8 3      ->  buckets 8 8 4, the last one padded by a row

In a profile the batch dimension is exactly the bucket: TensorRT then picks the kernels that are best for that many
rows. Other free dimensions span the range that model.yaml names for them.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from modelyard.backends.base import BackendUnavailable
from modelyard.spec import BackendSpec, ModelSpec, ShapeRange, TensorSpec
from modelyard.tensors import Shape

UNBATCHED = 0
"""The bucket of a model without a batch dimension."""

TYPES = {
    "BOOL": "BOOL",
    "UINT8": "UINT8",
    "INT8": "INT8",
    "INT32": "INT32",
    "INT64": "INT64",
    "FP16": "HALF",
    "FP32": "FLOAT",
    "BF16": "BF16",
}
"""The protocol's datatypes and the names of TensorRT's DataType; what is missing here TensorRT cannot take."""


class OutsideProfile(Exception):
    """The engine was not built for these shapes. Another link can run the batch; nothing is wrong with this one."""


@dataclass(frozen=True, slots=True)
class InputProfile:
    """The shapes of one input, batch dimension included."""

    name: str
    min: Shape
    opt: Shape
    max: Shape

    def admits(self, shape: Shape) -> bool:
        return len(shape) == len(self.min) and all(
            low <= size <= high for low, size, high in zip(self.min, shape, self.max, strict=True)
        )


@dataclass(frozen=True, slots=True)
class Profile:
    rows: int
    """The bucket; UNBATCHED for a model without a batch dimension."""
    inputs: tuple[InputProfile, ...]

    def check(self, shapes: Sequence[Shape]) -> None:
        """Raises OutsideProfile, naming the input."""
        for port, shape in zip(self.inputs, shapes, strict=True):
            if not port.admits(shape):
                limits = f"{list(port.min)} to {list(port.max)}"
                raise OutsideProfile(f"input '{port.name}' has shape {list(shape)}, the engine takes {limits}")


def buckets(spec: ModelSpec) -> tuple[int, ...]:
    """Rows that an engine is built for, rising: batching.buckets, or else the powers of two up to max_batch_size."""
    top = spec.batching.max_batch_size
    if not spec.batched:
        return (UNBATCHED,)
    if spec.batching.buckets:
        return tuple(sorted({min(rows, top) for rows in spec.batching.buckets}))
    return (*(2**power for power in range(top.bit_length()) if 2**power < top), top)


def profiles(spec: ModelSpec, backend: BackendSpec) -> tuple[Profile, ...]:
    """One profile for each bucket. Raises BackendUnavailable for what no engine can be built of, naming it."""
    for what, tensors in (("input", spec.inputs), ("output", spec.outputs)):
        for tensor in tensors:
            if tensor.datatype not in TYPES:
                raise BackendUnavailable(
                    f"TensorRT has no datatype {tensor.datatype}, which {what} '{tensor.name}' has"
                )
    return tuple(
        Profile(rows, tuple(_input_profile(tensor, rows, backend.shapes.get(tensor.name)) for tensor in spec.inputs))
        for rows in buckets(spec)
    )


def check_golden(profile: Profile, golden: Mapping[str, Shape]) -> None:
    """Could an engine be compared on these inputs? Of any profile, since all differ in the batch alone.

    Raises OutsideProfile: such an engine could be built, and never be used.
    """
    batch = int(profile.rows != UNBATCHED)
    for port in profile.inputs:
        shape, low, high = golden[port.name][batch:], port.min[batch:], port.max[batch:]
        if not InputProfile(port.name, low, low, high).admits(shape):
            raise OutsideProfile(
                f"golden input '{port.name}' has shape {list(shape)}{' after the batch' * batch}, `shapes` of "
                f"model.yaml takes {list(low)} to {list(high)}: an engine could never be compared"
            )


def has_free_dimensions(spec: ModelSpec) -> bool:
    """May an input's shape vary beyond the batch?"""
    return any(-1 in tensor.shape[int(spec.batched) :] for tensor in spec.inputs)


def bucket_of(rising: Sequence[int], rows: int) -> int:
    """Index of the least bucket that holds `rows`, which are not more than the last one holds."""
    return bisect_left(rising, rows)


def split(rows: int, top: int) -> list[tuple[int, int]]:
    """(start, stop) of the parts of a batch: none has more than `top` rows, all but the last have as many."""
    return [(start, min(start + top, rows)) for start in range(0, rows, top)] or [(0, 0)]


def _input_profile(tensor: TensorSpec, rows: int, sizes: ShapeRange | None) -> InputProfile:
    batch = () if rows == UNBATCHED else (rows,)
    own = tensor.shape[len(batch) :]
    if sizes is None:
        if -1 in own:
            place = own.index(-1) + len(batch)
            raise BackendUnavailable(
                f"input '{tensor.name}': dimension {place} is free: name its sizes under `shapes` of this backend"
            )
        sizes = ShapeRange(min=own, opt=own, max=own)
    for place, (size, low, high) in enumerate(zip(own, sizes.min, sizes.max, strict=True)):
        if size != -1 and not low == size == high:
            raise BackendUnavailable(
                f"input '{tensor.name}': dimension {place + len(batch)} is {size}, `shapes` says {low} to {high}"
            )
    return InputProfile(tensor.name, batch + sizes.min, batch + sizes.opt, batch + sizes.max)
