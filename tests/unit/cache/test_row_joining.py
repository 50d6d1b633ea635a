"""Rows in flight under every order of events: a machine asks, answers, fails, leaves, and looks after each step.

Whatever happens, a request that ends well has its own rows' answers in its own order, and it ends once. A failure is
that of whoever started the run, and of nobody who merely joined; only a second failure is everybody's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from modelyard.cache.codec import encode
from modelyard.cache.flight import Waiter
from modelyard.cache.key import Signature, row_keys
from modelyard.cache.memory import MemoryStore
from modelyard.cache.response_cache import CacheIdentity, Done, Known, ResponseCache
from modelyard.cache.store import MISS, Key, Missing
from modelyard.errors import BackendError, ModelyardError, Overloaded
from modelyard.tensors import Array, Tensor
from tests.unit.cache.fakes import MODEL, FakeRedis, Model, Queued, settle

ROWS = st.integers(0, 3)
MOSTLY = st.sampled_from([True, True, True, False])
SECOND_RUN = -1
"""Owner of a run that followers of a failed one got together."""


def inputs_of(rows: Sequence[float]) -> list[Tensor]:
    return [Tensor("x", "FP32", np.array(rows, np.float32).reshape(-1, 1))]


def right(rows: Sequence[float]) -> list[Array]:
    """What the model answers."""
    return [np.array(rows, np.float32).reshape(-1, 1) * 10]


SIGNATURE = Signature.of(inputs_of([0]), ("y",), {}, batched=True)
KEYS = {row: row_keys(MODEL, "digest", SIGNATURE, inputs_of([row]), batched=True)[0] for row in range(4)}


@dataclass(eq=False)
class Run(Queued):
    """The model was handed some rows."""

    owner: int
    """Number of the request that started it."""
    rows: list[float]
    count: int
    done: Done
    wanted: Callable[[], bool]


class Runs(Model):
    """Keeps who started each run; `refusing` raises an error of its own each time instead."""

    def __init__(self) -> None:
        super().__init__()
        self.owner = SECOND_RUN
        self.refusing = False
        self.open: list[Run] = []
        self.origins: dict[Exception, int] = {}
        """Error to the owner of the run that failed with it."""

    def compute(
        self,
        inputs: Sequence[Tensor],
        rows: int,
        signature: Signature,  # noqa: ARG002  (the port gives it)
        done: Done,
        wanted: Callable[[], bool],
        priority: int,  # noqa: ARG002  (as above)
    ) -> Run:
        owner, self.owner = self.owner, SECOND_RUN  # a second run within one step is one of followers
        if self.refusing:
            raise self.failure(Overloaded("full"), owner)
        self.open.append(run := Run(owner, inputs[0].array.reshape(-1).tolist(), rows, done, wanted))
        return run

    def failure(self, error: ModelyardError, owner: int) -> ModelyardError:
        self.origins[error] = owner
        return error


class Redis(FakeRedis):
    """Can be asked outside the event loop: starting one for every step would take most of the time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(hold=True)
        self.loop = loop

    def get(self, keys: Sequence[Key]) -> asyncio.Future[list[bytes | Missing]]:
        future: asyncio.Future[list[bytes | Missing]] = self.loop.create_future()
        self.asked.append((keys, future))
        return future


@dataclass
class Request:
    number: int
    rows: list[int]
    ends: list[Known | Exception] = field(default_factory=list)
    waiter: Waiter | None = None
    left: bool = False

    @property
    def open(self) -> bool:
        return not self.left and not self.ends


@dataclass
class LookUp:
    """Redis was asked."""

    owner: int
    keys: Sequence[Key]
    future: asyncio.Future[list[bytes | Missing]]


class RowJoining(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.requests: list[Request] = []
        self.look_ups: list[LookUp] = []
        self.numbers = count()
        self.torn: set[int] = set()
        """Rows whose work was left or failed once: more runs than one may have them, all but one of them unwanted."""

    @initialize(memory=MOSTLY, redis=MOSTLY, known=st.sets(ROWS))
    def make(self, memory: bool, redis: bool, known: set[int]) -> None:
        """`known`: rows that other replicas have written to Redis."""
        self.redis = Redis(self.loop)
        for row in known:
            self.redis.entries[KEYS[row]] = encode(KEYS[row], [("y", "FP32")], (right([row])[0][0],))
        self.model = Runs()
        self.memory = MemoryStore(2**20) if memory else None
        identity = CacheIdentity(MODEL, "digest", True, {"y": "FP32"}, ttl=60.0)
        self.cache = ResponseCache(identity, self.memory, self.redis if redis else None, self.model.compute)

    # --- what may happen ----------------------------------------------------------------------------------------------

    @rule(rows=st.lists(ROWS, min_size=1, max_size=4), queued=MOSTLY)
    def ask(self, rows: list[int], queued: bool) -> None:
        """`queued`: the model takes what it is handed; else it refuses, its queue being full."""
        request = Request(next(self.numbers), rows)
        self.requests.append(request)
        self.model.refusing = not queued
        self._happen(request.number, partial(self._submit, request))
        self.model.refusing = False
        self.look_ups += [LookUp(request.number, *asked) for asked in self.redis.asked]
        self.redis.asked.clear()

    @precondition(lambda self: self.model.open)
    @rule(data=st.data(), well=MOSTLY)
    def end_a_run(self, data: st.DataObject, well: bool) -> None:
        run = self.model.open.pop(data.draw(st.integers(0, len(self.model.open) - 1)))
        if well:
            self._happen(SECOND_RUN, partial(run.done, right(run.rows)))
            return
        error = self.model.failure(BackendError(MODEL), run.owner)
        starter = next((request for request in self.requests if request.number == run.owner and request.open), None)
        self._happen(SECOND_RUN, partial(run.done, error))
        assert starter is None or starter.ends == [error]

    @precondition(lambda self: any(not run.wanted() for run in self.model.open))
    @rule()
    def drop(self) -> None:
        """The batcher throws away what nobody wants, and says nothing."""
        self.model.open = [run for run in self.model.open if run.wanted()]

    @precondition(lambda self: self.look_ups)
    @rule(data=st.data(), how=st.sampled_from(["told"] * 4 + ["missed", "corrupt", "broken", "refused"]))
    def look_up(self, data: st.DataObject, how: str) -> None:
        look_up = self.look_ups.pop(data.draw(st.integers(0, len(self.look_ups) - 1)))
        found: list[bytes | Missing] = [self.redis.entries.get(key, MISS) for key in look_up.keys]
        replies: dict[str, list[bytes | Missing]] = {
            "missed": [MISS] * len(found),
            "corrupt": [entry if place % 2 else b"no entry" for place, entry in enumerate(found)],
            "broken": found[1:],
        }
        self.model.refusing = how == "refused"
        self._happen(look_up.owner, partial(self._tell, look_up, replies.get(how, found)))
        self.model.refusing = False

    @precondition(lambda self: any(request.open for request in self.requests))
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        request = data.draw(st.sampled_from([request for request in self.requests if request.open]))
        assert request.waiter is not None
        request.left = True
        self.torn |= set(request.rows)
        self.cache.leave(request.waiter)

    @rule(what=st.sampled_from(["memory", "redis", "evict", "down"]), used=st.booleans())
    def tiers_change(self, what: str, used: bool) -> None:
        """One is kept out by a review, or comes back; memory loses what it holds; Redis goes down, or comes up."""
        if what in self.cache.tiers:
            self.cache.tiers[what].admitted = used
        elif what == "evict" and self.memory is not None:
            self.memory.clear()
        elif what == "down":
            self.redis._up = used

    # --- what must hold -----------------------------------------------------------------------------------------------

    @invariant()
    def each_ends_once_and_well_or_with_an_error_of_its_own(self) -> None:
        for request in self.requests:
            assert len(request.ends) <= 1
            for end in request.ends:
                if isinstance(end, Exception):
                    assert self.model.origins[end] in (request.number, SECOND_RUN)
                    continue
                outputs, results = end
                assert outputs[0].reshape(-1).tolist() == [10.0 * row for row in request.rows]
                assert set(results) <= {"hit_memory", "hit_redis", "join", "miss"}

    @invariant()
    def who_waits_is_waited_upon(self) -> None:
        """Each open row hangs on one flight, which a new request would join, unless it is a last try."""
        for request in self.requests:
            if not request.open:
                continue
            waiter = request.waiter
            assert waiter is not None
            slots = [slot for flight in set(waiter.flights) for other, slot in flight.waiting if other is waiter]
            assert sorted(slots) == [slot for slot, row in enumerate(waiter.rows) if row is MISS]
            for flight in waiter.flights:
                assert flight.final or not flight.waiting or self.cache._flights[flight.key] is flight

    @invariant()
    def a_run_computes_each_row_once(self) -> None:
        for run in self.model.open if self.requests else ():
            assert run.count == len(run.rows) == len(set(run.rows))
            assert run.wanted() or run.left, "the queue was told"

    @invariant()
    def nobody_is_asked_twice_for_a_row(self) -> None:
        asked = [float(row) for look_up in self.look_ups for row, key in KEYS.items() if key in look_up.keys]
        asked += [row for run in self.model.open for row in run.rows]
        whole = [row for row in asked if row not in self.torn]
        assert len(whole) == len(set(whole))

    @invariant()
    def what_flies_has_somebody_who_waits(self) -> None:
        if self.requests:
            for flight in self.cache._flights.values():
                assert flight.waiting
                assert all(waiter.open for waiter, _ in flight.waiting)

    def teardown(self) -> None:
        """At the end everything that is open is answered, and then nothing is left."""
        for _ in range(4):  # a look-up, a run, perhaps a second run
            for look_up in self.look_ups:
                self._happen(look_up.owner, partial(self._tell, look_up, [MISS] * len(look_up.keys)))
            self.look_ups.clear()
            runs, self.model.open = (self.model.open, []) if self.requests else ([], [])
            for run in runs:
                if run.wanted():
                    self._happen(SECOND_RUN, partial(run.done, right(run.rows)))
        self.loop.close()
        if self.requests:
            self.each_ends_once_and_well_or_with_an_error_of_its_own()
            assert not [request for request in self.requests if request.open], "everybody is answered"
            assert not self.cache._flights

    # --- how ----------------------------------------------------------------------------------------------------------

    def _submit(self, request: Request) -> None:
        admitted: list[int] = []
        request.waiter = self.cache.submit(inputs_of(request.rows), SIGNATURE, admitted.append, request.ends.append)
        assert request.waiter is not None or not admitted
        assert request.waiter is not None or request.ends, "memory knew every row: answered now"

    def _tell(self, look_up: LookUp, found: list[bytes | Missing]) -> None:
        look_up.future.set_result(found)
        self.loop.run_until_complete(settle(2))

    def _happen(self, owner: int, event: Callable[[], object]) -> None:
        """A run that begins is that of `owner`. Rows of failures are torn."""
        ended = [request for request in self.requests if request.ends]

        self.model.owner = owner
        event()
        for request in self.requests:
            if request not in ended and request.ends and isinstance(request.ends[0], Exception):
                self.torn |= set(request.rows)


TestRowJoining = pytest.mark.timeout(400)(RowJoining.TestCase)  # a defect is long to shrink
TestRowJoining.settings = settings(max_examples=300, stateful_step_count=25, deadline=None)
