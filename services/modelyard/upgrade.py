"""From ONNX Runtime to TensorRT while the model serves: one thread for each version that asks for an engine.

    probe (child process) -> the store's engine, or build one (child process) -> load -> every bucket warmed
        -> parity with ONNX Runtime on the golden inputs -> the chain adopts it

Nothing of it touches a request. A step that cannot be done leaves the model where it is, and the chain, the metrics and
the log say why. What may succeed later (a build without memory or time) is tried again, each time after a longer wait.
"""

import logging
import threading
import time
from contextlib import suppress

import numpy as np

from modelyard import metrics, parity
from modelyard.backends.base import BackendUnavailable, DeviceLost, OutOfMemory
from modelyard.backends.engine import cuda, library, maker
from modelyard.backends.engine.entry import EngineKey
from modelyard.backends.engine.maker import BuildFailed, BuildStopped, ModelRefused, Progress
from modelyard.backends.engine.request import Device
from modelyard.backends.engine.shapes import UNBATCHED, OutsideProfile, buckets, check_golden, profiles
from modelyard.backends.engine.store import EngineStore
from modelyard.backends.tensorrt import PlanRefused, TensorRtBackend
from modelyard.errors import ConfigurationError
from modelyard.repository import LoadedVersion
from modelyard.settings import Settings
from modelyard.spec import ModelSpec
from modelyard.tensors import DTYPES, Array

log = logging.getLogger("modelyard.upgrade")

ENGINE = "tensorrt"
LAST_RETRY_SECONDS = 3600.0
REPORT_SECONDS = 10.0
STOP_SECONDS = 15.0
MEMORY_SECONDS = 5.0
"""Between two looks at the device's memory."""

_THE_PLANS = {"plan", "crash"}
"""Kinds of failed trials that speak against the plan. All others may be the device's: it is kept, and tried later."""

_probing = threading.Lock()
_probed: list[Device] = []


class _Differs(Exception):
    """The engine does not give ONNX Runtime's answers."""


def wants_engine(spec: ModelSpec) -> bool:
    return any(backend.name == ENGINE for backend in spec.backends)


class Upgrade:
    """The way of one version to its engine."""

    def __init__(self, loaded: LoadedVersion, settings: Settings) -> None:
        self._loaded, self._chain, self._spec = loaded, loaded.chain, loaded.spec
        self._backend = next(backend for backend in loaded.spec.backends if backend.name == ENGINE)
        self._store = EngineStore(settings.engine_folder, settings.engine_store_bytes)
        self._builds = settings.engine_builds
        self._first_retry = settings.engine_retry_seconds
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        for result in metrics.ENGINE_RESULTS:
            metrics.engine_builds.labels(self._spec.name, ENGINE, result)
        metrics.engine_build_duration.labels(self._spec.name, ENGINE, "built")
        metrics.engine_build_steps.labels(self._spec.name)
        self._building = metrics.engine_building.labels(self._spec.name)
        _import_early()

    def start(self) -> None:
        """Begin in a thread; nothing happens when it has begun already."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=f"upgrade-{self._spec.name}", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End what is under way; a child that builds is killed, and leaves nothing half done."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(STOP_SECONDS)

    def run_once(self) -> bool:
        """Go the whole way now. False: it failed in a way that may be cured by waiting. Never raises."""
        self._building.inc()
        try:
            self._chain.adopt(self._prepare())
        except BuildStopped:
            return True
        except BuildFailed as error:
            self._refuse(str(error), "failed")
            return False
        except (ModelRefused, ConfigurationError) as error:
            self._refuse(str(error), "refused")
        except _Differs as error:
            self._refuse(str(error), "differs")
        except BackendUnavailable as error:
            self._chain.refuse(ENGINE, str(error))
        except (OutOfMemory, cuda.CudaError) as error:  # the device is full or busy
            self._refuse(str(error), "failed")
            return False
        except DeviceLost as error:
            self._chain.lose(str(error), ENGINE)
        except Exception as error:  # the thread's last resort: the model serves on
            log.exception("%s: the engine could not be prepared", self._spec.name)
            self._refuse(f"{type(error).__name__} while it was prepared; the log says more", "failed")
        finally:
            self._building.dec()
        return True

    def _run(self) -> None:
        wait = self._first_retry
        while not self.run_once() and not self._stop.is_set():
            log.info("%s: the next attempt at its engine comes in %g s", self._spec.name, wait)
            if self._stop.wait(wait):
                return
            wait = max(wait, min(2 * wait, LAST_RETRY_SECONDS))
        if ENGINE not in self._chain.refusals:
            self._watch_memory()

    def _watch_memory(self) -> None:
        """Show the device's memory from time to time, until it cannot be asked any more."""
        try:
            while not self._stop.wait(MEMORY_SECONDS):
                _show_memory()
        except DeviceLost as error:
            self._chain.lose(str(error), ENGINE)
        except Exception as error:
            log.warning("%s: the device's memory is no longer shown: %s", self._spec.name, error)

    def _prepare(self) -> TensorRtBackend:
        """An engine that is loaded, warmed and right. Raises what `run_once` knows."""
        device = _device(self._stop)
        key = maker.engine_key(self._loaded.manifest.digest, self._spec, self._backend, device)
        inputs = self._inputs()
        backend = self._load_stored(key)
        if backend is None:
            if (refusal := self._store.refusal(key)) is not None:
                raise ModelRefused(refusal)
            backend = TensorRtBackend(self._build(device), self._spec, self._backend)
        try:
            self._check(backend, inputs)
            _show_memory()
        except BaseException:
            backend.close()
            raise
        return backend

    def _load_stored(self, key: EngineKey) -> TensorRtBackend | None:
        """The engine that the store has, if it runs: in a child process first, where a faulting kernel does no harm."""
        plan = self._store.find(key)
        if plan is None:
            return None
        try:
            maker.try_plan(self._store, key, self._spec, self._backend, self._stop)
            backend = TensorRtBackend(plan, self._spec, self._backend)
        except (BuildFailed, PlanRefused) as error:
            if not self._builds or (isinstance(error, BuildFailed) and error.kind not in _THE_PLANS):
                raise
            log.error("%s: %s; it is built anew", self._spec.name, error)
            self._store.remove(key, plan)
            return None
        self._count("found")
        return backend

    def _build(self, device: Device) -> bytes:
        if not self._builds:
            raise BackendUnavailable(
                f"no engine for {device.gpu} and TensorRT {device.tensorrt} in {self._store.folder}, and none is built "
                f"here: modelyard engines build {self._spec.name} --model-version {self._loaded.version}"
            )
        started = time.monotonic()
        log.info("%s: building an engine for %s with TensorRT %s", self._spec.name, device.gpu, device.tensorrt)
        plan = maker.ensure(
            self._store,
            self._loaded.artifact,
            self._loaded.manifest.digest,
            self._spec,
            self._backend,
            device,
            _Report(self._spec.name),
            self._stop,
        )
        seconds = time.monotonic() - started
        metrics.engine_build_duration.labels(self._spec.name, ENGINE, "built").observe(seconds)
        self._count("built")
        log.info("%s: the engine was built in %.1f s (%d bytes)", self._spec.name, seconds, len(plan))
        return plan

    def _inputs(self) -> list[Array]:
        """What an engine is compared on: the golden inputs, or zeros of the shapes that it is best at.

        Raises ModelRefused for golden inputs that no engine takes, before one is built.
        """
        first = profiles(self._spec, self._backend)[0]
        if not self._loaded.manifest.golden:
            return [
                np.zeros(port.opt, DTYPES[tensor.datatype])
                for port, tensor in zip(first.inputs, self._spec.inputs, strict=True)
            ]
        try:
            check_golden(first, {t.name: a.shape for t, a in zip(self._spec.inputs, self._loaded.inputs, strict=True)})
        except OutsideProfile as error:
            raise ModelRefused(str(error)) from None
        return self._loaded.inputs

    def _check(self, backend: TensorRtBackend, inputs: list[Array]) -> None:
        """Warm every bucket, then compare with ONNX Runtime in every bucket. Raises _Differs."""
        backend.warm()
        names = [tensor.name for tensor in self._spec.outputs]
        reference = self._chain.reference().infer(inputs, names)
        for rows in buckets(self._spec):
            answers = backend.infer([_rows(array, rows) for array in inputs], names)
            expected = [_rows(array, rows) for array in reference]
            compared = zip(self._spec.outputs, answers, expected, strict=True)
            why = parity.difference(
                ((t.name, t.datatype, answer, right) for t, answer, right in compared), self._backend
            )
            if why:
                raise _Differs(f"with {rows} rows {why}" if rows != UNBATCHED else why)

    def _refuse(self, why: str, result: str) -> None:
        self._count(result)
        self._chain.refuse(ENGINE, why)

    def _count(self, result: str) -> None:
        metrics.engine_builds.labels(self._spec.name, ENGINE, result).inc()


class _Report:
    """The progress of a build, for the log and the metrics."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._steps = metrics.engine_build_steps.labels(model)
        self._last: Progress | None = None
        self._said = 0.0

    def __call__(self, progress: Progress) -> None:
        last = self._last
        new_phase = last is None or last.phase != progress.phase
        before = 0 if last is None or new_phase else last.step
        self._steps.inc(max(0, progress.step - before))
        self._last = progress
        if new_phase or progress.seconds - self._said >= REPORT_SECONDS:
            self._said = progress.seconds
            of = f" of {progress.steps}" if progress.steps else ""
            log.info(
                "%s: engine, %s, step %d%s, %.0f s", self._model, progress.phase, progress.step, of, progress.seconds
            )


def _import_early() -> None:
    """An import stops all threads while libraries are loaded: TensorRT's before anybody is served, not meanwhile."""
    with suppress(BackendUnavailable):
        cuda.runtime()
        library.load()


def _device(stop: threading.Event) -> Device:
    """The GPU; one good probe does for all models. Raises BackendUnavailable."""
    with _probing:
        if not _probed:
            _probed.append(maker.probe(stop=stop))
        return _probed[0]


def _rows(array: Array, rows: int) -> Array:
    """The first rows, over again where there are not enough."""
    return array if rows == UNBATCHED else np.resize(array, (rows, *array.shape[1:]))


def _show_memory() -> None:
    free, total = cuda.memory()
    metrics.gpu_memory_used.labels("0").set(total - free)
    metrics.gpu_memory_limit.labels("0").set(total)
