"""What callers of a version rely on: names, datatypes and shapes. Which change breaks them, and which does not?

an input added, removed or renamed; a datatype or a shape changed; an output removed or renamed     breaks
an output added                                                                                     does not
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modelyard.backends.base import BackendUnavailable
from modelyard.backends.onnxruntime import DATATYPES, open_session
from modelyard.errors import ConfigurationError
from modelyard.manifest import Interface, Manifest
from modelyard.spec import ModelSpec, TensorSpec


def interface_of(folder: Path, manifest: Manifest, spec: ModelSpec) -> Interface:
    """The version's own; of one published without it: model.yaml's, where the artifact does not say otherwise.

    Raises ConfigurationError when the artifact cannot be opened.
    """
    if manifest.interface:
        return manifest.interface
    try:
        session = open_session(folder / manifest.artifact)
    except BackendUnavailable as error:
        raise ConfigurationError(f"{folder / manifest.artifact} cannot be opened: {error}") from None
    declared = {tensor.name: tensor for tensor in (*spec.inputs, *spec.outputs)}
    inputs = [_settled(node, declared.get(node.name)) for node in session.get_inputs()]
    outputs = [_settled(node, declared.get(node.name)) for node in session.get_outputs()]
    wanted = {tensor.name for tensor in spec.outputs}
    public = [tensor for tensor in outputs if tensor.name in wanted]
    return Interface(inputs=tuple(inputs), outputs=tuple(public or outputs))


def _settled(node: Any, declared: TensorSpec | None) -> TensorSpec:
    """The tensor as model.yaml declares it, if the artifact's datatype and dimensions allow that."""
    shape = tuple(size if isinstance(size, int) else -1 for size in node.shape)
    own = TensorSpec(name=node.name, datatype=DATATYPES.get(node.type, "BYTES"), shape=shape)
    if declared is None or declared.datatype != own.datatype or len(declared.shape) != len(shape):
        return own
    fits = all(-1 in (want, have) or want == have for want, have in zip(declared.shape, shape, strict=True))
    return declared if fits else own


def broken(before: Interface, after: Interface) -> list[str]:
    """What a caller of `before` would stumble over with `after`; empty: nothing."""
    faults = [f"input '{name}' is gone" for name in _only(before.inputs, after.inputs)]
    faults += [f"input '{name}' is new: callers do not send it" for name in _only(after.inputs, before.inputs)]
    faults += [f"output '{name}' is gone" for name in _only(before.outputs, after.outputs)]
    faults += _changed("input", before.inputs, after.inputs)
    return faults + _changed("output", before.outputs, after.outputs)


def added(before: Interface, after: Interface) -> list[str]:
    """Names of new outputs."""
    return _only(after.outputs, before.outputs)


def _only(tensors: Sequence[TensorSpec], others: Sequence[TensorSpec]) -> list[str]:
    known = {tensor.name for tensor in others}
    return [tensor.name for tensor in tensors if tensor.name not in known]


def _changed(what: str, before: Sequence[TensorSpec], after: Sequence[TensorSpec]) -> list[str]:
    now = {tensor.name: tensor for tensor in after}
    pairs = [(tensor, now[tensor.name]) for tensor in before if tensor.name in now]
    return [
        f"{what} '{old.name}' is {_kind(new)}, it was {_kind(old)}" for old, new in pairs if _kind(old) != _kind(new)
    ]


def _kind(tensor: TensorSpec) -> str:
    return f"{tensor.datatype} {list(tensor.shape)}"
