"""What a caller may know of a failure: one of our errors, with no word of the cause. The cause goes to the log."""

import logging

from modelyard.backends.base import DeviceLost, OutOfMemory
from modelyard.errors import BackendError, ModelNotReady, ModelyardError, Overloaded

log = logging.getLogger("modelyard.pipeline")

RESTART_SECONDS = 10.0
"""When a caller may try again after the process had to end."""


def as_answer(error: Exception, model: str, version: str) -> ModelyardError:
    """The error to answer with."""
    if isinstance(error, ModelyardError):
        return error
    if isinstance(error, DeviceLost):
        return ModelNotReady(f"model '{model}' has lost its device; the server restarts", RESTART_SECONDS)
    if isinstance(error, OutOfMemory):
        return Overloaded(f"model '{model}' has no device memory for this request now")
    log.error("%s version %s failed: %s", model, version, without_values(error))
    return BackendError(model)


def without_values(error: Exception) -> str:
    """An error for the log: its kind and the failing node, without the input values that runtimes quote."""
    text = str(error).split("Status Message", 1)[0].splitlines()
    return f"{type(error).__name__}: {text[0][:300] if text else ''}"
