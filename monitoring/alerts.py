"""Alerts beside the burn rates (slo.py) and those of a candidate (candidate.py). Each has its section in runbook.md.

Shares are guarded by a least number of requests: one failure among three is no trend.
"""

from __future__ import annotations

from monitoring import candidate
from monitoring.alert import Alert
from monitoring.slo import MODEL

SERVICE = "namespace, service"
MODEL_VERSION = "namespace, service, model, version"
ALL = ("namespace", "service", "model", "version")
THRESHOLD = f"max by ({MODEL}) (modelyard_slo_latency_threshold_seconds)"
"""Compared by `>=`: of what lies above the last finite edge of a histogram, a percentile is that edge and no more."""
WITH_DEVICE = (
    f'max by ({SERVICE}) (max_over_time(modelyard_backend_active{{backend!="onnxruntime-cpu"}}[1d])) > 0'
    f" or sum by ({SERVICE}) (modelyard_engine_builds_total) > 0"
)
"""Services of which a server runs, or within a day ran, a model on a device, or has found one to prepare an engine for.
Every other has none, and its models run on the CPU as they should."""
LEAST_OBSERVATIONS = 1000
"""Of a feature in the window: with 100 the index of unchanged inputs reaches 0.21 by chance, with 1,000 it is 0.022."""
LEAST_REFERENCE_ROWS = 150
"""Its own chance: of 13 unchanged features one passes the limit in two models of five where the reference has 20 rows,
in one of five where it has 100, in one of fifty where it has 150."""
DRIFTED = 0.2
"""By convention 0.1 is a shift to look at and 0.2 a large one; no theorem says so."""


def alerts() -> dict[str, list[Alert]]:
    """Group to alerts."""
    return {
        "modelyard-serving": [*_serving(), *_load()],
        "modelyard-parts": [*_backend(), *_cache(), _store(), _refused()],
        "modelyard-answers": [*_inputs(), *candidate.alerts()],
        "modelyard-watchdog": [_watchdog()],
    }


def _serving() -> list[Alert]:
    targets = 'up{job="modelyard"}'
    return [
        Alert(
            name="ServingDown",
            expr=f"(max by ({SERVICE}) ({targets}) < 1) or"
            f" (group by ({SERVICE}) (last_over_time({targets}[1h])) unless group by ({SERVICE}) ({targets}))",
            hold="2m",
            severity="page",
            summary="{{ $labels.service }}: no server answers",
            description="No process of {{ $labels.service }} in {{ $labels.namespace }} has answered Prometheus for "
            "two minutes, or all of its targets have gone within the last hour. Callers get nothing.",
            dashboard="modelyard-overview",
            carries=("namespace", "service"),
        ),
        Alert(
            name="ModelNotReady",
            expr=f"min by ({MODEL_VERSION}) (modelyard_model_ready) < 1"
            f" and on ({MODEL_VERSION}) max by ({MODEL_VERSION}) (modelyard_model_default) > 0",
            hold="5m",
            severity="page",
            summary="{{ $labels.model }}: version {{ $labels.version }} is not ready",
            description="At least one server of {{ $labels.service }} has version {{ $labels.version }} of "
            "{{ $labels.model }} as its default and has not been able to run it for five minutes.",
            dashboard="modelyard-model",
            carries=ALL,
        ),
    ]


def _load() -> list[Alert]:
    return [
        Alert(
            name="P99OverSLO",
            expr=f"modelyard:request_duration_seconds:p99_rate5m >= on ({MODEL}) {THRESHOLD}"
            f" and on ({MODEL}) modelyard:requests:increase5m >= 300",
            hold="10m",
            severity="ticket",
            summary="{{ $labels.model }}: the slowest answers are later than promised",
            description="One request in a hundred to {{ $labels.model }} on {{ $labels.service }} takes "
            "{{ $value | humanizeDuration }} or more; objectives.latency_seconds of its model.yaml is not above that.",
            dashboard="modelyard-overview",
        ),
        Alert(
            name="Shedding",
            expr=f"modelyard:shed:ratio_rate5m > 0.01 and on ({MODEL}) modelyard:requests:increase5m >= 100",
            hold="5m",
            severity="ticket",
            summary="{{ $labels.model }}: requests are refused under load",
            description="{{ $value | humanizePercentage }} of the requests to {{ $labels.model }} on "
            "{{ $labels.service }} are refused because they would have waited too long.",
            dashboard="modelyard-overview",
        ),
        Alert(
            name="QueueSaturated",
            expr=f"modelyard:queue_duration_seconds:p95_rate5m >= on ({MODEL}) 0.5 * {THRESHOLD}"
            f" and on ({MODEL}) modelyard:requests:increase5m >= 100",
            hold="10m",
            severity="ticket",
            summary="{{ $labels.model }}: requests spend their time in the queue",
            description="One request in twenty to {{ $labels.model }} on {{ $labels.service }} waits for "
            "{{ $value | humanizeDuration }} or more before it runs: half or more of what its objective allows "
            "in all.",
            dashboard="modelyard-model",
        ),
    ]


def _backend() -> list[Alert]:
    device = "namespace, service, pod, gpu"
    return [
        Alert(
            name="FallbackActive",
            expr=f"max by ({MODEL_VERSION}) (modelyard_backend_degraded) > 0 and on ({SERVICE}) ({WITH_DEVICE})",
            hold="10m",
            severity="ticket",
            summary="{{ $labels.model }}: runs on a lesser backend",
            description="Version {{ $labels.version }} of {{ $labels.model }} on {{ $labels.service }} does not run "
            "on the first backend of its model.yaml, though the service has a GPU, or had one within the last day: "
            "answers are right, and slower.",
            dashboard="modelyard-gpu",
            carries=ALL,
        ),
        Alert(
            name="EngineBuildFailed",
            expr=_counted(f"{MODEL}, result", 'modelyard_engine_builds_total{result=~"failed|refused|differs"}', "30m"),
            severity="ticket",
            summary="{{ $labels.model }}: no TensorRT engine",
            description="Preparing an engine of {{ $labels.model }} on {{ $labels.service }} ended with "
            "'{{ $labels.result }}' in the last 30 minutes; it is served by another backend.",
            dashboard="modelyard-gpu",
        ),
        Alert(
            name="GpuMemoryHigh",
            expr=f"max by ({device}) (modelyard_gpu_memory_used_bytes)"
            f" / max by ({device}) (modelyard_gpu_memory_limit_bytes) > 0.95",
            hold="10m",
            severity="ticket",
            summary="{{ $labels.service }}: the memory of GPU {{ $labels.gpu }} is nearly full",
            description="{{ $value | humanizePercentage }} of the device memory that {{ $labels.pod }} sees is in "
            "use, by this process or another: the next larger batch or engine may not fit.",
            dashboard="modelyard-gpu",
            carries=("namespace", "service"),
        ),
    ]


def _cache() -> list[Alert]:
    return [
        Alert(
            name="CacheDown",
            expr=f"min by ({SERVICE}) (modelyard_cache_up) < 1 and on ({SERVICE}) ("
            f'sum by ({SERVICE}) (modelyard_cache_operation_duration_seconds_count{{tier="redis"}})'
            f' + sum by ({SERVICE}) (modelyard_cache_errors_total{{tier="redis"}}) > 0)',
            hold="1m",
            keep="10m",
            severity="ticket",
            summary="{{ $labels.service }}: Redis is out of use",
            description="At least one worker of {{ $labels.service }} in {{ $labels.namespace }} serves without "
            "Redis: answers are right, and the model runs more often.",
            dashboard="modelyard-cache",
            carries=("namespace", "service"),
        ),
        Alert(
            name="CacheHitRatioDrop",
            expr="modelyard:cache_hits:ratio_rate15m < 0.5 * modelyard:cache_hits:ratio_rate1d"
            " and modelyard:cache_hits:ratio_rate1d > 0.1"
            f" and on ({MODEL}) modelyard:cache_lookups:increase15m >= 1000",
            hold="15m",
            severity="ticket",
            summary="{{ $labels.model }}: the cache hits half as often as it did",
            description="{{ $value | humanizePercentage }} of the rows of {{ $labels.model }} on "
            "{{ $labels.service }} were known in the last 15 minutes: less than half of the share over the last "
            "day.",
            dashboard="modelyard-cache",
        ),
    ]


def _store() -> Alert:
    return Alert(
        name="StoreDown",
        expr=f"min by ({SERVICE}, store) (modelyard_store_up) < 1",
        hold="10m",
        severity="ticket",
        summary="{{ $labels.service }}: the model store does not answer",
        description="At least one server of {{ $labels.service }} in {{ $labels.namespace }} has not reached "
        "{{ $labels.store }} for ten minutes: it serves what it has, follows no promotion, and a new server has "
        "nothing to start from but its mirror.",
        dashboard="modelyard-overview",
        carries=("namespace", "service"),
    )


def _refused() -> Alert:
    return Alert(
        name="VersionRefused",
        expr=_counted(MODEL, "modelyard_model_load_failures_total", "30m"),
        severity="ticket",
        summary="{{ $labels.model }}: a version was refused",
        description="At least one server of {{ $labels.service }} in {{ $labels.namespace }} has refused to load a "
        "version of {{ $labels.model }} in the last 30 minutes. It serves another one: if that version was promoted, "
        "callers do not get it.",
        dashboard="modelyard-rollout",
    )


def _inputs() -> list[Alert]:
    return [
        Alert(
            name="InputInvalidRatio",
            expr=f"modelyard:input_invalid:ratio_rate15m > 0.05 and on ({MODEL}) modelyard:requests:increase15m >= 100",
            hold="10m",
            severity="ticket",
            summary="{{ $labels.model }}: callers send what cannot be read",
            description="{{ $value | humanizePercentage }} of the requests to {{ $labels.model }} on "
            "{{ $labels.service }} are refused for what they carry: names, shapes, datatypes or values.",
            dashboard="modelyard-model",
        ),
        Alert(
            name="FeatureDrift",
            expr=f"modelyard:feature_psi:1h > {DRIFTED} and modelyard:feature_observations:1h >= {LEAST_OBSERVATIONS}"
            f" and on ({MODEL_VERSION}) max by ({MODEL_VERSION}) (modelyard_drift_reference_rows)"
            f" >= {LEAST_REFERENCE_ROWS}",
            hold="10m",
            severity="ticket",
            summary="{{ $labels.model }}: the input {{ $labels.feature }} has shifted",
            description="The population stability index of {{ $labels.feature }} over the last hour, against what "
            "version {{ $labels.version }} of {{ $labels.model }} was trained on, is {{ $value | humanize }}. "
            "This is a shift of inputs; whether answers are worse, only labels can say.",
            dashboard="modelyard-model",
            carries=ALL,
        ),
    ]


def _counted(by: str, counter: str, window: str) -> str:
    """What was counted in the window; also before the first scrape, where `increase` sees a series that never rose."""
    rose = f"sum by ({by}) (increase({counter}[{window}])) > 0"
    return f"{rose} or sum by ({by}) ({counter} unless {counter} offset {window}) > 0"


def _watchdog() -> Alert:
    return Alert(
        name="Watchdog",
        expr="vector(1)",
        severity="none",
        summary="Alerts travel from Prometheus to where they are read",
        description="This alert always fires. Whoever receives it regularly knows that the others would arrive as "
        "well.",
        dashboard="modelyard-overview",
        carries=(),
    )
