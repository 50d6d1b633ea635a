"""The path of one model version: validate -> admission -> cache -> batcher -> backend -> answer.

Pipeline.submit           in the event loop; one call per request, by callbacks: a coroutine costs as much as a model
    check_inputs          refuse what the model cannot take
    ResponseCache.submit  known rows, rows in flight, Redis; left out while look-ups do not pay, or unwanted
        Admission.admit   only for rows that must be computed
        Batcher.submit    merged with others', run in the loop or in a thread
            Chain.infer   the active backend
    respond               now or later, once
"""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from math import inf

from modelyard import metrics
from modelyard.admission import Admission
from modelyard.aside import aside
from modelyard.backends.base import DeviceLost
from modelyard.batching.batcher import Batcher
from modelyard.batching.cost import CostModel
from modelyard.batching.item import Execution, Item
from modelyard.cache.key import Signature
from modelyard.cache.memory import MemoryStore
from modelyard.cache.response_cache import CacheIdentity, Done, Known, ResponseCache
from modelyard.cache.store import Store
from modelyard.cache.worth import PerRow
from modelyard.call import Call, settle
from modelyard.deadlines import Deadlines
from modelyard.errors import DeadlineExceeded, ModelyardError
from modelyard.failures import as_answer
from modelyard.ledger import BYPASS, Ledger, NoLedger, summary
from modelyard.observing.observer import Observer, Observing
from modelyard.repository import LoadedVersion
from modelyard.settings import Settings
from modelyard.spec import ModelSpec
from modelyard.statistics import ModelStatistics
from modelyard.tensors import DTYPES, Array, InferRequest, InferResponse, Parameter, Tensor
from modelyard.upgrade import Upgrade, wants_engine
from modelyard.validate import check_inputs, check_outputs
from modelyard.watch import BackendWatch

Respond = Callable[[InferResponse | Exception], None]


@dataclass(frozen=True, slots=True)
class Shared:
    """What all pipelines of a process share."""

    settings: Settings
    executors: int
    pool: ThreadPoolExecutor
    memory: MemoryStore | None
    redis: Store | None
    observing: Observing | None = None


class Pipeline:
    def __init__(self, loaded: LoadedVersion, shared: Shared) -> None:
        self.spec = spec = loaded.spec
        self.version = loaded.version
        self.manifest = loaded.manifest
        self.artifact, self.chain = loaded.artifact, loaded.chain
        self.statistics = ModelStatistics(spec.name, loaded.version)
        settings = shared.settings
        book = Ledger if settings.metrics else NoLedger
        self.ledger = book(metrics.of_model(spec.name, self.version), self.statistics)
        self.observer: Observer | None = None
        self._admission = Admission(spec.name, spec.limits.queue_seconds, settings.max_queue_bytes)
        self._datatypes = {tensor.name: tensor.datatype for tensor in spec.outputs}
        self._outputs = tuple(self._datatypes)
        self._plain = _plain_signature(spec)
        self._row_cost = PerRow()
        self._batcher = Batcher(
            self._run,
            shared.pool,
            executors=min(spec.batching.executors or shared.executors, shared.executors),
            max_batch_size=spec.batching.merge_rows or spec.batching.max_batch_size,
            max_queue_delay=spec.batching.max_queue_delay_ms / 1000,
            buckets=spec.batching.buckets,
            inline_seconds=settings.inline_seconds,
            cost=CostModel(loaded.batch_seconds, loaded.warmed),
            observe=self._observe,
        )
        self._batcher.in_loop.barred = self.chain.on_device
        self.chain.loop_thread = threading.get_ident()  # a pipeline is made in the loop's thread
        self._cache = self._build_cache(shared)
        self._worth = metrics.CacheWorth(spec.name, self._cache.tiers if self._cache else ())
        self._deadlines = Deadlines()
        self._watch = BackendWatch(loaded, settings.watchdog_seconds)
        self.upgrade = Upgrade(loaded, settings) if wants_engine(spec) else None

    @property
    def ready(self) -> bool:
        return self.chain.sufficient

    def submit(self, request: InferRequest, respond: Respond) -> Call[InferResponse]:
        """Answer a request by calling `respond` once, now or later. Raises ModelyardErrors for what is refused."""
        inputs, rows = check_inputs(self.spec, request.inputs)
        outputs = check_outputs(self.spec, request.outputs) if request.outputs else self._outputs
        call: Call[InferResponse] = Call(self._deadlines, self.limit(request), respond)
        try:
            if rows and request.cached and self._cache is not None and self._cache.pays:
                self._look_up(self._cache, request, inputs, outputs, call)
            else:
                self._compute(request, inputs, rows, outputs, call)
        except Exception as error:
            call.end(self._failure(error))
        return call

    def _compute(
        self,
        request: InferRequest,
        inputs: list[Tensor],
        rows: int,
        outputs: tuple[str, ...],
        call: Call[InferResponse],
    ) -> None:
        """Without the cache: one item of the batcher."""

        def computed(result: Sequence[Array] | Exception) -> None:
            if isinstance(result, Exception):
                call.end(self._failure(result))
            elif call.open:
                self.ledger.bypassed(rows)
                call.end(self._response(request, outputs, result, BYPASS))

        arrays, nbytes = _arrays(inputs)
        self._admit(request, call, nbytes)
        signature = self._signature(inputs, outputs, {})
        item = Item(arrays, rows, signature, outputs, computed, call.wanted, request.priority, nbytes)
        call.left = self._batcher.submit(item).leave

    def _look_up(
        self,
        cache: ResponseCache,
        request: InferRequest,
        inputs: list[Tensor],
        outputs: tuple[str, ...],
        call: Call[InferResponse],
    ) -> None:
        """Through the cache, which has the unknown rows computed."""
        started = time.perf_counter()

        def known(result: Known | Exception) -> None:
            if isinstance(result, Exception):
                call.end(self._failure(result))
            elif call.open:
                arrays, results = result
                self.ledger.rows(results, time.perf_counter() - started)
                call.end(self._response(request, outputs, arrays, summary(results)))

        def admit(_: int) -> None:
            self._admit(request, call, _arrays(inputs)[1])

        signature = self._signature(inputs, outputs, request.parameters)
        waiter = cache.submit(inputs, signature, admit, known, request.priority)
        if waiter is not None and call.open:
            call.left = partial(cache.leave, waiter)

    def _admit(self, request: InferRequest, call: Call[InferResponse], nbytes: int) -> None:
        batcher = self._batcher
        wait = batcher.estimated_wait(urgent=request.priority == 1)
        self._admission.admit(wait, call.limit, batcher.queued_bytes, nbytes)

    def admit_unseen(self, nbytes: int, *, urgent: bool = True) -> None:
        """Refuse a request before it is decoded, when the cache would hardly know it either. Raises Overloaded.

        `urgent`: it may be of priority 1, which has to wait for fewer.
        """
        # under overload most requests are refused: what that costs is taken from those that are answered
        if self._cache is None or not self._cache.worth_a_look:
            if not urgent:
                self._admission.repeat()
            wait = self._batcher.estimated_wait(urgent=urgent)
            self._admission.admit(wait, inf, self._batcher.queued_bytes, nbytes)

    async def infer(self, request: InferRequest) -> InferResponse:
        """As `submit`, awaited."""
        future: asyncio.Future[InferResponse] = asyncio.get_running_loop().create_future()
        call = self.submit(request, partial(settle, future))
        try:
            return await future
        finally:
            call.cancel()  # nothing happens to a call that has ended

    def settle(self) -> None:
        """Now and then: what was noted becomes metrics, and is the cache still worth its price?"""
        self.ledger.settle(len(self._deadlines), self._batcher.queued_rows)
        self._watch.settle(self._batcher.oldest_run)
        self._batcher.in_loop.barred = self.chain.on_device
        self._row_cost.settle()
        if self._cache is None:
            return
        self._cache.review(self._row_cost)
        for tier, worth in self._cache.tiers.items():
            self._worth.show(
                tier,
                admitted=worth.admitted,
                lookup_seconds=worth.look_up.value,
                row_seconds=self._row_cost.value,
            )

    def abandon(self) -> None:
        """Nothing can run any more: what is open is answered so, also what hangs in a run."""
        self._deadlines.end_all(self._failure(DeviceLost(self.chain.lost)))

    async def close(self) -> None:
        """Answer what is in flight, then let go of the backend, once its last run has ended. The watch goes on."""
        self._watch.close()
        await self._deadlines.empty()
        self.settle()
        if self.observer is not None:
            self.observer.close()
        await aside(self.chain.close)

    def limit(self, request: InferRequest) -> float:
        """Seconds until the request's deadline. Raises DeadlineExceeded."""
        limit = self.spec.limits.deadline_seconds
        if request.timeout is not None:
            limit = min(limit, request.timeout)
        if limit <= 0:
            raise DeadlineExceeded("the deadline had passed before the request was looked at")
        return limit

    def _signature(
        self, inputs: Sequence[Tensor], outputs: tuple[str, ...], parameters: Mapping[str, Parameter]
    ) -> Signature:
        if outputs is self._outputs and not parameters and self._plain is not None:
            return self._plain
        return Signature.of(inputs, outputs, parameters, self.spec.batched)

    def _response(
        self, request: InferRequest, outputs: tuple[str, ...], arrays: Sequence[Array], cache: str
    ) -> InferResponse:
        tensors = [Tensor(n, self._datatypes[n], a) for n, a in zip(outputs, arrays, strict=True)]
        parameters: dict[str, Parameter] = {"cache": cache, "backend": self.chain.active.name}
        return InferResponse(self.spec.name, self.version, tensors, request.id, parameters)

    def _failure(self, error: Exception) -> ModelyardError:
        return as_answer(error, self.spec.name, self.version)

    def _submit(
        self,
        inputs: Sequence[Tensor],
        rows: int,
        signature: Signature,
        done: Done,
        wanted: Callable[[], bool],
        priority: int = 0,
    ) -> Item:
        """For the cache: its port Compute."""
        arrays, nbytes = _arrays(inputs)
        return self._batcher.submit(Item(arrays, rows, signature, signature.outputs, done, wanted, priority, nbytes))

    def _run(self, inputs: Sequence[Array], outputs: tuple[str, ...]) -> Sequence[Array]:
        """Run the chain and hold the model to its spec. In an executor thread, or inline."""
        arrays = self.chain.infer(inputs, outputs)
        rows = inputs[0].shape[0] if self.spec.batched else None
        for name, array in zip(outputs, arrays, strict=True):
            if array.dtype != DTYPES[self._datatypes[name]] or (rows is not None and array.shape[:1] != (rows,)):
                raise RuntimeError(
                    f"output '{name}' came as {array.dtype} {array.shape}, which model.yaml does not say"
                )
        return arrays

    def _observe(self, execution: Execution) -> None:
        self._row_cost.add(execution.seconds, execution.rows)
        self.ledger.run(execution)

    def _build_cache(self, shared: Shared) -> ResponseCache | None:
        spec, settings = self.spec, shared.settings
        if not (spec.cache.enabled and settings.cache_enabled):
            return None
        memory = shared.memory if "memory" in spec.cache.tiers else None
        redis = shared.redis if "redis" in spec.cache.tiers else None
        identity = CacheIdentity(spec.name, self.manifest.digest, spec.batched, self._datatypes, spec.cache.ttl_seconds)
        return ResponseCache(
            identity, memory, redis, self._submit, settings.cache_factor, settings.cache_evidence_seconds
        )


def _arrays(inputs: Sequence[Tensor]) -> tuple[list[Array], int]:
    """The arrays and their bytes."""
    arrays = [tensor.array for tensor in inputs]
    return arrays, sum([array.nbytes for array in arrays])


def _plain_signature(spec: ModelSpec) -> Signature | None:
    """That of a request without parameters for all outputs; None where shapes vary from row to row."""
    start = 1 if spec.batched else 0
    shapes = [(tensor.name, tensor.datatype, tensor.shape[start:]) for tensor in spec.inputs]
    if any(-1 in shape for _, _, shape in shapes):
        return None
    return Signature(tuple(shapes), tuple(tensor.name for tensor in spec.outputs), ())
