"""TensorRT's Python module, imported when first needed, and the logger that hears why a call gave nothing.

TensorRT answers a failure with None or False and says the reason to its logger:

    call -> None    Journal.log <- "... Cuda Runtime (out of memory)"    Journal.fault -> OutOfMemory

Never call into it before CUDA was found to have a device: without a driver TensorRT ends the process.
"""

import logging
import re
import threading
from collections import deque
from typing import Any

from modelyard.backends.base import BackendUnavailable, OutOfMemory

log = logging.getLogger("modelyard.backends")

_INTERNAL_ERROR, _ERROR, _WARNING = 0, 1, 2
"""Values of ILogger.Severity."""
_MEMORY = re.compile(r"out\s*of\s*memory|insufficient memory|memory.{0,40}could not be allocated", re.IGNORECASE)


def load() -> Any:
    """The module tensorrt. Raises BackendUnavailable when it, or a library of its own, is not installed."""
    try:
        import tensorrt  # noqa: PLC0415  # a machine without a GPU need not have it
    except (ImportError, OSError) as error:  # OSError: one of its shared libraries
        raise BackendUnavailable(f"TensorRT is not installed ({str(error)[:200]})") from None
    return tensorrt


class Journal:
    """The last errors that TensorRT said, by thread: a call's errors come on the thread that made it."""

    def __init__(self) -> None:
        self._errors: deque[tuple[int, str]] = deque(maxlen=64)
        self._lock = threading.Lock()

    def note(self, severity: int, text: str) -> None:
        if severity <= _ERROR:
            with self._lock:
                self._errors.append((threading.get_ident(), text))
            log.error("TensorRT: %s", text[:1000])
        elif severity == _WARNING:
            log.warning("TensorRT: %s", text[:1000])
        elif log.isEnabledFor(logging.DEBUG):
            log.debug("TensorRT: %s", text[:1000])

    def take(self, *, all_threads: bool = False) -> str:
        """What was said since the last time, by this thread or by all."""
        me = threading.get_ident()
        with self._lock:
            errors = list(self._errors)
            self._errors.clear()
            self._errors.extend(entry for entry in errors if not all_threads and entry[0] != me)
        return "; ".join(text for thread, text in errors if all_threads or thread == me)

    def fault(self, doing: str, *, all_threads: bool = False) -> Exception:
        """Why a call gave nothing: OutOfMemory, or RuntimeError with what TensorRT said."""
        said = self.take(all_threads=all_threads)
        text = f"TensorRT could not {doing}: {said[:500] or 'it gave no reason'}"
        return OutOfMemory(text) if _MEMORY.search(said) else RuntimeError(text)


def logger(trt: Any, journal: Journal) -> Any:
    """An ILogger that writes to the journal. The class is made here since its base is known only now."""

    class _Logger(trt.ILogger):  # type: ignore[misc]  # the base is of an untyped library
        def __init__(self) -> None:
            trt.ILogger.__init__(self)  # the binding asks for this very form

        def log(self, severity: Any, msg: str) -> None:
            journal.note(int(severity), msg)

    return _Logger()


def load_plugins(trt: Any, heard: Any) -> None:
    """Register TensorRT's own plugins, which its ONNX parser uses for some operators."""
    if hasattr(trt, "init_libnvinfer_plugins"):
        trt.init_libnvinfer_plugins(heard, "")
