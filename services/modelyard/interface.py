"""Inputs and outputs: of a version, where they are not those of model.yaml any more; and two that should be alike."""

from collections.abc import Sequence

from pydantic import ValidationError

from modelyard.errors import ConfigurationError
from modelyard.manifest import Interface, Manifest
from modelyard.spec import ModelSpec, TensorSpec


def with_own_interface(spec: ModelSpec, manifest: Manifest) -> ModelSpec:
    """The spec with the inputs and outputs of the version, where they are not those of model.yaml.

    A promote may change the interface (--force): the versions before it must still load, for the way back.
    """
    own = manifest.interface
    if own is None or (_fits(spec.inputs, own.inputs, every=True) and _fits(spec.outputs, own.outputs, every=False)):
        return spec
    changed = {"inputs": own.inputs, "outputs": own.outputs, "quality": None, "drift": {"enabled": spec.drift.enabled}}
    try:
        return ModelSpec.model_validate(spec.model_dump() | changed)
    except ValidationError as error:
        text = "; ".join(fault["msg"].removeprefix("Value error, ") for fault in error.errors())
        raise ConfigurationError(f"version {manifest.version} has another interface than model.yaml: {text}") from None


def difference(old: ModelSpec, new: ModelSpec | Interface) -> str:
    """How `new` would have to be called otherwise than model.yaml says (`old`); empty: a new version must not."""
    for what, before, after in (("inputs", old.inputs, new.inputs), ("outputs", old.outputs, new.outputs)):
        if _called(before) != _called(after):
            return f"its {what} differ from model.yaml of '{old.name}': {_listed(after)} instead of {_listed(before)}"
    return ""


def _called(tensors: Sequence[TensorSpec]) -> list[tuple[str, str, tuple[int, ...]]]:
    """Without the bounds that model.yaml may add: a file knows nothing of them."""
    return [(tensor.name, tensor.datatype, tensor.shape) for tensor in tensors]


def _listed(tensors: Sequence[TensorSpec]) -> str:
    return ", ".join(f"{tensor.name} {tensor.datatype} {list(tensor.shape)}" for tensor in tensors)


def _fits(declared: Sequence[TensorSpec], real: Sequence[TensorSpec], *, every: bool) -> bool:
    """Can a version with these tensors be served as model.yaml declares them? It need not declare every output."""
    by_name = {tensor.name: tensor for tensor in real}
    if every and by_name.keys() != {tensor.name for tensor in declared}:
        return False
    return all(
        tensor.name in by_name
        and tensor.datatype == by_name[tensor.name].datatype
        and len(tensor.shape) == len(by_name[tensor.name].shape)
        and all(
            -1 in sizes or sizes[0] == sizes[1] for sizes in zip(tensor.shape, by_name[tensor.name].shape, strict=True)
        )
        for tensor in declared
    )
