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

A run in the event loop takes the CPU's link or fails: it must not wait for a device.
"""

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from modelyard.backends.base import Backend, BackendUnavailable, DeviceLost, OutOfMemory
from modelyard.backends.onnxruntime import PROVIDERS, OnnxRuntimeBackend
from modelyard.backends.said import Said
from modelyard.errors import ConfigurationError, InvalidInput
from modelyard.spec import BackendSpec, ModelSpec
from modelyard.tensors import Array

BREAKER = 3
REPROBE_SECONDS = 30.0
PENDING = "its engine is not ready yet"
CPU = "onnxruntime-cpu"
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
        self._opening = threading.Lock()
        self._running: dict[int, int] = {}
        """The link that each thread's run is on, the oldest run first."""
        self.loop_thread: int | None = None
        """The event loop's, by its id: no run in it ever goes to a device."""
        self._cpu = self._names.index(CPU) if CPU in self._names else -1
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
        self._said = Said(spec.name, self._names)
        self._said.active(first, None)
        for position in range(first):  # a start on a lesser backend counts, and is said aloud
            if (why := self.refusals[self._names[position]]) != PENDING:
                self._said.refused(position, why)

    @property
    def active(self) -> Backend:
        return self._links[self._active]

    @property
    def on_device(self) -> bool:
        """Does a run wait for a device, rather than keep a core busy? Or may the next one, as a trial of a better link?

        Where all runs stayed in the event loop, no better link would ever be tried.
        """
        return self._names[self._active] != CPU or (self._clock() >= self._retry_at and bool(self._better()))

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
        """Run on the active link, on a failure on the following ones.

        When none manages, raises OutOfMemory where that was one of the errors, since it passes; else the first error.
        """
        first_error: Exception | None = None
        failed: list[tuple[int, str]] = []
        thread = threading.get_ident()
        position: int | None = self._choose(thread)
        try:
            while position is not None:
                self._running[thread] = position
                try:
                    results = self._links[position].infer(inputs, outputs)
                except InvalidInput:
                    raise
                except DeviceLost as error:
                    self.lose(str(error), self._names[position])
                    raise
                except Exception as error:
                    if not isinstance(first_error, OutOfMemory):
                        first_error = error if isinstance(error, OutOfMemory) else first_error or error
                    failed.append((position, self._said.failed(position, error)))
                    position = None if thread == self.loop_thread else self._open_from(position + 1)
                else:
                    self._learn(position, failed)
                    return results
            raise first_error or BackendUnavailable("no backend is open")
        finally:
            self._running.pop(thread, None)
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
            self._said.refused(position, why)

    def reference(self) -> Backend:
        """The best open link that is no engine: what an engine's answers are compared with."""
        return next(self._links[p] for p in sorted(self._links) if self._names[p] in PROVIDERS)

    def lose(self, why: str, name: str = "") -> None:
        """Nothing can run any more in this process. `name`: who met it, else who hangs or is active."""
        if not self.lost:
            self._said.lost(name or self._names[self._active if self._hung is None else self._hung], why)
            self.lost = why

    def hang(self, *, hangs: bool) -> None:
        """A run has not come back in all the time that it may take, or it has at last. In the event loop.

        What it hangs on is what the oldest run is on: where that was a trial of a better link, the active one is well.
        """
        with self._lock:
            if not hangs:
                self._hung = None
                return
            if self._hung is not None:
                return
            running = list(self._running.values())
            self._hung = hung = running[0] if running else self._active
        self._said.hangs(hung)
        if hung != self._active:
            return
        if hung + 1 in self._links:
            self._leave(hung)
        else:  # to open a link takes long, and what hangs may hold that up too
            threading.Thread(target=self._leave, args=(hung,), name="leave-hung", daemon=True).start()

    def close(self) -> None:
        """Waits for runs that are on a device: not to be called in the event loop."""
        with self._opening, self._lock:
            self._closed = True
            links = list(self._links.values())
            self._said.inactive(self._active)
        for link in links:
            link.close()

    def _leave(self, hung: int) -> None:
        """From now on the next link runs what comes."""
        following = self._open_from(hung + 1)
        if following is not None:
            self._move(hung, following, "hang")

    def _better(self) -> list[int]:
        """Links before the active one that may be tried."""
        return [position for position in sorted(self._links) if position < self._active and position != self._hung]

    def _choose(self, thread: int) -> int:
        """The active link; now and then one of the better ones, in turn, to see whether it works again.

        In the event loop the CPU's: a run is sent there while that is the active one, which may change meanwhile.
        """
        if self.lost:
            raise DeviceLost(self.lost)
        if thread == self.loop_thread and self._cpu in self._links:
            return self._cpu
        if self._active == 0 or self._clock() < self._retry_at or not (better := self._better()):
            return self._active
        with self._lock:
            self._retry_at = self._clock() + REPROBE_SECONDS
            self._probes += 1
            return better[self._probes % len(better)]

    def _open_from(self, start: int) -> int | None:
        """The first link at or after `start` that is open or can be opened."""
        for position in range(start, len(self._spec.backends)):
            if position in self._links:
                return position
            with self._opening:
                if self._open_link(position):
                    return position
        return None

    def _open_link(self, position: int) -> bool:
        """Holding `_opening`."""
        if position in self._links or self._closed:  # somebody else was faster, or nobody needs it any more
            return not self._closed
        backend = self._spec.backends[position]
        try:
            link = self._open(self._artifact, self._spec, backend)
        except BackendUnavailable as error:
            self.refusals.setdefault(backend.name, str(error))
            return False
        with self._lock:
            self._links[position] = link
        return True

    def _learn(self, worked: int, failed: Sequence[tuple[int, str]]) -> None:
        """A batch ran on `worked` after it had failed on others: what does that say of the active link?"""
        if not failed and not self._failures and worked == self._active:
            return
        for position, reason in failed:
            self._said.fell_back(position, worked, reason)
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
            if self._active != previous or self._hung != previous:  # it has come back meanwhile
                return
            self._active, self._failures = to, 0
            self._retry_at = self._clock() + REPROBE_SECONDS
        self._said.fell_back(previous, to, reason)
        self._show(to, previous)

    def _show(self, position: int, previous: int) -> None:
        if not self._closed:
            self._said.active(position, previous)
