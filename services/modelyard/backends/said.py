"""What a chain says of its links, in the log and in the metrics: which one runs, what failed, who stood in for whom."""

import logging
from collections.abc import Sequence
from itertools import pairwise

from modelyard import metrics
from modelyard.backends.base import OutOfMemory
from modelyard.backends.engine.shapes import OutsideProfile

log = logging.getLogger("modelyard.backends")

_REASONS: dict[type[Exception], str] = {OutOfMemory: "memory", OutsideProfile: "shape"}
"""Failures that say nothing against a link, as the metrics name them; all others are `runtime`."""


class Said:
    """Links are named by their position."""

    def __init__(self, model: str, names: Sequence[str]) -> None:
        """Makes the series of every possible fallback."""
        self._model, self._names = model, names
        for name in names:
            metrics.backend_active.labels(model, name)
            for reason in metrics.BACKEND_ERRORS:
                metrics.backend_errors.labels(model, name, reason)
        for better, lesser in pairwise(names):
            for reason in metrics.FALLBACK_REASONS:
                metrics.backend_fallbacks.labels(model, better, lesser, reason)

    def failed(self, position: int, error: Exception) -> str:
        """Count a failed run; the reason as the metrics name it."""
        reason = next((reason for kind, reason in _REASONS.items() if isinstance(error, kind)), "runtime")
        level = logging.DEBUG if reason == "shape" else logging.ERROR
        log.log(level, "%s: %s failed (%s)", self._model, self._names[position], type(error).__name__)
        metrics.backend_errors.labels(self._model, self._names[position], reason).inc()
        return reason

    def hangs(self, position: int) -> None:
        log.error("%s: a run on %s hangs", self._model, self._names[position])
        metrics.backend_errors.labels(self._model, self._names[position], "hang").inc()

    def lost(self, name: str, why: str) -> None:
        log.critical("%s: %s is lost to this process: %s", self._model, name, why)
        metrics.backend_errors.labels(self._model, name, "lost").inc()

    def refused(self, position: int, why: str) -> None:
        log.warning("%s: no %s here: %s", self._model, self._names[position], why)
        self.fell_back(position, min(position + 1, len(self._names) - 1), "unavailable")

    def fell_back(self, better: int, lesser: int, reason: str) -> None:
        metrics.backend_fallbacks.labels(self._model, self._names[better], self._names[lesser], reason).inc()

    def active(self, position: int, previous: int | None) -> None:
        """`previous`: the link before, None at the start."""
        name = self._names[position]
        if previous is not None:
            self.inactive(previous)
            level = logging.INFO if position < previous else logging.WARNING
            log.log(level, "%s: now on %s, before on %s", self._model, name, self._names[previous])
        metrics.backend_active.labels(self._model, name).inc()

    def inactive(self, position: int) -> None:
        metrics.backend_active.labels(self._model, self._names[position]).dec()
