"""How a server comes by an engine: ask the store, or else a child process that builds it. Nothing here touches CUDA.

    probe(timeout) -> Device
    try_plan(store, key, ...)  a child runs every bucket of an engine that is there
    ensure(store, artifact, ..., device) -> store.find -> plan
                                         -> child: build -> store.find -> plan
                                              out of memory, or of time: once more with a quarter of the workspace

    BackendUnavailable
    |-- ModelRefused       TensorRT cannot take this model: never again for this artifact and this TensorRT
    `-- BuildFailed        it may succeed later; the caller decides when
        `-- BuildStopped   the caller's event was set

All of them are one line for the log and for `modelyard inspect`.
"""

import json
import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

from modelyard.backends.base import BackendUnavailable
from modelyard.backends.engine import builder
from modelyard.backends.engine.entry import EngineKey
from modelyard.backends.engine.process import ChildProcess, ChildStopped, ChildTimeout, Event
from modelyard.backends.engine.request import BUILDING, WAITING, BuildRequest, Device, ProbeRequest, TryRequest
from modelyard.backends.engine.shapes import profiles
from modelyard.backends.engine.store import EngineStore
from modelyard.spec import BackendSpec, ModelSpec

log = logging.getLogger("modelyard.engines")

PROBE_SECONDS = 60.0
TRY_SECONDS = 300.0
_START_SECONDS = 60.0
"""Until a child has read its request and has asked for the lock."""
_WAITING_BUILDS = 2
"""Times build_seconds: another process may need both of its tries."""
_CRASHES = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP}
"""Signals that a process brings upon itself; it did not end of what stood in the way of its start, or of a SIGTERM."""
_LIBRARIES = {"tensorrt": "TensorRT", "cuda.bindings.runtime": "cuda-python"}


class ModelRefused(BackendUnavailable):
    pass


class BuildFailed(BackendUnavailable):
    def __init__(self, reason: str, kind: str) -> None:
        """`kind`: memory, timeout, plan, crash, stopped or other."""
        super().__init__(reason)
        self.kind = kind


class BuildStopped(BuildFailed):
    pass


@dataclass(frozen=True, slots=True)
class Progress:
    phase: str
    """waiting (for another process's build), building, or a phase of TensorRT's own."""
    step: int
    steps: int
    """0: unknown."""
    seconds: float
    """Since the request for this engine."""


Report = Callable[[Progress], None]


def probe(timeout: float = PROBE_SECONDS, stop: threading.Event | None = None) -> Device:
    """The GPU that engines can be built for and run on. Raises BackendUnavailable with a short reason."""
    for module, name in _LIBRARIES.items():
        if not _installed(module):
            raise BackendUnavailable(f"{name} is not installed")
    with ChildProcess(ProbeRequest(parent=os.getpid()), stop or threading.Event()) as child:
        try:
            event = child.event(time.monotonic() + timeout)
        except ChildTimeout:
            raise BackendUnavailable(f"the GPU did not answer within {timeout:g} s") from None
        except ChildStopped:
            raise BackendUnavailable("stopped") from None
        ended = child.end()
    if event is None:
        raise BackendUnavailable(f"the probe of the GPU {ended[1]}")
    if event.pop("event") != "device":
        raise BackendUnavailable(str(event["reason"]))
    return Device(**event)


def engine_key(onnx_sha256: str, spec: ModelSpec, backend: BackendSpec, device: Device) -> EngineKey:
    """Raises BackendUnavailable when no engine can be built for these shapes."""
    wanted = [asdict(profile) for profile in profiles(spec, backend)]
    return EngineKey(
        onnx_sha256,
        device.tensorrt,
        device.gpu,
        device.compute_capability,
        backend.precision,
        json.dumps(wanted, sort_keys=True, separators=(",", ":")),
        builder.flags(backend.precision),
    )


def try_plan(store: EngineStore, key: EngineKey, spec: ModelSpec, backend: BackendSpec, stop: threading.Event) -> None:
    """Have a child run an engine first. Raises BuildFailed when it does not run there, BuildStopped."""
    request = TryRequest(
        parent=os.getpid(),
        folder=store.folder.absolute(),
        max_bytes=store.max_bytes,
        key=key,
        spec=spec,
        backend=backend,
    )
    _Follow(TRY_SECONDS, lambda _: None).run(request, stop)


def ensure(
    store: EngineStore,
    artifact: Path,
    onnx_sha256: str,
    spec: ModelSpec,
    backend: BackendSpec,
    device: Device,
    progress: Report,
    stop: threading.Event,
    again: bool = False,
) -> bytes:
    """The plan. Blocks for as long as a build takes; `progress` is called in this thread.

    `again` builds it anew though it is there, or was refused. Raises BackendUnavailable, ModelRefused, BuildFailed.
    """
    key = engine_key(onnx_sha256, spec, backend, device)
    if not again:
        if (plan := store.find(key)) is not None:
            return plan
        if (reason := store.refusal(key)) is not None:
            raise ModelRefused(reason)
    request = BuildRequest(
        parent=os.getpid(),
        folder=store.folder.absolute(),
        max_bytes=store.max_bytes,
        key=key,
        version=artifact.parent.name,
        artifact=artifact.absolute(),
        spec=spec,
        backend=backend,
        workspace_bytes=backend.workspace_mib * 2**20,
        again=again,
    )
    _build(request, progress, stop)
    if (plan := store.find(key)) is None:
        raise BuildFailed("the engine was built and is not in the store: the log says why", "other")
    return plan


def _build(request: BuildRequest, progress: Report, stop: threading.Event) -> None:
    follow = _Follow(request.backend.build_seconds, progress)
    try:
        follow.run(request, stop)
    except BuildFailed as error:
        if error.kind not in {"memory", "timeout"}:
            raise
        log.warning("%s: %s; once more with a quarter of the workspace", request.spec.name, error)
        follow.run(request.model_copy(update={"workspace_bytes": request.workspace_bytes // 4}), stop)


class _Follow:
    """Turns a builder's events into reports, and its end into a return or an error."""

    def __init__(self, build_seconds: float, progress: Report) -> None:
        self._build_seconds, self._progress = build_seconds, progress
        self._started = time.monotonic()

    def run(self, request: BuildRequest | TryRequest, stop: threading.Event) -> None:
        if isinstance(request, TryRequest):
            self._allow(TRY_SECONDS, "the engine did not run", "timeout")
        else:
            self._allow(_START_SECONDS, "the builder did not start", "other")
        with ChildProcess(request, stop) as child:
            try:
                while (event := child.event(self._deadline)) is not None and event["event"] == "progress":
                    self._report(event)
            except ChildStopped:
                raise BuildStopped("the build was stopped", "stopped") from None
            except ChildTimeout:
                raise BuildFailed(*self._late) from None
            status, words = child.end()
        if event is None:
            raise _ended(status, words)
        _check(event)

    def _allow(self, seconds: float, what: str, kind: str) -> None:
        self._deadline = time.monotonic() + seconds
        self._late = (f"{what} within {seconds:g} s", kind)

    def _report(self, event: Event) -> None:
        phase = event["phase"]
        if phase == WAITING:
            others = _WAITING_BUILDS * self._build_seconds
            self._allow(others, "another process that builds this engine was not done", "other")
        elif phase == BUILDING:
            self._allow(self._build_seconds, "the engine was not built", "timeout")
        self._progress(Progress(phase, event["step"], event["steps"], time.monotonic() - self._started))


def _check(event: Event) -> None:
    """The last event of a build or a trial. Raises ModelRefused or BuildFailed."""
    if event["event"] not in {"built", "tried"}:
        kind, reason = event["kind"], event["reason"]
        raise ModelRefused(reason) if kind == "operator" else BuildFailed(reason, kind)


def _ended(status: int, words: str) -> BuildFailed:
    """The end of a builder that had not said how it went."""
    if status == -signal.SIGKILL:  # as the kernel does when memory runs out; we kill only where we raise by ourselves
        return BuildFailed(f"the builder {words}: most likely the host has no memory left", "memory")
    return BuildFailed(f"the builder {words}", "crash" if -status in _CRASHES else "other")


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ImportError:  # of a package that it is in
        return False
