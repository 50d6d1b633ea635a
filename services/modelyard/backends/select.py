"""The chain of backends: the first that is open runs the model; a failing one is left for the next, loudly.

    model.yaml's order: tensorrt -> onnxruntime-cuda -> onnxruntime-cpu

What opens at once is opened at once; an engine is prepared beside the serving (upgrade.py) and adopted when ready.
What a failure says of a link, and what follows:

    any error         the batch runs on the next link at once, so that nothing is lost. When the next one manages what
                      the active one could not, that counts against it; after BREAKER such failures in a row the chain
                      moves on, and tries the better link again every REPROBE_SECONDS. When the next one fails as well,
                      the input is at fault, not the backend.
    OutsideProfile    the batch runs on the next link: the engine was not built for such shapes; counts against nobody
    OutOfMemory       the same, but it counts against nobody: the link is as good as before
    DeviceLost        nothing in this process can be trusted with the device any more: every run fails from now on, the
                      model is not ready, and the application ends the process
    a run that hangs  seen from outside (`hang`): the chain moves on, the model is not ready while it lasts
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

from modelyard import metrics
from modelyard.backends.base import Backend, BackendUnavailable, DeviceLost, OutOfMemory
from modelyard.backends.engine.shapes import OutsideProfile
from modelyard.backends.onnxruntime import PROVIDERS, OnnxRuntimeBackend
from modelyard.errors import ConfigurationError, InvalidInput
from modelyard.spec import BackendSpec, ModelSpec
from modelyard.tensors import Array

log = logging.getLogger("modelyard.backends")

BREAKER = 3
REPROBE_SECONDS = 30.0
PENDING = "its engine is not ready yet"
_REASONS: dict[type[Exception], str] = {OutOfMemory: "memory", OutsideProfile: "shape"}
"""Failures that say nothing against a link, as the metrics name them; all others are `runtime`."""

Open = Callable[[Path, ModelSpec, BackendSpec], Backend]


class Pending(BackendUnavailable):
    """This link takes long to open; somebody else opens it and has the chain adopt it."""


def open_backend(artifact: Path, spec: ModelSpec, backend: BackendSpec) -> Backend:
    """Open one link. Raises BackendUnavailable when it cannot run here."""
    if backend.name in PROVIDERS:
        return OnnxRuntimeBackend(artifact, spec, backend)
    raise Pending(PENDING)


class Chain:
    """A backend made of backends. Thread-safe: executors call `infer` at once."""

    def __init__(
        self,
        artifact: Path,
        spec: ModelSpec,
        open_link: Open = open_backend,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises ConfigurationError when no link can be opened, naming what each one said."""
        self._artifact, self._spec, self._open, self._clock = artifact, spec, open_link, clock
        self._names: list[str] = [backend.name for backend in spec.backends]
        self._links: dict[int, Backend] = {}
        self._lock = threading.Lock()
        self._failures = 0
        self._probes = -1
        self._retry_at = 0.0
        self._hung: int | None = None
        self._closed = False
        self.lost = ""
        """Why nothing can run any more in this process; empty: all is well."""
        self.refusals: dict[str, str] = {}
        """Why each better backend is not in use."""
        first = self._open_from(0)
        if first is None:
            raise ConfigurationError(
                "no backend can run it: " + "; ".join(f"{name}: {why}" for name, why in self.refusals.items())
            )
        self._active = first
        self._show(first, None)
        self._count_start(first)

    @property
    def active(self) -> Backend:
        return self._links[self._active]

    @property
    def on_device(self) -> bool:
        """Does a run wait for a device, rather than keep a core busy?"""
        return self._names[self._active] != "onnxruntime-cpu"

    @property
    def sufficient(self) -> bool:
        """Does it run, and is the active backend at least the spec's minimum?"""
        minimum = self._spec.minimum_backend
        enough = minimum is None or self._active <= self._names.index(minimum)
        return enough and not self.lost and self._hung is None

    @property
    def degraded(self) -> str:
        """Why the model does not run on its first backend; empty when it does."""
        if self._active == 0:
            return ""
        better = self._names[: self._active]
        return "; ".join(f"{name}: {self.refusals.get(name, 'failed while it ran')}" for name in better)

    def infer(self, inputs: Sequence[Array], outputs: Sequence[str]) -> list[Array]:
        """Run on the active link, on a failure on the following ones. Raises the first error when none manages."""
        first_error: Exception | None = None
        failed: list[tuple[int, str]] = []
        position: int | None = self._choose()
        try:
            while position is not None:
                try:
                    results = self._links[position].infer(inputs, outputs)
                except InvalidInput:
                    raise
                except DeviceLost as error:
                    self.lose(str(error), self._names[position])
                    raise
                except Exception as error:
                    first_error = first_error or error
                    failed.append((position, self._count(position, error)))
                    position = self._open_from(position + 1)
                else:
                    self._learn(position, failed)
                    return results
            raise first_error or BackendUnavailable("no backend is open")
        finally:
            del first_error  # its traceback leads back here, and to the link's memory on the device

    def adopt(self, backend: Backend) -> None:
        """From now on `backend` runs what comes, unless a better link is active. What runs elsewhere ends there.

        The links below stay open: they are the fallback.
        """
        position = self._names.index(backend.name)
        with self._lock:
            if self._closed:
                backend.close()
                return
            previous, replaced = self._active, self._links.get(position)
            self._links[position] = backend
            self.refusals.pop(backend.name, None)
            if position <= previous:
                self._active, self._failures = position, 0
        if replaced is not None:
            replaced.close()
        if self._active != previous:
            self._show(self._active, previous)

    def refuse(self, name: str, why: str) -> None:
        """A link that was pending is not to be had: say so, and count it as a fallback to the next one."""
        position = self._names.index(name)
        if self.refusals.get(name) != why:
            self.refusals[name] = why
            self._count_refusal(position)

    def reference(self) -> Backend:
        """The best open link that is no engine: what an engine's answers are compared with."""
        return next(self._links[p] for p in sorted(self._links) if self._names[p] in PROVIDERS)

    def lose(self, why: str, name: str = "") -> None:
        """Nothing can run any more in this process. `name`: the backend that met it, else the active one."""
        if not self.lost:
            name = name or self._names[self._active]
            log.critical("%s: %s is lost to this process: %s", self._spec.name, name, why)
            metrics.backend_errors.labels(self._spec.name, name, "lost").inc()
            self.lost = why

    def hang(self, *, hangs: bool) -> None:
        """A run has not come back in all the time that it may take, or it has at last."""
        with self._lock:
            previous = self._active
            if not hangs:
                self._hung = None
                return
            if self._hung is not None:
                return
            self._hung = previous
        name = self._names[previous]
        log.error("%s: a run on %s hangs", self._spec.name, name)
        metrics.backend_errors.labels(self._spec.name, name, "hang").inc()
        following = self._open_from(previous + 1)
        if following is not None:
            self._move(previous, following, "hang")

    def close(self) -> None:
        with self._lock:
            self._closed = True
        metrics.backend_active.labels(self._spec.name, self.active.name).dec()
        for link in self._links.values():
            link.close()

    def _count(self, position: int, error: Exception) -> str:
        """Count a failed run; the reason as the metrics name it."""
        reason = next((reason for kind, reason in _REASONS.items() if isinstance(error, kind)), "runtime")
        name = self._links[position].name
        level = logging.DEBUG if reason == "shape" else logging.ERROR
        log.log(level, "%s: %s failed (%s)", self._spec.name, name, type(error).__name__)
        metrics.backend_errors.labels(self._spec.name, name, reason).inc()
        return reason

    def _count_start(self, first: int) -> None:
        """Make the series of every possible fallback; a start on a lesser backend counts, and is said aloud."""
        for name in self._names:
            metrics.backend_active.labels(self._spec.name, name)
            for reason in metrics.BACKEND_ERRORS:
                metrics.backend_errors.labels(self._spec.name, name, reason)
        for better, lesser in pairwise(self._names):
            for reason in metrics.FALLBACK_REASONS:
                metrics.backend_fallbacks.labels(self._spec.name, better, lesser, reason)
        for position in range(first):
            if self.refusals[self._names[position]] != PENDING:
                self._count_refusal(position)

    def _count_refusal(self, position: int) -> None:
        better, lesser = self._names[position], self._names[min(position + 1, len(self._names) - 1)]
        log.warning("%s: no %s here: %s", self._spec.name, better, self.refusals[better])
        metrics.backend_fallbacks.labels(self._spec.name, better, lesser, "unavailable").inc()

    def _choose(self) -> int:
        """The active link; now and then one of the better ones, in turn, to see whether it works again."""
        if self.lost:
            raise DeviceLost(self.lost)
        if self._active == 0 or self._clock() < self._retry_at:
            return self._active
        better = [position for position in sorted(self._links) if position < self._active and position != self._hung]
        if not better:
            return self._active
        with self._lock:
            self._retry_at = self._clock() + REPROBE_SECONDS
            self._probes += 1
            return better[self._probes % len(better)]

    def _open_from(self, start: int) -> int | None:
        """The first link at or after `start` that is open or can be opened."""
        for position in range(start, len(self._spec.backends)):
            with self._lock:
                if position in self._links:
                    return position
                backend = self._spec.backends[position]
                try:
                    self._links[position] = self._open(self._artifact, self._spec, backend)
                except BackendUnavailable as error:
                    self.refusals.setdefault(backend.name, str(error))
                else:
                    return position
        return None

    def _learn(self, worked: int, failed: Sequence[tuple[int, str]]) -> None:
        """A batch ran on `worked` after it had failed on others: what does that say of the active link?"""
        if not failed and not self._failures and worked == self._active:
            return
        for position, reason in failed:
            self._count_fallback(position, worked, reason)
        with self._lock:
            previous = self._active
            if any(position == previous and reason == "runtime" for position, reason in failed):
                self._failures += 1
                if self._failures >= BREAKER:
                    self._active, self._failures = worked, 0
                    self._retry_at = self._clock() + REPROBE_SECONDS
            elif not failed and worked <= previous:  # a run that began on the lesser link may end after the recovery
                self._active, self._failures = worked, 0
        if self._active != previous:
            self._show(self._active, previous)

    def _move(self, previous: int, to: int, reason: str) -> None:
        with self._lock:
            if self._active != previous:
                return
            self._active, self._failures = to, 0
            self._retry_at = self._clock() + REPROBE_SECONDS
        self._count_fallback(previous, to, reason)
        self._show(to, previous)

    def _count_fallback(self, better: int, lesser: int, reason: str) -> None:
        metrics.backend_fallbacks.labels(self._spec.name, self._names[better], self._names[lesser], reason).inc()

    def _show(self, position: int, previous: int | None) -> None:
        name = self._links[position].name
        if previous is not None:
            metrics.backend_active.labels(self._spec.name, self._links[previous].name).dec()
            level = logging.INFO if position < previous else logging.WARNING
            log.log(level, "%s: now on %s, before on %s", self._spec.name, name, self._links[previous].name)
        metrics.backend_active.labels(self._spec.name, name).inc()
