"""Parameters of a request that both wires carry, read strictly: a wrong type is refused, never guessed.

Sources: Triton's extension_schedule_policy.md (priority, timeout), extension_binary_data.md. `cache` is our own.
"""

from collections.abc import Mapping

from modelyard.errors import InvalidInput
from modelyard.tensors import Parameter

_FOR_EVER = 2**63 - 1
"""Microseconds, and as much as gRPC can say: JSON has whole numbers that no float can hold."""


def timeout_of(parameters: Mapping[str, Parameter]) -> float | None:
    """Seconds of the request parameter `timeout`, which is in microseconds; 0 is none."""
    return min(_not_negative(parameters, "timeout"), _FOR_EVER) / 1e6 or None


def priority_of(parameters: Mapping[str, Parameter]) -> int:
    """The request parameter `priority`: 1 is the highest, 0 the default."""
    return _not_negative(parameters, "priority")


def cached_of(parameters: Mapping[str, Parameter]) -> bool:
    """The request parameter `cache`: false says that the cache is neither read nor filled."""
    return flag(parameters, "cache", default=True)


def whole(parameters: Mapping[str, Parameter], name: str, default: int) -> int:
    if name not in parameters:
        return default
    value = parameters[name]
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidInput(f"parameter '{name}' is no whole number", "value")
    return value


def flag(parameters: Mapping[str, Parameter], name: str, *, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise InvalidInput(f"parameter '{name}' is neither true nor false", "value")
    return value


def _not_negative(parameters: Mapping[str, Parameter], name: str) -> int:
    value = whole(parameters, name, 0)
    if value < 0:
        raise InvalidInput(f"parameter '{name}' is negative", "value")
    return value
