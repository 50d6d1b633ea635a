"""`python -m modelyard.backends.engine.child`: one request on stdin, events on stdout, and then it ends.

    probe: CUDA first, TensorRT only when there is a device, since it ends the process without one
    build: wait for the engine's lock -> look again, another may have built it -> build -> try -> publish -> release
    try: run every bucket; a kernel that faults takes its process with it: rather this one than a server

What the words are, stands in request.py. Nothing else is written to stdout: libraries find stderr in its place.
"""

import ctypes
import json
import logging
import os
import resource
import signal
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from typing import IO, Any

from pydantic import TypeAdapter

from modelyard.backends.base import BackendUnavailable, DeviceLost, OutOfMemory
from modelyard.backends.engine import builder, cuda, library
from modelyard.backends.engine.entry import About, EngineKey
from modelyard.backends.engine.request import BUILDING, WAITING, BuildRequest, Device, ProbeRequest, TryRequest
from modelyard.backends.engine.shapes import profiles
from modelyard.backends.engine.store import EngineStore
from modelyard.backends.tensorrt import PlanRefused, TensorRtBackend
from modelyard.errors import ConfigurationError
from modelyard.spec import BackendSpec, ModelSpec

log = logging.getLogger("modelyard.engines")

_NICENESS = 10
_PROGRESS_SECONDS = 0.2
_REQUESTS: TypeAdapter[ProbeRequest | TryRequest | BuildRequest] = TypeAdapter(ProbeRequest | TryRequest | BuildRequest)


class _PlanFaults(Exception):
    """The context died while the plan ran."""


class Events:
    """The way back to the maker."""

    def __init__(self, pipe: IO[str]) -> None:
        self._pipe = pipe
        self._next = 0.0
        self._phase = ""

    def say(self, event: str, **fields: Any) -> None:
        self._pipe.write(json.dumps({"event": event, **fields}) + "\n")
        self._pipe.flush()

    def fail(self, kind: str, reason: object) -> None:
        self.say("failed", kind=kind, reason=" ".join(str(reason).split())[:500])

    def progress(self, phase: str, step: int = 0, steps: int = 0) -> None:
        """TensorRT reports thousands of steps: a new phase is always said, a step now and then."""
        if phase != self._phase or time.monotonic() >= self._next:
            self._phase, self._next = phase, time.monotonic() + _PROGRESS_SECONDS
            self.say("progress", phase=phase, step=step, steps=steps)


def main() -> None:
    events = Events(_take_stdout())
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s", stream=sys.stderr)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash is expected here; gigabytes of core file are not
    request = _REQUESTS.validate_json(sys.stdin.buffer.read())
    _end_with(request.parent)
    os.nice(_NICENESS)  # serving keeps the cores
    try:
        if isinstance(request, ProbeRequest):
            events.say("device", **asdict(_probe()))
        elif isinstance(request, TryRequest):
            _try_stored(request)
            events.say("tried")
        else:
            _build(request, events)
    except builder.UnsupportedModel as error:
        events.fail("operator", error)
    except (OutOfMemory, MemoryError) as error:
        events.fail("memory", error)
    except (PlanRefused, _PlanFaults) as error:
        events.fail("plan", error)
    except BackendUnavailable as error:
        events.fail("other", error)
    except Exception as error:
        log.exception("the engine builder failed")
        events.fail("other", f"{type(error).__name__}: {error}")


def _probe() -> Device:
    """Raises BackendUnavailable, or whatever CUDA raises. Where it segfaults, the parent sees that."""
    cuda.require_device()
    device = cuda.properties()
    return Device(
        gpu=device.name,
        compute_capability=".".join(map(str, device.compute_capability)),
        driver=_dotted(device.driver),
        cuda=_dotted(device.runtime),
        tensorrt=_tensorrt(),
        memory_bytes=device.memory_bytes,
    )


def _tensorrt() -> str:
    """Its version, when it works: its libraries may be missing, or may ask for a newer driver."""
    tensorrt, journal = library.load(), library.Journal()
    try:
        runtime = tensorrt.Runtime(library.logger(tensorrt, journal))
    except (RuntimeError, TypeError):  # TypeError: the binding got no object
        runtime = None
    if runtime is None:
        raise BackendUnavailable(f"{journal.fault('start')}")
    return str(tensorrt.__version__)


def _try_stored(request: TryRequest) -> None:
    plan = EngineStore(request.folder, request.max_bytes).find(request.key)
    if plan is None:
        raise BackendUnavailable("the engine is no longer in the store")
    _try(plan, request.spec, request.backend)


def _try(plan: bytes, spec: ModelSpec, backend: BackendSpec) -> None:
    """Run every bucket. Raises UnsupportedModel where no engine of this model can serve, however often it is built."""
    try:
        engine = TensorRtBackend(plan, spec, backend.model_copy(update={"lanes": 1}))
    except PlanRefused:
        raise
    except (BackendUnavailable, ConfigurationError) as error:
        library.load()
        cuda.require_device()  # these say so themselves where it is the library or the device that is gone
        raise builder.UnsupportedModel(str(error)) from error
    try:
        engine.warm()
    except DeviceLost as error:
        raise _PlanFaults(str(error)) from error
    finally:
        engine.close()


def _build(request: BuildRequest, events: Events) -> None:
    store, key = EngineStore(request.folder, request.max_bytes), request.key
    with store.lock(key, lambda: events.progress(WAITING)):
        if not request.again and store.find(key) is not None:
            events.say("built", path=str(store.folder))
            return
        if not request.again and (reason := store.refusal(key)) is not None:
            raise builder.UnsupportedModel(reason)
        events.progress(BUILDING)
        _check_still(key)
        measured = store.timing_cache(key.tensorrt, key.gpu)
        try:
            built = builder.build(
                request.artifact,
                profiles(request.spec, request.backend),
                request.backend.precision,
                request.workspace_bytes,
                measured,
                events.progress,
            )
            _try(built.plan, request.spec, request.backend)
        except builder.UnsupportedModel as error:
            with suppress(OSError):
                store.remember_refusal(key, str(error))
            raise
        store.publish(key, built.plan, About(request.spec.name, request.version, built.seconds))
        store.forget_refusal(key)
    try:
        store.keep_timing_cache(key.tensorrt, key.gpu, measured, built.timing_cache, builder.combine)
    except Exception as error:  # only the next build is slower
        log.warning("the timing cache is not kept: %s", error)
    events.say("built", path=str(store.folder))


def _check_still(key: EngineKey) -> None:
    """The key was made by a server that may run for months: a plan of the TensorRT of today would not fit it."""
    device = _probe()
    for then, today in (
        (key.tensorrt, device.tensorrt),
        (key.gpu, device.gpu),
        (key.compute_capability, device.compute_capability),
    ):
        if then != today:
            raise BackendUnavailable(f"'{then}' was found when the server started, '{today}' now: restart it")


def _take_stdout() -> IO[str]:
    """The stdout that we were given, for us alone: whatever a library prints there goes to stderr."""
    sys.stdout.flush()
    own = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return own


def _end_with(parent: int) -> None:
    """A builder whose server was killed must not keep the GPU."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:  # it died before that
        os._exit(1)


def _dotted(version: int) -> str:
    """CUDA's 1000 * major + 10 * minor."""
    return f"{version // 1000}.{version % 1000 // 10}"


if __name__ == "__main__":
    main()
