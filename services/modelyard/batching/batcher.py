"""The queue before a model: when an executor is free, run what waits. Events, no timers.

Requests that arrive within one turn of the event loop, or while all executors are busy, run as one batch. Only equal
signatures share a batch. Rows are counted, not requests. Where executors would idle, and runs take longer with more
rows, what waits is spread over them. Work that nobody waits for any more is dropped before it runs. A batch that
fails is run again request by request, so that a bad one fails alone.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor

from modelyard.batching.batch import bucket, merge, pad, split, without_frames
from modelyard.batching.cost import CostModel
from modelyard.batching.in_loop import InLoop
from modelyard.batching.item import Execution, Item, Result
from modelyard.batching.runs import Runs
from modelyard.tensors import Array

log = logging.getLogger("modelyard.batching")

AHEAD_SECONDS = 0.02
"""Work that each executor may be given beyond what it runs."""
SPREAD_RATIO, SPREAD_SECONDS = 0.75, 0.001
"""A batch is spread over free executors when its parts take at most this share of its time, and so much less."""


class Batcher:
    def __init__(
        self,
        infer: Callable[[Sequence[Array], tuple[str, ...]], Sequence[Array]],
        pool: ThreadPoolExecutor,
        *,
        executors: int,
        max_batch_size: int,
        max_queue_delay: float = 0.0,
        cost: CostModel,
        buckets: Sequence[int] = (),
        inline_seconds: float = 0.0,
        observe: Callable[[Execution], None] = lambda _: None,
    ) -> None:
        """`max_batch_size` 0: no batch dimension, every item runs alone."""
        self._infer = infer
        self._pool = pool
        self._executors = executors
        self._max_rows = max_batch_size
        self._delay = max_queue_delay
        self._buckets = buckets
        self._observe = observe
        self._queues: dict[tuple[bool, Hashable], deque[Item]] = {}
        self._running = 0
        self._runs = Runs(cost)
        self._scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self.in_loop = InLoop(inline_seconds, cost)
        self._cost = cost
        self.queued_rows = 0
        self._urgent_rows = 0
        """Of the queued ones, those of priority 1."""
        self.queued_bytes = 0

    @property
    def oldest_run(self) -> float:
        """Seconds for which the oldest run in a thread has been going on; 0 when none is."""
        return self._runs.oldest(time.perf_counter())

    def estimated_wait(self, *, urgent: bool = False) -> float:
        """Seconds until a row that came now would start: what is queued before it and running, shared by the executors.

        An urgent one (priority 1) goes before all others that wait, and so waits for none of them.
        A run that takes far longer than any before may hang: then the wait is at least as long as it has taken already,
        so that it does not let everybody in.
        """
        rows, whole = self._urgent_rows if urgent else self.queued_rows, max(1, self._max_rows)
        if not self._running and rows < whole:
            return 0.0  # it would run with what is queued, now
        queued = -(-rows // whole) * self._cost.expected(min(rows, whole))
        running, overdue = self._runs.work(time.perf_counter())
        busy = self._running >= self._executors
        return max((queued + running) / self._executors, overdue if busy else 0.0)

    def submit(self, item: Item) -> Item:
        """Queue an item, and return it; it runs at the end of this turn of the event loop at the earliest."""
        queue = self._queues.get(key := (item.priority != 1, item.signature))
        if queue is None:
            queue = self._queues[key] = deque()
        queue.append(item)
        item.queue = self
        if item.priority == 1:
            self._urgent_rows += item.rows
        self.queued_rows += item.rows
        self.queued_bytes += item.nbytes
        self._schedule()
        return item

    def drop(self, item: Item) -> None:
        """Let go of an item that waits here, so that it keeps nobody out. Its empty shell goes when its turn comes.

        To look for it in a long queue would be dear where thousands leave at once.
        """
        if item.priority == 1:
            self._urgent_rows -= item.rows
        self.queued_rows -= item.rows
        self.queued_bytes -= item.nbytes
        item.clear()

    def urge(self, item: Item) -> None:
        """Make an item that waits here urgent: it goes to the end of those that are."""
        if item.priority == 1:
            return
        queue = self._queues[key := (True, item.signature)]
        queue.remove(item)
        if not queue:
            del self._queues[key]
        item.priority = 1
        self._urgent_rows += item.rows
        self._queues.setdefault((False, item.signature), deque()).append(item)

    def _schedule(self) -> None:
        if not self._scheduled and (self._running < self._executors or self._is_full(self.queued_rows)):
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._dispatch)

    def _dispatch(self) -> None:
        self._scheduled = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._queues:
            key = self._next_ready()
            if key is None or not self._may_start(key):
                return
            batch = self._take(key, self._part(key))
            if not batch:
                continue
            if self.in_loop.allows(sum([item.rows for item in batch])):
                self._run_inline(batch)
                if self._queues:
                    self._schedule()  # let the event loop turn between two runs
                return
            self._start(batch)

    def _may_start(self, key: tuple[bool, Hashable]) -> bool:
        """Is an executor free, or will one be before the loop has turned, and is this batch as large as it can get?

        A loaded event loop turns slowly: executors that waited for it between two short runs would mostly idle.
        """
        if self._running < self._executors:
            return True
        ahead = (self._running - self._executors + 1) * self._cost.expected(max(1, self._max_rows))
        return ahead <= AHEAD_SECONDS * self._executors and self._is_full(self._rows_up_to_a_batch(key))

    def _is_full(self, rows: int) -> bool:
        return rows >= max(1, self._max_rows)

    def _rows_up_to_a_batch(self, key: tuple[bool, Hashable]) -> int:
        rows = 0
        for item in self._queues[key]:
            rows += item.rows
            if self._is_full(rows):
                break
        return rows

    def _next_ready(self) -> tuple[bool, Hashable] | None:
        """The queue to serve: urgent ones first, then the oldest. None while all may wait for fuller batches."""
        if not self._delay:
            return min(self._queues, key=self._rank) if len(self._queues) > 1 else next(iter(self._queues))
        keys = sorted(self._queues, key=self._rank)
        left = {key: self._time_left(key) for key in keys}
        ready = next((key for key in keys if left[key] <= 0), None)
        if ready is None:
            self._timer = asyncio.get_running_loop().call_later(min(left.values()), self._dispatch)
        return ready

    def _rank(self, key: tuple[bool, Hashable]) -> tuple[bool, float]:
        return key[0], self._queues[key][0].queued

    def _time_left(self, key: tuple[bool, Hashable]) -> float:
        """Seconds that a queue may still wait under the queue delay; none when its batch is full."""
        full = self._is_full(self._rows_up_to_a_batch(key))
        return 0.0 if full else self._queues[key][0].queued + self._delay - time.perf_counter()

    def _part(self, key: tuple[bool, Hashable]) -> int:
        """Rows of the next batch at most: where executors would idle beside it, the share of one of them.

        A device runs one batch sooner than two halves, and so does the event loop; a queue delay asks for whole ones.
        """
        free = self._executors - self._running
        if free < 2 or self._max_rows < 2 or self._delay or self.in_loop.barred:
            return self._max_rows
        whole = min(self._rows_up_to_a_batch(key), self._max_rows)
        part = -(-whole // free)
        seconds, spread = self._cost.expected(whole), self._cost.expected(part)
        sooner = spread <= SPREAD_RATIO * seconds and spread <= seconds - SPREAD_SECONDS
        return part if sooner and not self.in_loop.allows(part) else self._max_rows

    def _take(self, key: tuple[bool, Hashable], most: int) -> list[Item]:
        """The next batch of one queue, `most` rows unless its first item has more, without what nobody wants."""
        queue = self._queues[key]
        batch: list[Item] = []
        rows = 0
        while queue and (not batch or rows + queue[0].rows <= most):
            item = queue.popleft()
            item.queue = None
            if item.priority == 1:
                self._urgent_rows -= item.rows
            self.queued_rows -= item.rows
            self.queued_bytes -= item.nbytes
            if item.wanted():
                batch.append(item)
                rows += item.rows
        if not queue:
            del self._queues[key]
        return batch

    def _run_inline(self, batch: list[Item]) -> None:
        """Run in the event loop: cheaper than a hand-over to a thread, as long as it really is cheap."""
        watched = self.in_loop.watch()
        cpu = time.thread_time() if watched else 0.0
        results, execution = self._execute(batch, time.perf_counter(), watched=watched)
        if not self.in_loop.ran(execution.seconds, time.thread_time() - cpu if watched else None):
            log.warning("a run took far longer than the measured cost; from now on the model runs in threads")
        self._finish(batch, results, execution, in_thread=False)

    def _start(self, batch: list[Item]) -> None:
        loop = asyncio.get_running_loop()
        rows = sum(item.rows for item in batch)
        self._running += 1
        self._runs.note(id(batch), rows)

        def run() -> None:
            started = time.perf_counter()
            self._runs.note(id(batch), rows, started)
            wanted = [item for item in batch if item.wanted()]  # once more: it may have waited for this thread
            loop.call_soon_threadsafe(finish, wanted, self._execute(wanted, started) if wanted else None)

        def finish(wanted: list[Item], outcome: tuple[list[Result], Execution] | None) -> None:
            self._running -= 1
            self._runs.ended(id(batch))
            self._dispatch()  # first: answering takes time in which the executor would idle
            if outcome is not None:
                self.in_loop.ran_in_thread(rows, outcome[1].busy or 0.0)
                self._finish(wanted, *outcome, in_thread=True)

        self._pool.submit(run)

    def _execute(self, batch: list[Item], started: float, *, watched: bool = True) -> tuple[list[Result], Execution]:
        """Run a batch; never raises. May be called in any thread."""
        queue_seconds = [started - item.queued for item in batch]
        retried = False
        results: list[Result]
        busy: float | None = None
        try:
            parts, busy = self._run(batch, watched=watched)
            results = list(parts)
        except Exception as error:
            retried = len(batch) > 1
            results = [self._run_alone(item) for item in batch] if retried else [without_frames(error)]
        seconds = time.perf_counter() - started
        failed = sum([isinstance(result, Exception) for result in results])
        rows = sum([item.rows for item in batch])
        return results, Execution(rows, len(batch), seconds, busy, queue_seconds, retried, failed)

    def _run(self, batch: list[Item], *, watched: bool) -> tuple[list[list[Array]], float | None]:
        """The outputs of each item, and the seconds for which the model kept a core busy."""
        rows = [item.rows for item in batch]
        inputs = merge([item.inputs for item in batch])
        total = sum(rows)
        size = bucket(total, self._buckets) if self._buckets and total else total
        if size > total:
            inputs = pad(inputs, size)
        started = time.thread_time() if watched else 0.0
        outputs = self._infer(inputs, batch[0].outputs)
        busy = time.thread_time() - started if watched else None
        if size > total:
            outputs = [array[:total] for array in outputs]
        return split(outputs, rows), busy

    def _run_alone(self, item: Item) -> Result:
        try:
            return self._run([item], watched=False)[0][0]
        except Exception as error:
            return without_frames(error)

    def _finish(self, batch: list[Item], results: list[Result], execution: Execution, *, in_thread: bool) -> None:
        if not execution.failed:
            self._cost.observe(execution.rows, execution.seconds)
            if execution.busy is not None:
                self._cost.observe_busy(execution.rows, execution.busy, in_thread=in_thread)
        self._observe(execution)
        for item, result in zip(batch, results, strict=True):
            try:
                item.done(result)
            except Exception:
                log.exception("answering a request failed")
