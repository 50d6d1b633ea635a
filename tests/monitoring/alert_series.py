"""Series of a service as promtool reads them: what alert_cases.py is made of.

Series are in the notation of promtool (`0+60x180`: from 0, 60 more a minute, 180 times), a point a minute.
"""

from __future__ import annotations

from collections.abc import Mapping

MINUTES = 180
POD = 'job="modelyard", namespace="shop", service="digits-server", pod="digits-0"'
Series = Mapping[str, str]


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


def requests(
    ok: float, minutes: int = MINUTES, version: str = "2", protocol: str = "http", **bad: float
) -> dict[str, str]:
    """Requests a minute by outcome."""
    return {
        sample("requests_total", version=version, protocol=protocol, outcome=outcome): rising(rate, minutes)
        for outcome, rate in {"ok": ok, **bad}.items()
    }


def on(service: str, *parts: Series) -> dict[str, str]:
    """The same of another service."""
    return {key.replace("digits-server", service): value for part in parts for key, value in part.items()}


def default(version: str, value: str = "") -> dict[str, str]:
    """Is it the version that answers callers who name none? Without a value it always is."""
    return {sample("model_default", version=version): value or steady(1)}


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


def timed(quick: float, slow: float, version: str, protocol: str = "http") -> dict[str, str]:
    """Requests that succeed, with their durations."""
    made = {**requests(quick + slow, version=version), **durations(quick, slow, version=version)}
    return {key.replace('"http"', f'"{protocol}"'): value for key, value in made.items()}


def beyond(edge: float, most: float) -> dict[str, str]:
    """100 requests a minute that take `edge` or less, and `most` that take longer than the last edge."""
    counts = {f"{edge / 2}": 100.0, f"{edge}": 100.0, "+Inf": 100 + most}
    name = "request_duration_seconds_bucket"
    return {sample(name, version="2", protocol="http", le=le): rising(n) for le, n in counts.items()}


def queued(quick: float, slow: float, beyond: float = 0) -> dict[str, str]:
    """Runs a minute whose oldest row waited under 0.1 s, between 0.5 s and 1 s, and above 5 s, the last edge."""
    most = quick + slow
    counts = {"0.1": quick, "0.5": quick, "1.0": most, "2.5": most, "5.0": most, "+Inf": most + beyond}
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


def drifted(first: float, second: float, reference: int = 150) -> dict[str, str]:
    """Rows a minute in the two bins of a feature whose reference is half and half, of so many rows."""
    bins = {"0": first, "1": second}
    seen = {sample("feature_observations_total", version="2", feature="age", bin=b): rising(n) for b, n in bins.items()}
    seen |= {sample("feature_reference_ratio", version="2", feature="age", bin=b): steady(0.5) for b in bins}
    return seen | {sample("drift_reference_rows", version="2"): steady(reference)}


def backend(degraded: str, on_device: str, builds: str = "", result: str = "failed") -> dict[str, str]:
    """A version that is `degraded`, on a service that runs models on a device and prepares engines, or not."""
    return {
        sample("backend_degraded", version="2"): degraded,
        sample("backend_active", backend="tensorrt"): on_device,
        sample("engine_builds_total", backend="tensorrt", result=result): builds or steady(0),
    }


def device(used: float) -> dict[str, str]:
    """Device memory of 100 bytes."""
    return {
        sample("gpu_memory_used_bytes", model=False, gpu="0"): steady(used),
        sample("gpu_memory_limit_bytes", model=False, gpu="0"): steady(100),
    }
