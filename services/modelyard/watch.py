"""The watch over one version's backend: what is shown of it, and what becomes of a run that does not come back.

    oldest run > watchdog_seconds        the chain moves on, the model is not ready; it may come back
    oldest run > 2 * watchdog_seconds    it will not: the chain is lost, and the application ends the process

A thread that hangs in a device cannot be ended from inside the process; its caller gets 504 at the deadline.
"""

from modelyard import metrics
from modelyard.repository import LoadedVersion


class BackendWatch:
    def __init__(self, loaded: LoadedVersion, watchdog_seconds: float) -> None:
        self._chain = loaded.chain
        self._limit = watchdog_seconds
        self._labels = (loaded.spec.name, loaded.version)
        self._digest = loaded.manifest.digest[:12]
        self._shown: tuple[str, str] | None = None
        self._hangs = False
        self._ready = metrics.model_ready.labels(*self._labels)
        self._closed = False
        self.settle(0.0)

    def settle(self, oldest_run: float) -> None:
        """Now and then, with the seconds for which the oldest run has been going on."""
        if self._limit:
            self._watch(oldest_run)
        metrics.backend_run_age.labels(*self._labels).set(oldest_run)
        self._ready.set(self._chain.sufficient and not self._closed)
        active = (self._chain.active.name, self._chain.active.precision)
        if active != self._shown and not self._closed:
            before, self._shown = self._shown, active
            self._show_info(self._shown, 1)  # first: a version of which no info is shown counts as not loaded
            self._show_info(before, 0)
            metrics.backend_degraded.labels(*self._labels).set(bool(self._chain.degraded))

    def close(self) -> None:
        self._closed = True
        self._ready.set(0)
        metrics.backend_degraded.labels(*self._labels).set(0)
        self._show_info(self._shown, 0)

    def _watch(self, oldest_run: float) -> None:
        hangs = oldest_run > self._limit
        if hangs != self._hangs:
            self._hangs = hangs
            self._chain.hang(hangs=hangs)
        if oldest_run > 2 * self._limit:
            self._chain.lose(f"a run has been going on for {oldest_run:.0f} s")

    def _show_info(self, shown: tuple[str, str] | None, value: int) -> None:
        if shown is not None:
            metrics.model_info.labels(*self._labels, self._digest, *shown).set(value)
