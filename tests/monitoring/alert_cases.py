"""For every alert what sets it off, and what is close to that and must not. promtool plays both.

Series are in the notation of promtool (`0+60x180`: from 0, 60 more a minute, 180 times), a point a minute. Unless a
case says otherwise it is asked at minute 180.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

MINUTES = 180
POD = 'job="modelyard", namespace="shop", service="digits-server", pod="digits-0"'
WHERE = {"namespace": "shop", "service": "digits-server"}
MODEL = {**WHERE, "model": "digits"}
VERSION = {**MODEL, "version": "2"}
Series = Mapping[str, str]


@dataclass(frozen=True)
class Case:
    """Series by name and labels, and what the alert says of itself: `labels` and the rendered `value`."""

    series: Series
    labels: dict[str, str] = field(default_factory=dict)
    value: str = ""
    minute: int = MINUTES


@dataclass(frozen=True)
class Pair:
    """One that fires, one that stays silent, and why it may."""

    fires: Case
    silent: Series
    why: str
    silent_minute: int = MINUTES


def sample(name: str, model: bool = True, **labels: str) -> str:
    """A series of the pod; `model` gives it the model `digits`."""
    named = {**({"model": "digits"} if model else {}), **labels}
    more = "".join(f', {key}="{value}"' for key, value in named.items())
    return f"modelyard_{name}{{{POD}{more}}}"


def rising(a_minute: float, minutes: int = MINUTES) -> str:
    """A counter."""
    return f"0+{a_minute:g}x{minutes}"


def steady(value: float, minutes: int = MINUTES) -> str:
    """A gauge."""
    return f"{value:g}x{minutes}"


def requests(ok: float, minutes: int = MINUTES, version: str = "2", service: str = "", **bad: float) -> dict[str, str]:
    """Requests a minute by outcome."""
    made = {
        sample("requests_total", version=version, protocol="http", outcome=outcome): rising(rate, minutes)
        for outcome, rate in {"ok": ok, **bad}.items()
    }
    return {key.replace("digits-server", service): value for key, value in made.items()} if service else made


def objectives(
    availability: float = 0.999, latency: float = 0.99, seconds: float = 1, minutes: int = MINUTES
) -> Series:
    """The gauges that come from model.yaml."""
    return {
        sample("slo_objective_ratio", objective="availability"): steady(availability, minutes),
        sample("slo_objective_ratio", objective="latency"): steady(latency, minutes),
        sample("slo_latency_threshold_seconds"): steady(seconds, minutes),
    }


def durations(quick: float, slow: float, minutes: int = MINUTES, version: str = "2") -> dict[str, str]:
    """Requests a minute that take under 0.5 s and between 1 s and 2.5 s."""
    counts = {"0.5": quick, "1.0": quick, "2.5": quick + slow, "+Inf": quick + slow}
    name = "request_duration_seconds"
    made = {
        sample(f"{name}_bucket", version=version, protocol="http", le=le): rising(n, minutes)
        for le, n in counts.items()
    }
    return made | {sample(f"{name}_count", version=version, protocol="http"): rising(quick + slow, minutes)}


def candidate(quick: float, slow: float) -> dict[str, str]:
    """Requests a minute to version 3, on a service of its own."""
    made = {**requests(quick + slow, version="3"), **durations(quick, slow, version="3")}
    return {key.replace("digits-server", "digits-canary"): value for key, value in made.items()}


def queued(quick: float, slow: float) -> dict[str, str]:
    """Runs a minute whose oldest row waited under 0.1 s, and between 0.5 s and 1 s."""
    counts = {"0.1": quick, "0.5": quick, "1.0": quick + slow, "+Inf": quick + slow}
    return {sample("stage_duration_seconds_bucket", stage="queue", le=le): rising(n) for le, n in counts.items()}


def cached(hits: str, misses: str) -> dict[str, str]:
    """Rows that the cache knew and did not."""
    return {
        sample("cache_rows_total", result="hit_memory"): hits,
        sample("cache_rows_total", result="miss"): misses,
        sample("cache_rows_total", result="bypass"): rising(500),
    }


def redis(up: str, operations: float) -> dict[str, str]:
    """The Redis tier."""
    return {
        f"modelyard_cache_up{{{POD}}}": up,
        f'modelyard_cache_operation_duration_seconds_count{{{POD}, tier="redis", op="get"}}': rising(operations),
        f'modelyard_cache_errors_total{{{POD}, tier="redis", op="get", reason="timeout"}}': steady(0),
    }


def drifted(first: float, second: float) -> dict[str, str]:
    """Rows a minute in the two bins of a feature whose reference is half and half."""
    bins = {"0": first, "1": second}
    seen = {sample("feature_observations_total", version="2", feature="age", bin=b): rising(n) for b, n in bins.items()}
    return seen | {sample("feature_reference_ratio", version="2", feature="age", bin=b): steady(0.5) for b in bins}


def device(used: float) -> dict[str, str]:
    """Device memory of 100 bytes."""
    return {
        sample("gpu_memory_used_bytes", model=False, gpu="0"): steady(used),
        sample("gpu_memory_limit_bytes", model=False, gpu="0"): steady(100),
    }


def _burn(minutes: int, fires: Series, silent: Series, value: str, why: str) -> Pair:
    return Pair(Case(fires, MODEL, value, minutes), silent, why, minutes)


LONG = 420
FEW = {**objectives(), **requests(3, error=1)}
"""A quarter fails, of four requests a minute."""

UP = f"up{{{POD}}}"
READY, DEFAULT = sample("model_ready", version="2"), sample("model_default", version="2")
DEGRADED = sample("backend_degraded", version="2")
BUILDS = sample("engine_builds_total", backend="tensorrt", result="differs")
CANDIDATE = {**MODEL, "service": "digits-canary", "version": "3"}
STABLE = requests(1000, error=10)
STEADY = {**requests(1000), **durations(1000, 0)}
STORE = sample("store_up", model=False, store="s3://models")

PAIRS: dict[str, Pair] = {
    "AvailabilityBurnFast": _burn(
        180,
        {**objectives(), **requests(90, error=5, shed=5)},
        {**objectives(), **requests(3, error=1)},
        "100",
        "a quarter fails, of four requests a minute",
    ),
    "AvailabilityBurnSlow": _burn(
        LONG,
        {**objectives(minutes=LONG), **requests(99, minutes=LONG, timeout=1)},
        {**objectives(minutes=LONG), **requests(99.5, minutes=LONG, timeout=0.5)},
        "10",
        "the budget burns five times too fast, not six",
    ),
    "AvailabilityBurnLong": _burn(
        LONG,
        {**objectives(minutes=LONG), **requests(99.8, minutes=LONG, shed=0.2)},
        {**objectives(minutes=LONG), **requests(99.95, minutes=LONG, shed=0.05, client_error=50)},
        "2",
        "half of what is affordable, and mistakes of callers do not count",
    ),
    "LatencyBurnFast": _burn(
        180,
        {**objectives(), **requests(100), **durations(80, 20)},
        {**objectives(seconds=2.5), **requests(100), **durations(80, 20)},
        "20",
        "model.yaml allows 2.5 s",
    ),
    "LatencyBurnSlow": _burn(
        LONG,
        {**objectives(minutes=LONG), **requests(100, minutes=LONG), **durations(90, 10, LONG)},
        {**objectives(minutes=LONG, latency=0.9), **requests(100, minutes=LONG), **durations(90, 10, LONG)},
        "10",
        "model.yaml promises 90 % only",
    ),
    "LatencyBurnLong": _burn(
        LONG,
        {**objectives(minutes=LONG), **requests(100, minutes=LONG), **durations(98, 2, LONG)},
        {**objectives(minutes=LONG), **requests(100, minutes=LONG), **durations(99.5, 0.5, LONG)},
        "2",
        "half of what is affordable",
    ),
    "ServingDown": Pair(Case({UP: "1x150 0x30"}, WHERE), {UP: "1x176 0 1 1 1 1 1"}, "one scrape was missed"),
    "ModelNotReady": Pair(
        Case({READY: "1x100 0x80", DEFAULT: steady(1)}, VERSION),
        {READY: "1x100 0x80", DEFAULT: "1x100 0x80"},
        "the version was taken out of use",
    ),
    "P99OverSLO": Pair(
        Case({**objectives(), **requests(100), **durations(95, 5)}, MODEL, "2.2s"),
        {**objectives(), **requests(10), **durations(8, 2)},
        "ten requests a minute say nothing of one in a hundred",
    ),
    "Shedding": Pair(
        Case({**requests(95, shed=5), sample("shed_total", reason="deadline"): rising(5)}, MODEL, "5%"),
        {**requests(95, shed=5), sample("shed_total", reason="quota"): rising(5)},
        "a caller has used up its quota: the service is well",
    ),
    "QueueSaturated": Pair(
        Case({**objectives(), **requests(100), **queued(50, 50)}, MODEL, "950ms"),
        {**objectives(seconds=2.5), **requests(100), **queued(50, 50)},
        "model.yaml allows 2.5 s in all",
    ),
    "FallbackActive": Pair(
        Case({DEGRADED: "0x100 1x80"}, VERSION), {DEGRADED: "0x172 1x8"}, "it may come back: eight minutes only"
    ),
    "EngineBuildFailed": Pair(
        Case({BUILDS: "0x170 1x10"}, {**MODEL, "result": "differs"}), {BUILDS: "0x10 1x170"}, "that was hours ago"
    ),
    "GpuMemoryHigh": Pair(
        Case(device(97), {**WHERE, "pod": "digits-0", "gpu": "0"}, "97%"), device(94), "room for a batch"
    ),
    "CacheDown": Pair(Case(redis("1x100 0x80", 60), WHERE), redis(steady(0), 0), "no Redis was ever asked for"),
    "CacheHitRatioDrop": Pair(
        Case(cached("0+80x140 11200x40", "0+20x140 2800+100x40"), MODEL, "0%"),
        cached("0+80x140 11200+50x40", "0+20x140 2800+50x40"),
        "half of the rows are still known",
    ),
    "StoreDown": Pair(
        Case({STORE: "1x100 0x80"}, {**WHERE, "store": "s3://models"}), {STORE: "1x172 0x8"}, "eight minutes only"
    ),
    "InputInvalidRatio": Pair(
        Case(
            {**requests(90, client_error=10), sample("input_invalid_total", reason="shape"): rising(10)}, MODEL, "10%"
        ),
        {**requests(99, client_error=1), sample("input_invalid_total", reason="shape"): rising(1)},
        "one in a hundred",
    ),
    "FeatureDrift": Pair(
        Case(drifted(90, 10), {**VERSION, "feature": "age"}, "878.9m"),
        drifted(9, 1),
        "600 rows in the hour are too few",
    ),
    "CanaryWorse": Pair(
        Case({**STABLE, **requests(90, service="digits-canary", version="3", error=10)}, CANDIDATE, "10%"),
        {**STABLE, **requests(97.5, service="digits-canary", version="3", error=2.5)},
        "not twice the failures of the others and one in a hundred more",
    ),
    "CanarySlower": Pair(
        Case({**STEADY, **candidate(95, 5)}, CANDIDATE, "2.2s"),
        {**STEADY, **candidate(24, 1)},
        "one request in a hundred of 250 is too few to tell",
    ),
    "Watchdog": Pair(Case({}, {}), {}, "it never is: see its test"),
}
