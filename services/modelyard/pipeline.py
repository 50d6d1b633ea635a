"""The path of one model version: validate -> admission -> cache -> batcher -> backend -> answer.

Pipeline.infer            in the event loop; one call per request
    check_inputs          refuse what the model cannot take
    ResponseCache.infer   known rows, rows in flight, Redis
        Admission.admit   only for rows that must be computed
        Batcher.submit    merged with others', run in the loop or in a thread
            Chain.infer   the active backend
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from modelyard import metrics
from modelyard.admission import Admission
from modelyard.batching.batcher import Batcher, Execution, Item
from modelyard.batching.cost import CostModel
from modelyard.cache.key import Signature
from modelyard.cache.memory import MemoryStore
from modelyard.cache.response_cache import CacheIdentity, Done, ResponseCache
from modelyard.cache.store import Store
from modelyard.errors import BackendError, DeadlineExceeded, ModelyardError
from modelyard.repository import LoadedVersion
from modelyard.settings import Settings
from modelyard.statistics import Duration, ModelStatistics
from modelyard.tensors import DTYPES, Array, InferRequest, InferResponse, Tensor
from modelyard.validate import check_inputs, check_outputs

log = logging.getLogger("modelyard.pipeline")


@dataclass(frozen=True, slots=True)
class Shared:
    """What all pipelines of a process share."""

    settings: Settings
    executors: int
    pool: ThreadPoolExecutor
    memory: MemoryStore | None
    redis: Store | None


class Pipeline:
    def __init__(self, loaded: LoadedVersion, shared: Shared) -> None:
        self.spec = spec = loaded.spec
        self.version = loaded.version
        self.manifest = loaded.manifest
        self.chain = loaded.chain
        self.metrics = metrics.of_model(spec.name, loaded.version)
        self.statistics = ModelStatistics(spec.name, loaded.version)
        settings = shared.settings
        self._admission = Admission(spec.name, spec.limits.queue_seconds, settings.max_queue_bytes)
        self._datatypes = {tensor.name: tensor.datatype for tensor in spec.outputs}
        self._batcher = Batcher(
            self._run,
            shared.pool,
            executors=shared.executors,
            max_batch_size=spec.batching.max_batch_size,
            max_queue_delay=spec.batching.max_queue_delay_ms / 1000,
            buckets=spec.batching.buckets,
            inline_seconds=settings.inline_seconds,
            cost=CostModel(loaded.batch_seconds),
            observe=self._observe,
            observe_queue=self.metrics.queue_rows.set,
        )
        self._cache = self._build_cache(shared)
        self._open = 0
        self._closing = False
        self._idle = asyncio.Event()
        self._show(1)

    @property
    def ready(self) -> bool:
        return self.chain.sufficient

    async def infer(self, request: InferRequest) -> InferResponse:
        """Answer a request. Raises a ModelyardError; nothing else leaves here."""
        spec = self.spec
        inputs, rows = check_inputs(spec, request.inputs)
        outputs = check_outputs(spec, request.outputs)
        timeout = spec.limits.deadline_seconds
        if request.timeout is not None:
            timeout = min(timeout, request.timeout)
        if timeout <= 0:
            raise DeadlineExceeded("the deadline had passed before the request was looked at")
        started = time.perf_counter()
        self._open += 1
        try:
            arrays, results = await self._answer(inputs, rows, outputs, request, timeout)
        except TimeoutError:
            raise DeadlineExceeded(f"the deadline of {timeout:g} s passed while the request waited") from None
        except ModelyardError:
            raise
        except Exception as error:
            log.error("%s version %s failed: %s", spec.name, self.version, _without_values(error))
            raise BackendError(spec.name) from None
        finally:
            self._open -= 1
            if self._closing and not self._open:
                self._idle.set()
        self._count_rows(results, rows, time.perf_counter() - started)
        tensors = [Tensor(n, self._datatypes[n], a) for n, a in zip(outputs, arrays, strict=True)]
        parameters = {"cache": summary(results), "backend": self.chain.active.name}
        return InferResponse(spec.name, self.version, tensors, request.id, dict(parameters))

    def converted(self, decode_seconds: float, encode_seconds: float) -> None:
        """Count what a face spent on converting one request and its answer."""
        self.metrics.stage["decode"].observe(decode_seconds)
        self.metrics.stage["encode"].observe(encode_seconds)
        self.statistics.compute_input.add(decode_seconds)
        self.statistics.compute_output.add(encode_seconds)

    async def close(self) -> None:
        """Answer what is in flight, then let go of the backend."""
        self._show(0)
        self._closing = True
        if self._open:
            await self._idle.wait()
        self.chain.close()

    async def _answer(
        self, inputs: list[Tensor], rows: int, outputs: tuple[str, ...], request: InferRequest, limit: float
    ) -> tuple[Sequence[Array], list[str]]:
        nbytes = sum(tensor.array.nbytes for tensor in inputs)
        batcher = self._batcher

        def admit(_: int) -> None:
            self._admission.admit(batcher.estimated_wait, limit, batcher.queued_bytes, nbytes)

        if self._cache is None or not rows:
            admit(rows)
            return await self._compute_alone(inputs, rows, outputs, request, limit), ["bypass"] * rows
        signature = Signature.of(inputs, outputs, request.parameters, self.spec.batched)
        return await self._cache.infer(inputs, signature, admit, request.priority, limit=limit)

    async def _compute_alone(
        self, inputs: list[Tensor], rows: int, outputs: tuple[str, ...], request: InferRequest, limit: float
    ) -> Sequence[Array]:
        """Without the cache: one item, one future."""
        future: asyncio.Future[Sequence[Array]] = asyncio.get_running_loop().create_future()

        def done(result: Sequence[Array] | Exception) -> None:
            if future.done():
                return
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)

        signature = Signature.of(inputs, outputs, {}, self.spec.batched)
        self._submit(inputs, rows, signature, done, lambda: not future.done(), request.priority)
        timer = asyncio.get_running_loop().call_later(limit, done, TimeoutError())
        try:
            return await future
        finally:
            timer.cancel()

    def _submit(
        self,
        inputs: Sequence[Tensor],
        rows: int,
        signature: Signature,
        done: Done,
        wanted: Callable[[], bool],
        priority: int = 0,
    ) -> None:
        arrays = [tensor.array for tensor in inputs]
        nbytes = sum(array.nbytes for array in arrays)
        self._batcher.submit(Item(arrays, rows, signature, signature.outputs, done, wanted, priority, nbytes))

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
        """Metrics and statistics of one run of the model."""
        m, s = self.metrics, self.statistics
        runs = 1 + execution.requests if execution.retried else 1
        if execution.retried:
            m.batch_retries.inc()
        m.batch_rows.observe(execution.rows)
        m.stage["infer"].observe(execution.seconds)
        m.stage["queue"].observe(max(execution.queue_seconds))
        s.execution_count += runs
        s.compute_infer.add(execution.seconds)
        s.queue.add(sum(execution.queue_seconds), execution.requests)
        s.batches.setdefault(execution.rows, Duration()).add(execution.seconds, runs)

    def _count_rows(self, results: list[str], rows: int, seconds: float) -> None:
        self.statistics.inference_count += rows
        counts = {results[0]: 1} if rows == 1 else Counter(results)
        for result, count in counts.items():
            self.metrics.cache_rows[result].inc(count)
        computed = counts.get("miss", 0) + counts.get("bypass", 0)
        if computed:
            self.statistics.cache_miss.add(seconds, counts.get("miss", 0))
        else:
            self.metrics.stage["cache"].observe(seconds)
            self.statistics.cache_hit.add(seconds, counts.get("hit_memory", 0) + counts.get("hit_redis", 0))

    def _build_cache(self, shared: Shared) -> ResponseCache | None:
        spec = self.spec
        if not (spec.cache.enabled and shared.settings.cache_enabled):
            return None
        memory = shared.memory if "memory" in spec.cache.tiers else None
        redis = shared.redis if "redis" in spec.cache.tiers else None
        identity = CacheIdentity(spec.name, self.manifest.digest, spec.batched, self._datatypes, spec.cache.ttl_seconds)
        return ResponseCache(identity, memory, redis, self._submit)

    def _show(self, value: int) -> None:
        """The version's gauges."""
        name, active = self.spec.name, self.chain.active
        metrics.model_ready.labels(name, self.version).set(value)
        metrics.model_info.labels(name, self.version, self.manifest.digest[:12], active.name, active.precision).set(
            value
        )


def summary(results: Sequence[str]) -> str:
    """One word for a whole response: hit, join, miss, bypass, or partial when some rows were known and some not."""
    if len(results) == 1:
        return "hit" if results[0].startswith("hit") else results[0]
    kinds = {"hit" if result.startswith("hit") else result for result in results} or {"bypass"}
    if len(kinds) == 1:
        return kinds.pop()
    return "partial" if "miss" in kinds else "join"


def _without_values(error: Exception) -> str:
    """An error for the log: its kind and the failing node, without the input values that runtimes quote."""
    text = str(error).split("Status Message", 1)[0].splitlines()
    return f"{type(error).__name__}: {text[0][:300] if text else ''}"
