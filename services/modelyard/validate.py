"""Inputs and outputs of a request against the spec: checked once, before the cache and before any backend.

Pure functions. Whatever passes here has the names, datatypes, ranks and dimensions that model.yaml promises.
"""

from collections.abc import Sequence

from modelyard.bounds import check_bounds
from modelyard.errors import InvalidInput
from modelyard.spec import ModelSpec, TensorSpec
from modelyard.tensors import Shape, Tensor


def check_inputs(spec: ModelSpec, inputs: Sequence[Tensor]) -> tuple[list[Tensor], int]:
    """The inputs in the order of model.yaml, and the number of rows (1 where the model has no batch dimension).

    Raises InvalidInput, saying what was given and what is wanted.
    """
    if _as_declared(spec, inputs):
        return list(inputs), _bounded_rows(spec, inputs)
    by_name: dict[str, Tensor] = {}
    for tensor in inputs:
        if tensor.name in by_name:
            raise InvalidInput(f"input '{tensor.name}' is given twice", "name")
        by_name[tensor.name] = tensor
    ordered = []
    for wanted in spec.inputs:
        given = by_name.pop(wanted.name, None)
        if given is None:
            raise InvalidInput(f"input '{wanted.name}' is missing; '{spec.name}' takes {_names(spec.inputs)}", "name")
        _check_tensor(wanted, given)
        ordered.append(given)
    if by_name:
        raise InvalidInput(
            f"unknown input '{next(iter(by_name))[:80]}'; '{spec.name}' takes {_names(spec.inputs)}", "name"
        )
    return ordered, _bounded_rows(spec, ordered)


def check_outputs(spec: ModelSpec, outputs: Sequence[str]) -> tuple[str, ...]:
    """The outputs that were asked for; all of them when none was. Raises InvalidInput for unknown or repeated names."""
    known = [tensor.name for tensor in spec.outputs]
    for position, name in enumerate(outputs):
        if name not in known:
            raise InvalidInput(f"unknown output '{name[:80]}'; '{spec.name}' gives {_names(spec.outputs)}", "name")
        if name in outputs[:position]:
            raise InvalidInput(f"output '{name}' is asked for twice", "name")
    return tuple(outputs) or tuple(known)


def _as_declared(spec: ModelSpec, inputs: Sequence[Tensor]) -> bool:
    """The common case at a glance; whatever is not so goes the long way, which says what is wrong."""
    if len(inputs) != len(spec.inputs):
        return False
    for wanted, given in zip(spec.inputs, inputs, strict=True):
        if given.name != wanted.name or given.datatype != wanted.datatype or not _fits(wanted.shape, given.array.shape):
            return False
    return True


def _fits(wanted: Shape, shape: Shape) -> bool:
    if len(shape) != len(wanted):
        return False
    if shape[1:] == wanted[1:] and wanted[:1] == (-1,):
        return True
    return all(want in (have, -1) for want, have in zip(wanted, shape, strict=True))


def _check_tensor(wanted: TensorSpec, given: Tensor) -> None:
    if given.datatype != wanted.datatype:
        raise InvalidInput(f"input '{wanted.name}' is {wanted.datatype}, {given.datatype} was given", "datatype")
    shape = given.array.shape
    if not _fits(wanted.shape, shape):
        raise InvalidInput(f"input '{wanted.name}' has shape {list(wanted.shape)}, {list(shape)} was given", "shape")


def _bounded_rows(spec: ModelSpec, inputs: Sequence[Tensor]) -> int:
    """The number of rows of inputs in the order of model.yaml, whose values and sizes are within bounds."""
    batched = spec.batching.max_batch_size > 0
    rows = _rows(spec, inputs) if batched else 1
    for wanted, given in zip(spec.inputs, inputs, strict=True):
        if wanted.values is not None or wanted.sizes is not None or wanted.like is not None:
            check_bounds(given, wanted, wanted.shape, inputs, batched=batched)
    return rows


def _rows(spec: ModelSpec, inputs: Sequence[Tensor]) -> int:
    rows: int = inputs[0].array.shape[0]
    for tensor in inputs[1:]:
        if tensor.array.shape[0] != rows:
            raise InvalidInput(
                f"the inputs differ in their number of rows: {[t.array.shape[0] for t in inputs]}", "batch"
            )
    if rows > spec.batching.max_batch_size:
        raise InvalidInput(f"{rows} rows are above the most for one request, {spec.batching.max_batch_size}", "batch")
    return rows


def _names(tensors: Sequence[TensorSpec]) -> str:
    return ", ".join(f"'{tensor.name}'" for tensor in tensors)
