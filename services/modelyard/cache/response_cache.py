"""The prediction cache of one model version: known rows are answered, equal ones are computed once.

    row keys -> memory tier -> rows in flight (join) -> Redis tier -> compute -> fill both tiers

Everything between the first and the last step works by callbacks on rows in flight (flight.py): no task, no lock.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from modelyard import metrics
from modelyard.cache.codec import OutputSpec, decode, encode
from modelyard.cache.flight import Flight, Waiter
from modelyard.cache.key import Signature, row_keys
from modelyard.cache.memory import MemoryStore
from modelyard.cache.store import MISS, Key, Missing, Row, Store
from modelyard.errors import ModelyardError
from modelyard.tensors import FLOATING, Array, Tensor

log = logging.getLogger("modelyard.cache")

Done = Callable[[Sequence[Array] | Exception], None]


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
    ) -> None: ...


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
        self, identity: CacheIdentity, memory: MemoryStore | None, redis: Store | None, compute: Compute
    ) -> None:
        self._identity = identity
        self._memory = memory
        self._redis = redis
        self._compute = compute
        self._flights: dict[Key, Flight] = {}

    async def infer(
        self,
        inputs: Sequence[Tensor],
        signature: Signature,
        admit: Callable[[int], None],
        priority: int = 0,
        *,
        limit: float,
    ) -> tuple[list[Array], list[str]]:
        """Outputs in the order of `signature.outputs`, and where each row came from.

        `admit` is called with the number of rows that memory does not know; it may refuse by raising. Raises
        TimeoutError after `limit` seconds.
        """
        identity = self._identity
        keys = row_keys(identity.model, identity.digest, signature, inputs, identity.batched)
        waiter = Waiter(inputs, signature, len(keys), priority)
        unknown = self._answer_from_memory(keys, waiter)
        if unknown:
            admit(len(unknown))
            self._take_off(keys, unknown, waiter)
            timer = asyncio.get_running_loop().call_later(limit, waiter.fail, TimeoutError())
            try:
                await waiter.future
            finally:
                timer.cancel()
                if waiter.left:
                    for flight in waiter.leave():
                        self._forget(flight)  # its work may be dropped: nobody new may join it
        return self._assemble(waiter.rows), waiter.results

    def _answer_from_memory(self, keys: list[Key], waiter: Waiter) -> list[int]:
        """Fill the slots that memory knows; return the others."""
        if self._memory is None:
            return list(range(len(keys)))
        unknown = []
        for slot, key in enumerate(keys):
            row = self._memory.get(key)
            if row is MISS:
                unknown.append(slot)
            else:
                waiter.fill(slot, row, "hit_memory")
        return unknown

    def _take_off(self, keys: list[Key], slots: list[int], waiter: Waiter) -> None:
        """Join the rows in flight; start the others together."""
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
        if started and self._redis is not None and self._redis.up:
            self._ask_redis(self._redis, started, slots_started, waiter)
        elif started:
            self._run(started, slots_started, waiter)

    def _ask_redis(self, redis: Store, flights: list[Flight], slots: list[int], waiter: Waiter) -> None:
        expected = self._outputs(waiter.signature)

        def answered(found: Sequence[bytes | Missing]) -> None:
            unknown, unknown_slots, wrong = [], [], []
            for flight, slot, entry in zip(flights, slots, found, strict=True):
                row = MISS if entry is MISS else decode(flight.key, expected, entry)
                if row is not MISS:
                    self._land(flight, row, "hit_redis", keep=True)
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
        """Compute the rows of `waiter` in `slots`, one flight each."""
        batched = self._identity.batched
        inputs = _take(waiter.inputs, slots) if batched else waiter.inputs

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

        try:
            self._compute(inputs, len(slots) if batched else 1, waiter.signature, done, wanted, waiter.priority)
        except ModelyardError as error:  # refused: not even queued
            self._fail(flights, error)

    def _fill(self, flights: list[Flight], outputs: Sequence[Array], signature: Signature) -> None:
        identity = self._identity
        batched = identity.batched
        expected = self._outputs(signature)
        finite = _finite_rows(expected, outputs, len(flights), batched)
        entries: dict[Key, bytes] = {}
        for index, flight in enumerate(flights):
            row = tuple(array[index, ...].copy() for array in outputs) if batched else tuple(outputs)
            for array in row:
                array.setflags(write=False)  # it is shared from now on
            if finite[index] and self._redis is not None and self._redis.up:
                entries[flight.key] = encode(flight.key, expected, row)
            self._land(flight, row, "miss", keep=finite[index])
        if entries and self._redis is not None:
            self._redis.set(entries, identity.ttl)

    def _land(self, flight: Flight, row: Row, result: str, *, keep: bool) -> None:
        if keep and self._memory is not None:
            self._memory.set(flight.key, row, self._identity.ttl)
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

    def _assemble(self, rows: Sequence[Row | None]) -> list[Array]:
        whole = [row for row in rows if row is not None]
        if not self._identity.batched:
            return list(whole[0])
        if len(whole) == 1:
            return [array[np.newaxis, ...] for array in whole[0]]
        return [np.stack(arrays) for arrays in zip(*whole, strict=True)]


def _take(inputs: Sequence[Tensor], slots: list[int]) -> Sequence[Tensor]:
    """The rows in `slots`: the tensors themselves when that is all of them, views when they are neighbours."""
    first, count = slots[0], len(slots)
    if count == inputs[0].array.shape[0]:
        return inputs
    neighbours = slots[-1] - first + 1 == count
    index: slice | list[int] = slice(first, first + count) if neighbours else slots
    return [Tensor(tensor.name, tensor.datatype, tensor.array[index]) for tensor in inputs]


def _finite_rows(expected: list[OutputSpec], outputs: Sequence[Array], rows: int, batched: bool) -> list[bool]:
    """Per row: does it hold numbers only? A NaN or an infinity is answered, but never kept."""
    good: Array
    finite = np.ones(rows, np.bool_)
    for (_, datatype), array in zip(expected, outputs, strict=True):
        if datatype in FLOATING:
            good = np.isfinite(array)
        elif datatype == "BF16":
            good = (array & 0x7F80) != 0x7F80  # all exponent bits set: NaN or infinity
        else:
            continue
        if good.all():
            continue
        finite &= good.reshape(rows, -1).all(axis=1) if batched else bool(good.all())
    return finite.tolist()
