"""The prediction cache of one model version: known rows are answered, equal ones are computed once.

    row keys -> memory tier -> rows in flight (join) -> Redis tier -> compute -> fill both tiers

Everything between the first and the last step works by callbacks on rows in flight (flight.py): no task, no lock.
Each tier is asked only while that pays (worth.py). What it costs is counted in CPU time of the event loop's thread: on
a busy core the clock on the wall also counts the runs of the model that come between.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from modelyard import metrics
from modelyard.cache.codec import OutputSpec, decode, encode
from modelyard.cache.flight import Flight, Waiter, Work
from modelyard.cache.key import Signature, row_keys
from modelyard.cache.memory import MemoryStore
from modelyard.cache.rows import assemble, finite_rows, separate, take
from modelyard.cache.store import MISS, Key, Missing, Row, Store
from modelyard.cache.worth import EVIDENCE, PerRow, Share, Worth
from modelyard.errors import ModelyardError
from modelyard.tensors import Array, Tensor

log = logging.getLogger("modelyard.cache")

Done = Callable[[Sequence[Array] | Exception], None]
Known = tuple[Sequence[Array], list[str]]
"""Outputs in the order in which they were asked for, and where each row came from."""


class Compute(Protocol):
    """Runs the model on some rows, later, and calls `done` with the outputs or the error, unless nobody wants them."""

    def __call__(
        self,
        inputs: Sequence[Tensor],
        rows: int,
        signature: Signature,
        done: Done,
        wanted: Callable[[], bool],
        priority: int,
    ) -> Work: ...


@dataclass(frozen=True, slots=True)
class CacheIdentity:
    """What sets this model's entries apart, and how its rows look."""

    model: str
    digest: str
    batched: bool
    datatypes: dict[str, str]
    """Output name to datatype."""
    ttl: float


class ResponseCache:
    def __init__(
        self,
        identity: CacheIdentity,
        memory: MemoryStore | None,
        redis: Store | None,
        compute: Compute,
        factor: float = 0.0,
        evidence: float = EVIDENCE,
    ) -> None:
        """`factor`: a tier that never hits may take this part of the model's time; `evidence`: see worth.py."""
        self._identity = identity
        self._memory = memory
        self._redis = redis
        self._compute = compute
        self._flights: dict[Key, Flight] = {}
        self.tiers = {"memory": Worth(factor, evidence)} if memory is not None else {}
        if redis is not None:
            self.tiers["redis"] = Worth(factor, evidence)
        self.pays = True
        """False while no tier is worth asking: then the model is to be run without the cache."""
        self._known = Share()
        self.worth_a_look = memory is not None
        """Whether a request that the queue has no room for is to be looked up all the same: memory may know it."""

    def review(self, model: PerRow) -> None:
        """Decide for each tier whether it is worth asking. `model`: seconds of a row without the cache."""
        for worth in self.tiers.values():
            worth.review(model, time.monotonic())
        self.pays = any(worth.admitted for worth in self.tiers.values()) or not self.tiers
        self._known.settle()
        memory = self.tiers.get("memory")
        self.worth_a_look = memory is not None and memory.worth_a_look(model, self._known)

    def submit(
        self,
        inputs: Sequence[Tensor],
        signature: Signature,
        admit: Callable[[int], None],
        done: Callable[[Known | Exception], None],
        priority: int = 0,
    ) -> Waiter | None:
        """Answer by calling `done` once: now when memory knows every row (None is returned), else later.

        `admit` is called with the number of rows that neither memory nor anybody in flight has, if there are any; it
        may refuse by raising.
        """
        started = time.thread_time()
        identity = self._identity
        keys = row_keys(identity.model, identity.digest, signature, inputs, identity.batched)
        rows = self._from_memory(keys)
        unknown = [slot for slot, row in enumerate(rows) if row is MISS]
        self._known.add(known=not unknown)
        if not unknown:
            self._spent_here(started, len(keys), len(keys))
            done((assemble(rows, identity.batched), ["hit_memory"] * len(rows)))
            return None
        if new := {key for slot in unknown if (key := keys[slot]) not in self._flights}:
            admit(len(new))  # to join costs the model nothing

        def finished(waiter: Waiter, error: Exception | None) -> None:
            if error is None:
                done((assemble(waiter.rows, identity.batched), waiter.results))
            else:
                self.leave(waiter)
                done(error)

        waiter = Waiter(inputs, signature, len(keys), priority, finished)
        for slot, row in enumerate(rows):
            if row is not MISS:
                waiter.fill(slot, row, "hit_memory")
        flights, slots = self._take_off(keys, unknown, waiter)
        self._spent_here(started, len(keys), len(keys) - len(unknown))
        redis = self._usable_redis()
        if flights and redis is not None:
            self._ask_redis(redis, flights, slots, waiter)
        elif flights:
            self._run(flights, slots, waiter)
        return waiter

    def leave(self, waiter: Waiter) -> None:
        """The waiter's request is over: what only it wanted may be dropped, and nobody new may join it."""
        left = set()
        for flight in waiter.leave():
            self._forget(flight)
            if flight.work is not None:
                left.add(flight.work)
                flight.work = None
        for work in left:
            work.leave()

    def _from_memory(self, keys: list[Key]) -> Sequence[Row | Missing]:
        memory = self._memory
        if memory is None or not self.tiers["memory"].admitted:
            return [MISS] * len(keys)
        return [memory.get(key) for key in keys]

    def _spent_here(self, started: float, rows: int = 0, hits: int = 0) -> None:
        """On keys, memory and rows in flight: the price of memory, or of Redis where memory is not asked."""
        seconds = time.thread_time() - started
        memory = self.tiers.get("memory")
        if memory is not None and memory.admitted:
            memory.asked(seconds, rows, hits)
        elif self._usable_redis() is not None:
            self.tiers["redis"].asked(seconds, 0)

    def _usable_redis(self) -> Store | None:
        redis = self._redis
        return redis if redis is not None and redis.up and self.tiers["redis"].admitted else None

    def _take_off(self, keys: list[Key], slots: list[int], waiter: Waiter) -> tuple[list[Flight], list[int]]:
        """Join the rows in flight. Returns the flights to start, and their slots."""
        started, slots_started = [], []
        for slot in slots:
            key = keys[slot]
            flight = self._flights.get(key)
            if flight is not None:
                flight.join(waiter, slot)
                continue
            self._flights[key] = flight = Flight(key, waiter, slot)
            started.append(flight)
            slots_started.append(slot)
        return started, slots_started

    def _ask_redis(self, redis: Store, flights: list[Flight], slots: list[int], waiter: Waiter) -> None:
        expected = self._outputs(waiter.signature)

        def answered(found: Sequence[bytes | Missing]) -> None:
            started = time.thread_time()
            rows = [
                MISS if entry is MISS else decode(flight.key, expected, entry)
                for flight, entry in zip(flights, found, strict=True)
            ]
            seconds = time.thread_time() - started + redis.seconds_per_key * len(rows)
            self.tiers["redis"].asked(seconds, len(rows), len(rows) - rows.count(MISS))
            unknown, unknown_slots, wrong = [], [], []
            for flight, slot, entry, row in zip(flights, slots, found, rows, strict=True):
                if row is not MISS:
                    self._keep(flight.key, row)
                    self._land(flight, row, "hit_redis")
                    continue
                if entry is not MISS:
                    wrong.append(flight.key)
                unknown.append(flight)
                unknown_slots.append(slot)
            if wrong:
                metrics.cache_rows.labels(self._identity.model, "corrupt").inc(len(wrong))
                redis.delete(wrong)
            if unknown:
                self._run(unknown, unknown_slots, waiter)

        def guarded(future: asyncio.Future[list[bytes | Missing]]) -> None:
            try:
                answered(future.result())
            except (Exception, asyncio.CancelledError) as error:
                # a fault of the cache is never one of the request: what has not landed is computed
                log.error("a cache look-up failed: %s", type(error).__name__)
                left = [(f, s) for f, s in zip(flights, slots, strict=True) if self._flights.get(f.key) is f]
                if left:
                    self._run([flight for flight, _ in left], [slot for _, slot in left], waiter)

        redis.get([flight.key for flight in flights]).add_done_callback(guarded)

    def _run(self, flights: list[Flight], slots: list[int], waiter: Waiter) -> None:
        """Compute the rows of `waiter` in `slots`, one flight each, unless all who wait have left meanwhile."""

        def done(result: Sequence[Array] | Exception) -> None:
            if isinstance(result, Exception):
                self._fail(flights, result)
                return
            try:
                self._fill(flights, result, waiter.signature)
            except Exception as error:
                self._fail([flight for flight in flights if flight.waiting], error)
                raise

        def wanted() -> bool:
            return any(flight.waiting for flight in flights)

        if not wanted():
            return
        batched = self._identity.batched
        inputs = take(waiter.inputs, slots) if batched else waiter.inputs
        priority = 1 if any(flight.urgent for flight in flights) else waiter.priority
        try:
            work = self._compute(inputs, len(slots) if batched else 1, waiter.signature, done, wanted, priority)
        except ModelyardError as error:  # refused: not even queued
            self._fail(flights, error)
            return
        for flight in flights:
            flight.work = work

    def _fill(self, flights: list[Flight], outputs: Sequence[Array], signature: Signature) -> None:
        started = time.thread_time()
        identity = self._identity
        expected = self._outputs(signature)
        rows = separate(outputs, len(flights), identity.batched)
        finite = finite_rows([datatype for _, datatype in expected], outputs, len(flights), identity.batched)
        kept = [(flight.key, row) for flight, row, good in zip(flights, rows, finite, strict=True) if good]
        for key, row in kept:
            self._keep(key, row)
        self._spent_here(started)
        redis = self._usable_redis()
        if redis is not None and kept:
            started = time.thread_time()
            redis.set({key: encode(key, expected, row) for key, row in kept}, identity.ttl)
            self.tiers["redis"].asked(time.thread_time() - started + redis.seconds_per_entry * len(kept), 0)
        for flight, row in zip(flights, rows, strict=True):
            self._land(flight, row, "miss")

    def _keep(self, key: Key, row: Row) -> None:
        if self._memory is not None and self.tiers["memory"].admitted:
            self._memory.set(key, row, self._identity.ttl)

    def _land(self, flight: Flight, row: Row, result: str) -> None:
        self._forget(flight)
        flight.land(row, result)

    def _fail(self, flights: list[Flight], error: Exception) -> None:
        """The leader gets the error; whoever merely joined gets one more run, together, whose error is final."""
        for flight in flights:
            self._forget(flight)
            followers = flight.fail(error)
            if followers:
                waiter, slot = followers[0]
                again = Flight(flight.key, waiter, slot, final=True)
                for other, other_slot in followers[1:]:
                    again.join(other, other_slot)
                self._run([again], [slot], waiter)

    def _forget(self, flight: Flight) -> None:
        if self._flights.get(flight.key) is flight:
            del self._flights[flight.key]

    def _outputs(self, signature: Signature) -> list[OutputSpec]:
        return [(name, self._identity.datatypes[name]) for name in signature.outputs]
