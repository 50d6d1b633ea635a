"""For every alert what sets it off, and what is close to that and must not. promtool plays both.

Unless a case says otherwise it is asked at minute 180.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.monitoring.alert_series import (
    MINUTES,
    POD,
    Series,
    backend,
    beyond,
    cached,
    default,
    device,
    drifted,
    durations,
    objectives,
    on,
    queued,
    redis,
    requests,
    rising,
    sample,
    steady,
    timed,
)

WHERE = {"namespace": "shop", "service": "digits-server"}
MODEL = {**WHERE, "model": "digits"}
VERSION = {**MODEL, "version": "2"}


@dataclass(frozen=True)
class Case:
    """Series by name and labels, and what the alert says of itself: `labels` and the rendered `value`."""

    series: Series
    labels: dict[str, str] = field(default_factory=dict)
    value: str = ""
    minute: int = MINUTES


@dataclass(frozen=True)
class Pair:
    """One that fires, one that stays silent, and why it may; more of both where the alert has several edges."""

    fires: Case
    silent: Series
    why: str
    silent_minute: int = MINUTES
    also_fires: Mapping[str, Case] = field(default_factory=dict)
    also_silent: Mapping[str, Series] = field(default_factory=dict)

    def firing(self) -> dict[str, Case]:
        """What each shows to the case."""
        return {"": self.fires, **self.also_fires}

    def staying_silent(self) -> dict[str, Series]:
        """Why to the series."""
        return {self.why: self.silent, **self.also_silent}


def _burn(minutes: int, fires: Series, silent: Series, value: str, why: str) -> Pair:
    return Pair(Case(fires, MODEL, value, minutes), silent, why, minutes)


LONG = 420
FEW = {**objectives(), **requests(3, error=1)}
"""A quarter fails, of four requests a minute."""

UP = f"up{{{POD}}}"
READY, DEFAULT = sample("model_ready", version="2"), sample("model_default", version="2")
BUILDS = sample("engine_builds_total", backend="tensorrt", result="differs")
REFUSED = sample("model_load_failures_total")
CANARY, OTHER_CANARY = "digits-canary", "digits-ensemble-canary"
CANDIDATE = {**MODEL, "service": CANARY, "version": "3"}
BESIDE = {**MODEL, "version": "3"}
STABLE = {**requests(1000, error=10), **default("2")}
STEADY = {**timed(1000, 0, "2"), **default("2")}
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
        also_fires={
            "at the last edge": Case({**objectives(seconds=10), **requests(100), **beyond(10, 5)}, MODEL, "10s"),
        },
        also_silent={"all within the last edge": {**objectives(seconds=10), **requests(100), **beyond(10, 0)}},
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
        also_fires={
            f"{seconds} s in all": Case(
                {**objectives(seconds=seconds), **requests(100), **queued(9, 0, 91)}, MODEL, "5s"
            )
            for seconds in (5, 10)
        },
        also_silent={"nobody waits": {**objectives(seconds=10), **requests(100), **queued(100, 0)}},
    ),
    "FallbackActive": Pair(
        Case(backend("0x100 1x80", "1x100 0x80"), VERSION),
        backend("0x172 1x8", "1x172 0x8"),
        "it may come back: eight minutes only",
        also_fires={
            "a device, and never an engine": Case(backend(steady(1), steady(0), builds=steady(1)), VERSION),
            "from one device backend to the next": Case(backend(steady(1), steady(1)), VERSION),
        },
        also_silent={"a machine without a device": backend(steady(1), steady(0))},
    ),
    "EngineBuildFailed": Pair(
        Case({BUILDS: "0x170 1x10"}, {**MODEL, "result": "differs"}),
        {BUILDS: "0x10 1x170"},
        "that was hours ago",
        also_fires={"before the first scrape": Case({BUILDS: "_x170 1x10"}, {**MODEL, "result": "differs"})},
        also_silent={"before the first scrape, hours ago": {BUILDS: steady(1)}, "none failed": {BUILDS: "_x170 0x10"}},
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
    "VersionRefused": Pair(
        Case({REFUSED: "0x170 1x10"}, MODEL),
        {REFUSED: "1x100 2x80"},
        "that was an hour ago",
        also_fires={"before the first scrape": Case({REFUSED: "_x170 2x10"}, MODEL)},
        also_silent={"a server that has just started": {REFUSED: "_x170 0x10"}},
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
        also_silent={"a reference of 149 rows says nothing": drifted(90, 10, reference=149)},
    ),
    "CanaryWorse": Pair(
        Case({**STABLE, **on(CANARY, requests(90, version="3", error=10), default("3"))}, CANDIDATE, "10%"),
        {**STABLE, **on(CANARY, requests(97.5, version="3", error=2.5), default("3"))},
        "not twice the failures of the others and one in a hundred more",
        also_fires={
            "half of the traffic": Case(
                {**requests(200), **default("2"), **on(CANARY, requests(0, version="3", error=200), default("3"))},
                CANDIDATE,
                "100%",
            ),
            "the larger part of it": Case(
                {**requests(200), **default("2"), **on(CANARY, requests(0, version="3", error=300), default("3"))},
                CANDIDATE,
                "100%",
            ),
            "one server has both versions": Case(
                {**STABLE, **requests(90, version="3", error=10), **default("3", steady(0))}, BESIDE, "10%"
            ),
        },
        also_silent={
            "a member of an ensemble that is a candidate": {
                **requests(2000),
                **default("2"),
                **on(OTHER_CANARY, requests(97, protocol="ensemble", shed=3), default("2")),
            },
            "two services with the same model, and no candidate": {
                **requests(2000),
                **default("2"),
                **on("digits-batch", requests(97, shed=3), default("2")),
            },
            "what is worse is the default": {
                **requests(90, error=10),
                **default("2"),
                **requests(1000, version="3"),
                **default("3", steady(0)),
            },
            "it was the default until five minutes ago": {
                **requests(200, version="3"),
                **default("3", "0x175 1x5"),
                **requests(100, version="2", error=100),
                **default("2", "1x175 0x5"),
            },
            "of the others too few are left": {
                **requests(9),
                **default("2"),
                **on(CANARY, requests(0, version="3", error=200), default("3")),
            },
        },
    ),
    "CanarySlower": Pair(
        Case({**STEADY, **on(CANARY, timed(95, 5, "3"), default("3"))}, CANDIDATE, "2.2s"),
        {**STEADY, **on(CANARY, timed(24, 1, "3"), default("3"))},
        "one request in a hundred of 250 is too few to tell",
        also_fires={
            "the larger part of the traffic": Case(
                {**STEADY, **on(CANARY, timed(1900, 100, "3"), default("3"))}, CANDIDATE, "2.2s"
            ),
            "one server has both versions": Case(
                {**STEADY, **timed(95, 5, "3"), **default("3", steady(0))}, BESIDE, "2.2s"
            ),
        },
        also_silent={
            "a member of an ensemble that is a candidate": {
                **STEADY,
                **on(OTHER_CANARY, timed(95, 0, "2"), timed(0, 50, "2", "ensemble"), default("2")),
            },
            "two services with the same model, and no candidate": {
                **STEADY,
                **on("digits-batch", timed(95, 5, "2"), default("2")),
            },
        },
    ),
    "Watchdog": Pair(Case({}, {}), {}, "it never is: see its test"),
}
