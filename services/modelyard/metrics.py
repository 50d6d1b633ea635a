"""Every metric, defined once. Prefix `modelyard_`, base units, closed label sets, no ratio gauges.

Those of drift, feedback and payload log stand in drift_metrics.py.

prometheus_client chooses its storage when it is imported: with PROMETHEUS_MULTIPROC_DIR set (every server process) it
keeps files that exposition.py adds up over the workers; without it (tests, commands) it keeps plain memory.
A process must therefore set the variable before it imports this module; `server.py` and BentoML both do.
"""

from collections.abc import Iterable
from functools import cache

import numpy as np
from numpy.typing import NDArray
from prometheus_client import Counter, Gauge, Histogram

from modelyard.buckets import REQUEST_BUCKETS
from modelyard.meters import Distribution, Level, Tally

_PREFIX = "modelyard_"

DIRECT = ("http", "grpc", "api")
"""`api`: the typed API."""
PROTOCOLS = (*DIRECT, "ensemble")
"""`ensemble`: asked as a member, for a request that is counted at the ensemble as well: its series are made when that
happens, as few models are members."""
OUTCOMES = ("ok", "client_error", "error", "timeout", "shed", "cancelled")
STAGES = ("decode", "cache", "queue", "infer", "encode")
CACHE_RESULTS = ("hit_memory", "hit_redis", "join", "miss", "bypass", "corrupt")
SHED_REASONS = ("queue_full", "deadline", "quota")
INVALID_REASONS = ("malformed", "datatype", "shape", "size", "value", "name", "batch")
FALLBACK_REASONS = ("unavailable", "runtime", "memory", "shape", "hang")
BACKEND_ERRORS = ("runtime", "memory", "shape", "lost", "hang")
ENGINE_RESULTS = ("built", "found", "refused", "failed", "differs")
REDIS_REASONS = ("timeout", "connection", "response", "dropped")
REDIS_OPERATIONS = ("get", "set", "ping")

STAGE_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Up to half of the longest that an objective may allow: QueueSaturated compares with it."""
CACHE_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25)
ROW_BUCKETS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
BUILD_BUCKETS = (1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0)
LOAD_BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


def _counter(name: str, text: str, labels: Iterable[str] = ()) -> Counter:
    return Counter(_PREFIX + name, text, tuple(labels))


def _histogram(name: str, text: str, labels: Iterable[str], buckets: tuple[float, ...]) -> Histogram:
    return Histogram(_PREFIX + name, text, tuple(labels), buckets=buckets)


requests = _counter("requests", "Inference requests by outcome.", ("model", "version", "protocol", "outcome"))
request_duration = _histogram(
    "request_duration_seconds", "From decoded to answered.", ("model", "version", "protocol"), REQUEST_BUCKETS
)
stage_duration = _histogram("stage_duration_seconds", "Time in one stage.", ("model", "stage"), STAGE_BUCKETS)
in_flight = Gauge(_PREFIX + "in_flight_requests", "Requests being answered.", ("model",), multiprocess_mode="livesum")
queue_rows = Gauge(_PREFIX + "queue_rows", "Rows that wait for the model.", ("model",), multiprocess_mode="livesum")
shed = _counter("shed", "Requests refused to protect the others.", ("model", "reason"))
batch_rows = _histogram("batch_rows", "Rows in one run of the model.", ("model",), ROW_BUCKETS)
batch_retries = _counter("batch_retries", "Batches that failed and were run again one by one.", ("model",))

cache_rows = _counter("cache_rows", "Rows by what the cache said.", ("model", "result"))
cache_operation_duration = _histogram(
    "cache_operation_duration_seconds", "Time of one cache operation.", ("tier", "op"), CACHE_BUCKETS
)
cache_errors = _counter("cache_errors", "Cache operations that failed.", ("tier", "op", "reason"))
cache_up = Gauge(_PREFIX + "cache_up", "1 while the Redis tier is in use.", multiprocess_mode="livemin")
cache_evictions = _counter("cache_evictions", "Entries pushed out of the memory tier.")
cache_bytes = Gauge(_PREFIX + "cache_bytes", "Size of the memory tier.", multiprocess_mode="livesum")

cache_admitted = Gauge(
    _PREFIX + "cache_admitted",
    "1 while this tier is asked, 0 while it is left out because that did not pay.",
    ("model", "tier"),
    multiprocess_mode="livemin",
)
cache_row_cost = Gauge(
    _PREFIX + "cache_row_cost_seconds",
    "What a row of the model costs, as measured.",
    ("model",),
    multiprocess_mode="livemax",
)
cache_lookup_cost = Gauge(
    _PREFIX + "cache_lookup_cost_seconds",
    "What the look-up and fill of a row costs, as measured; 0 before the first decision.",
    ("model", "tier"),
    multiprocess_mode="livemax",
)

backend_active = Gauge(
    _PREFIX + "backend_active",
    "Loaded versions that this backend runs, over all workers.",
    ("model", "backend"),
    multiprocess_mode="livesum",
)
backend_fallbacks = _counter("backend_fallbacks", "Changes to a lesser backend.", ("model", "from", "to", "reason"))
backend_errors = _counter("backend_errors", "What went wrong on a backend.", ("model", "backend", "reason"))
backend_degraded = Gauge(
    _PREFIX + "backend_degraded",
    "1 while the version runs on a lesser backend than its first.",
    ("model", "version"),
    multiprocess_mode="livemax",
)
backend_run_age = Gauge(
    _PREFIX + "backend_run_age_seconds",
    "For how long the oldest run of the model has been going on; 0 when none is.",
    ("model", "version"),
    multiprocess_mode="livemax",
)
engine_builds = _counter("engine_builds", "Engines prepared, by how it went.", ("model", "backend", "result"))
engine_build_duration = _histogram(
    "engine_build_duration_seconds", "Building one engine.", ("model", "backend", "result"), BUILD_BUCKETS
)
engine_build_steps = _counter("engine_build_steps", "Steps of builds that were reported as done.", ("model",))
engine_building = Gauge(_PREFIX + "engine_building", "Engines being prepared.", ("model",), multiprocess_mode="livesum")
gpu_memory_used = Gauge(
    _PREFIX + "gpu_memory_used_bytes",
    "Memory in use on the device, by everybody.",
    ("gpu",),
    multiprocess_mode="livemax",
)
gpu_memory_limit = Gauge(
    _PREFIX + "gpu_memory_limit_bytes", "Memory that the device has.", ("gpu",), multiprocess_mode="livemax"
)
model_info = Gauge(
    _PREFIX + "model_info",
    "1 for every loaded version.",
    ("model", "version", "digest", "backend", "precision"),
    multiprocess_mode="livemax",
)
model_ready = Gauge(
    _PREFIX + "model_ready", "1 while the version answers.", ("model", "version"), multiprocess_mode="livemin"
)
model_load_duration = _histogram("model_load_duration_seconds", "Check, load and warm-up.", ("model",), LOAD_BUCKETS)
model_load_failures = _counter("model_load_failures", "Versions that were refused.", ("model",))
model_default = Gauge(
    _PREFIX + "model_default",
    "1 for the version that answers callers who name none, 0 for the others.",
    ("model", "version"),
    multiprocess_mode="livemax",
)
model_swaps = _counter("model_swaps", "Changes of the default version while it was served.", ("model",))
input_invalid = _counter("input_invalid", "Requests refused for what they carry.", ("model", "reason"))

slo_objective = Gauge(
    _PREFIX + "slo_objective_ratio",
    "The share of requests that model.yaml promises to answer, and to answer in time.",
    ("model", "objective"),
    multiprocess_mode="livemax",
)
slo_latency_threshold = Gauge(
    _PREFIX + "slo_latency_threshold_seconds",
    "Within this a request is answered in time, by model.yaml.",
    ("model",),
    multiprocess_mode="livemax",
)


class ModelMetrics:
    """The series of one model version, all made at zero, so that a rate over the first event is right.

    Children are kept: looking one up by its labels costs as much as counting.
    """

    def __init__(self, model: str, version: str) -> None:
        self._names = (model, version)
        self._requests: dict[tuple[str, str], Tally] = {}
        self._durations: dict[str, Distribution] = {}
        for protocol in DIRECT:
            self._over(protocol)
        self.stage = {stage: Distribution(stage_duration.labels(model, stage)) for stage in STAGES}
        self.cache_rows = {result: Tally(cache_rows.labels(model, result)) for result in CACHE_RESULTS}
        self.batch_rows = Distribution(batch_rows.labels(model))
        self.batch_retries = batch_retries.labels(model)
        self.in_flight = Level(in_flight.labels(model))
        self.queue_rows = Level(queue_rows.labels(model))
        shed_by_reason(model)
        for reason in INVALID_REASONS:
            input_invalid.labels(model, reason)
        model_load_failures.labels(model)
        model_swaps.labels(model)
        model_default.labels(model, version)

    def _over(self, protocol: str) -> None:
        for outcome in OUTCOMES:
            self._requests[protocol, outcome] = Tally(requests.labels(*self._names, protocol, outcome))
        self._durations[protocol] = Distribution(request_duration.labels(*self._names, protocol))

    def answered(self, protocol: str, outcome: str, seconds: float) -> None:
        if protocol not in self._durations:
            self._over(protocol)
        self._requests[protocol, outcome].inc()
        self._durations[protocol].observe(seconds)

    def answered_many(self, protocol: str, outcome: str, seconds: NDArray[np.float64]) -> None:
        if protocol not in self._durations:
            self._over(protocol)
        self._requests[protocol, outcome].inc(len(seconds))
        self._durations[protocol].observe_many(seconds)


class CacheWorth:
    """The gauges of one model's cache decisions."""

    def __init__(self, model: str, tiers: Iterable[str]) -> None:
        self._row_cost = cache_row_cost.labels(model)
        self._tiers = {
            tier: (cache_admitted.labels(model, tier), cache_lookup_cost.labels(model, tier)) for tier in tiers
        }
        for tier in self._tiers:
            self.show(tier, admitted=True, lookup_seconds=0.0, row_seconds=0.0)

    def show(self, tier: str, *, admitted: bool, lookup_seconds: float, row_seconds: float) -> None:
        gauge, cost = self._tiers[tier]
        gauge.set(admitted)
        cost.set(lookup_seconds)
        self._row_cost.set(row_seconds)


@cache
def of_model(model: str, version: str) -> ModelMetrics:
    """One object for a version, however often it is loaded and unloaded."""
    return ModelMetrics(model, version)


@cache
def shed_by_reason(model: str) -> dict[str, Tally]:
    """What was refused, by the reason: one object for all versions of a model."""
    return {reason: Tally(shed.labels(model, reason)) for reason in SHED_REASONS}


def show_objectives(model: str, *, availability: float, latency: float, latency_seconds: float) -> None:
    """What the rules and dashboards measure the model against."""
    slo_objective.labels(model, "availability").set(availability)
    slo_objective.labels(model, "latency").set(latency)
    slo_latency_threshold.labels(model).set(latency_seconds)


class MemoryMetrics:
    """The series of the memory tier."""

    def __init__(self) -> None:
        self.bytes = Level(cache_bytes)
        self.evictions = Tally(cache_evictions)


def create_for_cache() -> None:
    """The cache's own series at zero."""
    cache_up.set(0)
    cache_bytes.set(0)
    for op in REDIS_OPERATIONS:
        cache_operation_duration.labels("redis", op)
        for reason in REDIS_REASONS:
            cache_errors.labels("redis", op, reason)
    cache_errors.labels("memory", "set", "dropped")
