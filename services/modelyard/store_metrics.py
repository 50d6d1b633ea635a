"""The metrics of a server that serves from a store. Imported by those servers alone: the others have no such series."""

from prometheus_client import Counter, Gauge

_REASONS = ("connection", "timeout", "denied", "missing", "response", "refused", "mirror")
"""`mirror`: the local folder could not be written."""

up = Gauge(
    "modelyard_store_up",
    "1 while the store that is served from answers, 0 while what was mirrored of it serves on.",
    ("store",),
    multiprocess_mode="livemax",
)
last_success = Gauge(
    "modelyard_store_last_success_timestamp_seconds",
    "When the mirror was last what the store says; 0: never since the start.",
    ("store",),
    multiprocess_mode="livemax",
)
errors = Counter("modelyard_store_errors", "What went wrong with the store that is served from.", ("reason",))


def show(store: str, *, is_up: bool, last: float) -> None:
    """`last`: seconds since the epoch."""
    up.labels(store).set(is_up)
    last_success.labels(store).set(last)
    for reason in _REASONS:
        errors.labels(reason)


def count(reason: str, times: int = 1) -> None:
    errors.labels(reason).inc(times)
