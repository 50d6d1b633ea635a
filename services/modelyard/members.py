"""What an ensemble is made of: its members' specs, and the spec of its own file, whose inputs are their outputs.

model.yaml -> with_members     every model that has to be loaded for it
           -> artifact_spec    what the version's own file takes and gives
"""

from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from modelyard.errors import ConfigurationError
from modelyard.spec import MemberSpec, ModelSpec, TensorSpec, read_spec


def with_members(repository: Path, names: Iterable[str]) -> list[str]:
    """The models and all that they are composed of, each once, an ensemble before its members.

    Raises ConfigurationError for a member that is missing or broken, and for an ensemble that is made of itself.
    """
    found: list[str] = []
    for name in names:
        _collect(repository, name, (), found)
    return found


def artifact_spec(repository: Path, spec: ModelSpec) -> ModelSpec:
    """The spec of the model's own file: `spec` itself, but for an ensemble. Raises ConfigurationError."""
    if not spec.ensemble:
        return spec
    inputs = [
        tensor
        for member in spec.ensemble
        for tensor in member_outputs(spec, member, _read(repository, member.model, spec.name))
    ]
    try:
        return ModelSpec.model_validate({**spec.model_dump(exclude={"ensemble", "drift"}), "inputs": inputs})
    except ValidationError as error:
        (text, *_) = (fault["msg"].removeprefix("Value error, ") for fault in error.errors())
        raise ConfigurationError(f"'{spec.name}' and its members do not fit: {text}") from None


def member_outputs(spec: ModelSpec, member: MemberSpec, of: ModelSpec) -> list[TensorSpec]:
    """What a member gives to the ensemble's file, by the names that it has there.

    `of` is the member's own spec. Raises ConfigurationError when it does not fit what the ensemble says of it.
    """
    _check_batching(spec, of)
    _check_inputs(spec, member, of)
    outputs = {tensor.name: tensor for tensor in of.outputs}
    for name in member.outputs:
        if name not in outputs:
            raise ConfigurationError(f"'{spec.name}': its member '{of.name}' has no output '{name}'")
    return [outputs[name].model_copy(update={"name": own}) for name, own in member.outputs.items()]


def _check_batching(spec: ModelSpec, of: ModelSpec) -> None:
    most, wanted = of.batching.max_batch_size, spec.batching.max_batch_size
    if spec.batched != of.batched or most < wanted:
        raise ConfigurationError(
            f"'{spec.name}' takes up to {wanted} rows (batching.max_batch_size), its member '{of.name}' {most}"
        )


def _check_inputs(spec: ModelSpec, member: MemberSpec, of: ModelSpec) -> None:
    own = {tensor.name: tensor for tensor in spec.inputs}
    theirs = {tensor.name: tensor for tensor in of.inputs}
    if member.inputs.keys() != theirs.keys():
        name = min(member.inputs.keys() ^ theirs.keys())
        what = f"needs the input '{name}'" if name in theirs else f"has no input '{name}'"
        raise ConfigurationError(f"'{spec.name}': its member '{of.name}' {what}")
    for name, wanted in theirs.items():
        given = own[member.inputs[name]]
        if given.datatype != wanted.datatype or not _takes(wanted, given):
            raise ConfigurationError(
                f"'{spec.name}': its member '{of.name}' takes '{name}' as {wanted.datatype} {list(wanted.shape)}, "
                f"its own input '{given.name}' is {given.datatype} {list(given.shape)}"
            )


def _takes(wanted: TensorSpec, given: TensorSpec) -> bool:
    """Does whatever fits `given` fit `wanted`?"""
    same_rank = len(wanted.shape) == len(given.shape)
    return same_rank and all(size in (-1, own) for size, own in zip(wanted.shape, given.shape, strict=True))


def _collect(repository: Path, name: str, above: tuple[str, ...], found: list[str]) -> None:
    if name in above:
        circle = " -> ".join([*above[above.index(name) :], name])
        raise ConfigurationError(f"an ensemble cannot be made of itself: {circle}")
    if name in found:
        return
    found.append(name)
    for member in _read(repository, name, above[-1] if above else "").ensemble:
        _collect(repository, member.model, (*above, name), found)


def _read(repository: Path, name: str, ensemble: str) -> ModelSpec:
    try:
        return read_spec(repository / name)
    except ConfigurationError as error:
        if not ensemble:
            raise
        raise ConfigurationError(f"a member of '{ensemble}': {error}") from None
