"""The chain of backends: the first that can be opened runs the model; a failing one is left for the next, loudly.

    model.yaml's order: tensorrt -> onnxruntime-cuda -> onnxruntime-cpu

A batch that fails is run on the next link at once, so that nothing is lost. When the next link manages what the active
one could not, that counts against the active one; after BREAKER such failures in a row the chain moves on and tries the
better link again every REPROBE_SECONDS. When the next link fails as well, the input is at fault, not the backend.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

from modelyard import metrics
from modelyard.backends.base import Backend, BackendUnavailable
from modelyard.backends.onnxruntime import PROVIDERS, OnnxRuntimeBackend
from modelyard.errors import ConfigurationError, InvalidInput
from modelyard.spec import BackendSpec, ModelSpec
from modelyard.tensors import Array

log = logging.getLogger("modelyard.backends")

BREAKER = 3
REPROBE_SECONDS = 30.0

Open = Callable[[Path, ModelSpec, BackendSpec], Backend]


def open_backend(artifact: Path, spec: ModelSpec, backend: BackendSpec) -> Backend:
    """Open one link. Raises BackendUnavailable when it cannot run here."""
    if backend.name in PROVIDERS:
        return OnnxRuntimeBackend(artifact, spec, backend)
    raise BackendUnavailable(f"{backend.name} is not built into this version")


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
        self._links: dict[int, Backend] = {}
        self._lock = threading.Lock()
        self._failures = 0
        self._probes = -1
        self._retry_at = 0.0
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
    def sufficient(self) -> bool:
        """Is the active backend at least the spec's minimum?"""
        names: list[str] = [backend.name for backend in self._spec.backends]
        minimum = self._spec.minimum_backend
        return minimum is None or names.index(self.active.name) <= names.index(minimum)

    def infer(self, inputs: Sequence[Array], outputs: Sequence[str]) -> list[Array]:
        """Run on the active link, on a failure on the following ones. Raises the first error when none manages."""
        first_error: Exception | None = None
        failed: list[int] = []
        position: int | None = self._choose()
        while position is not None:
            try:
                results = self._links[position].infer(inputs, outputs)
            except InvalidInput:
                raise
            except Exception as error:
                first_error = first_error or error
                failed.append(position)
                log.error("%s: %s failed (%s)", self._spec.name, self._links[position].name, type(error).__name__)
                position = self._open_from(position + 1)
            else:
                self._learn(position, failed)
                return results
        raise first_error or BackendUnavailable("no backend is open")

    def close(self) -> None:
        metrics.backend_active.labels(self._spec.name, self.active.name).dec()
        for link in self._links.values():
            link.close()

    def _count_start(self, first: int) -> None:
        """Make the series of every possible fallback; a start on a lesser backend counts, and is said aloud."""
        names = [backend.name for backend in self._spec.backends]
        for better, lesser in pairwise(names):
            for reason in metrics.FALLBACK_REASONS:
                metrics.backend_fallbacks.labels(self._spec.name, better, lesser, reason)
        for position in range(first):
            log.warning("%s: no %s here: %s", self._spec.name, names[position], self.refusals[names[position]])
            metrics.backend_fallbacks.labels(self._spec.name, names[position], names[position + 1], "unavailable").inc()

    def _choose(self) -> int:
        """The active link; now and then one of the better ones, in turn, to see whether it works again."""
        better = [position for position in sorted(self._links) if position < self._active]
        if not better or self._clock() < self._retry_at:
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
                    self.refusals[backend.name] = str(error)
                else:
                    return position
        return None

    def _learn(self, worked: int, failed: Sequence[int]) -> None:
        """A batch ran on `worked` after it had failed on others: what does that say of the active link?"""
        if not failed and not self._failures and worked == self._active:
            return
        for position in failed:
            metrics.backend_fallbacks.labels(
                self._spec.name, self._links[position].name, self._links[worked].name, "runtime"
            ).inc()
        with self._lock:
            previous = self._active
            if previous in failed:
                self._failures += 1
                if self._failures >= BREAKER:
                    self._active, self._failures = worked, 0
                    self._retry_at = self._clock() + REPROBE_SECONDS
            elif not failed and worked <= previous:  # a run that began on the lesser link may end after the recovery
                self._active, self._failures = worked, 0
        if self._active != previous:
            self._show(self._active, previous)

    def _show(self, position: int, previous: int | None) -> None:
        name = self._links[position].name
        if previous is not None:
            metrics.backend_active.labels(self._spec.name, self._links[previous].name).dec()
            log.warning("%s: now on %s, before on %s", self._spec.name, name, self._links[previous].name)
        metrics.backend_active.labels(self._spec.name, name).inc()
