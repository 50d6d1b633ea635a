"""A long run at 70 % of the peak: is every answer right, and does anything grow?

    peak of the mix (closed loop) -> open loop at 70 % of it, for as long as asked, every answer compared

The mix: HTTP JSON, HTTP binary and gRPC; part of the rows repeat, so that the cache answers some of them. The model is
an affine map that the client computes itself. What the server holds is sampled every 10 s: memory, file descriptors,
threads, number of metric series; a straight line through the samples after the warm-up says whether it grows.
Afterwards the same mix is sent at the same rate, for a shorter time, to a server whose gRPC is the HTTP/2 front.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from loadtests.bench.command import Say, finish, ms, parser, say, silent
from loadtests.bench.core import Bar, Face, Server
from loadtests.bench.observe import Held, by_label, metrics, observed, places, serving
from loadtests.bench.open_loop import Plan, drive
from loadtests.bench.ours import Modelyard
from loadtests.bench.trend import growth, percent_an_hour

MODEL = "echo"
MIX: dict[Face, float] = {"oip-json": 0.45, "oip-binary": 0.45, "oip-grpc": 0.1}
SHARE = 0.7
HIT_RATIO, KNOWN = 0.3, 256
CONNECTIONS = 64  # of each HTTP face, open from the beginning: a number that changes would be the client's doing
DEADLINE = 5.0  # generous: it is asked whether every answer comes and is right
PERIOD = 10.0
WARM_UP = 120.0  # at most, and at most a fifth of the run
CACHE_BYTES = 8 * 2**20  # full within the warm-up
LONG_ENOUGH = 300.0  # a slope in percent an hour from less says nothing
SLOPE_BAR = 1.0
FRONT_SECONDS = 60.0  # at most, and at most a tenth of the run
FRONTS = ("grpc.aio", "HTTP/2 front")
BAD = ("wrong", "failed", "broken", "lost", "expired")


def run(
    seconds: float = 600.0,
    say: Say = silent,
    *,
    share: float = SHARE,
    peak_seconds: float = 5.0,
    server: AbstractContextManager[Server] | None = None,
) -> dict[str, Any]:
    """Soak ours, or the running `server` of the echo model, for `seconds`."""
    server_cores, client_cores = places()
    with server or serving(_recipe(), MODEL, server_cores) as soaked:
        plan = replace(_plan(soaked, seconds), cores=client_cores)
        peak = _peak(plan, peak_seconds)
        say(f"peak of the mix: {peak:,.0f}/s; {share:.0%} of it for {seconds:g} s")
        held = Held(soaked.pid, min(PERIOD, seconds / 10), lambda: len(metrics(soaked)))
        progress = _Progress(held, say)
        with observed(held):
            result = drive(replace(plan, rate=max(1.0, share * peak), window=PERIOD, report=PERIOD), progress)
        rows = by_label(metrics(soaked), "modelyard_cache_rows_total", "result")
    kept = ("offered", "goodput", "client", "counts", "lanes", "errors", "latency", "lane_latency", "windows")
    front = {} if server else {"front": _other_front(min(FRONT_SECONDS, seconds / 10), share * peak, say)}
    return {
        "scenario": "soak",
        "seconds": seconds,
        "peak": peak,
        "rate": share * peak,
        **{name: result[name] for name in kept},
        "cache_rows": rows,
        "held": held.rows,
        "trend": _trend(held, min(WARM_UP, seconds / 5)),
        **front,
    }


def _recipe(front: str = "grpcio") -> Modelyard:
    # the factor 0: this model is cheap enough to be kept out of the cache, which is to take part in the soak
    settings = {"MODELYARD_CACHE_FACTOR": "0", "MODELYARD_CACHE_MEMORY_BYTES": str(CACHE_BYTES)}
    return Modelyard("soak", {**settings, "MODELYARD_GRPC_FRONT": front})


def _plan(server: Server, seconds: float) -> Plan:
    plan = Plan(MODEL, [server.endpoints[face] for face in MIX], seconds, weights=list(MIX.values()))
    plan = replace(plan, connections=CONNECTIONS, warm=CONNECTIONS, patience=DEADLINE, deadline=DEADLINE)
    return replace(plan, hit_ratio=HIT_RATIO, known=KNOWN)


def _other_front(seconds: float, rate: float, say: Say) -> dict[str, Any]:
    """The same mix at the same rate where gRPC does not go by the library."""
    server_cores, client_cores = places()
    with serving(_recipe("http2"), MODEL, server_cores) as server:
        say(f"the same mix with the HTTP/2 front for {seconds:g} s")
        result = drive(replace(_plan(server, seconds), rate=max(1.0, rate), cores=client_cores))
    return {"seconds": seconds, **{name: result[name] for name in ("counts", "lanes", "lane_latency")}}


def _peak(plan: Plan, seconds: float) -> float:
    """Answers a second in a closed loop of the same mix; of a wrong server too, so that all of its faces are seen."""
    closed = replace(plan, seconds=seconds * 1.25, settle=seconds * 0.25, connections=32, start=10**7, deadline=10.0)
    result = drive(closed)
    return float(result["counts"]["ok"] + result["counts"]["wrong"]) / float(result["seconds"])


class _Progress:
    """A line every 30 s."""

    def __init__(self, held: Held, say: Say) -> None:
        self._held, self._say, self._said = held, say, time.monotonic()

    def __call__(self, line: dict[str, Any]) -> None:
        if "counts" not in line or time.monotonic() - self._said < 3 * PERIOD - 1 or not self._held.rows:
            return
        self._said = time.monotonic()
        counts, now = line["counts"], self._held.rows[-1]
        bad = {name: counts[name] for name in counts if name != "ok"}
        self._say(
            f"{line['second']:6.0f} s: {counts.get('ok', 0):,} right{f', {bad}' if bad else ''}; "
            f"{now['rss_bytes'] / 2**20:.1f} MiB, {now['fds']} fds, {now['threads']} threads, {now['series']} series"
        )


def _trend(held: Held, warm_up: float) -> dict[str, Any]:
    """What grew after the warm-up: memory in percent an hour, the rest in pieces."""
    trend: dict[str, Any] = {"warm_up": warm_up, "memory_percent_an_hour": None}
    # the last sample is of a server that is no longer asked
    times, rss = held.column("rss_bytes")
    trend["memory_percent_an_hour"] = percent_an_hour(times[:-1], rss[:-1], warm_up)
    for name in ("fds", "threads", "series"):
        times, values = held.column(name)
        after = [value for second, value in zip(times, values, strict=True) if second >= warm_up][:-1]
        trend[name] = {"first": after[0], "last": after[-1], "growth": growth(after)} if after else None
    return trend


# --- what is said of it ---------------------------------------------------------------------------------------------


def bars(result: dict[str, Any]) -> list[Bar]:
    """What was promised of a long run."""
    counts, trend = result["counts"], result["trend"]
    long_enough = result["seconds"] >= LONG_ENOUGH
    slope = trend["memory_percent_an_hour"] if long_enough else None
    unanswered = sum(counts[name] for name in BAD) - counts["wrong"]
    made = [
        Bar("soak: wrong answers", counts["wrong"], 0, "at most", ""),
        Bar("soak: requests without an answer", unanswered, 0, "at most", "", why=_lost(result) if unanswered else ""),
        Bar("soak: growth of memory after the warm-up", slope, SLOPE_BAR, "at most", "%/h"),
    ]
    for name in ("fds", "threads", "series"):
        grown = trend[name]["growth"] if long_enough and trend[name] else None
        made.append(Bar(f"soak: growth of {name} after the warm-up", grown, 0.5, "at most", ""))
    return made


def _lost(result: dict[str, Any]) -> str:
    """Which way they had taken, and when: how many stretches of the run they fell into."""
    lost = {face: sum(lane.get(name, 0) for name in BAD) for face, lane in result["lanes"].items()}
    windows = result["windows"]
    hit = sum(any(window.get(name) for name in BAD) for window in windows)
    ways = ", ".join(f"{count:,} by {face}" for face, count in lost.items() if count)
    return f"{ways}; in {hit} of {len(windows)} stretches of {PERIOD:g} s. {_queued(result)}".strip()


def _queued(result: dict[str, Any]) -> str:
    """grpc.aio's waiting line beside HTTP, where it was measured."""
    if "front" not in result:
        return ""
    library, front = (one["lane_latency"].get("oip-grpc", {}).get("p99", 0.0) for one in (result, result["front"]))
    return (
        f"grpc.aio takes calls one after the other, each after turns of the event loop that HTTP fills: a call's p99 "
        f"was {ms(library)}, by the HTTP/2 front {ms(front)}."
    )


def _faces(result: dict[str, Any]) -> list[str]:
    """Latency by face, with either way of gRPC."""
    if "front" not in result:
        return []
    lines = [
        "",
        "| gRPC by | seconds | face | answered | without an answer | p50 | p99 |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, one in zip(FRONTS, (result, result["front"]), strict=True):
        for face in MIX:
            lane, latency = one["lanes"].get(face, {}), one["lane_latency"].get(face, {"p50": 0.0, "p99": 0.0})
            bad = sum(lane.get(outcome, 0) for outcome in BAD)
            cells = [name, f"{one['seconds']:g}", face, f"{lane.get('ok', 0):,}", f"{bad:,}"]
            lines.append("| " + " | ".join([*cells, ms(latency["p50"]), ms(latency["p99"])]) + " |")
    return lines


def markdown(result: dict[str, Any]) -> str:
    """The figures of the run in a few lines and a table."""
    counts, latency, trend = result["counts"], result["latency"]["answered"], result["trend"]
    others = {name: count for name, count in counts.items() if count and name != "ok"}
    rows = sum(result["cache_rows"].values()) or 1
    hits = (result["cache_rows"].get("hit_memory", 0) + result["cache_rows"].get("join", 0)) / rows
    rate, peak = result["rate"], result["peak"]
    lines = [
        f"{result['seconds']:,.0f} s at {rate:,.0f} requests/s, {rate / max(peak, 1):.0%} of the peak of {peak:,.0f}; "
        f"{hits:.0%} of the rows known. {counts['ok']:,} answers right and in time"
        + (f"; {others}." if others else ", nothing else.")
        + f" p50 {ms(latency['p50'])}, p99 {ms(latency['p99'])}, p99.9 {ms(latency['p99.9'])}.",
        "",
        f"| after {trend['warm_up']:g} s | first | last | growth |",
        "|---|---|---|---|",
    ]
    rss = [row["rss_bytes"] / 2**20 for row in result["held"] if row["second"] >= trend["warm_up"]]
    if rss:
        slope = f"{trend['memory_percent_an_hour']:+.2f} %/h"
        lines.append(f"| memory | {rss[0]:.1f} MiB | {rss[-1]:.1f} MiB | {slope} |")
    for name in ("fds", "threads", "series"):
        if trend[name]:
            one = trend[name]
            lines.append(f"| {name} | {one['first']:.0f} | {one['last']:.0f} | {one['growth']:+.1f} |")
    lines += _faces(result)
    return "\n".join(lines)


def plot(result: dict[str, Any], path: Path) -> None:
    """Memory, file descriptors and latency over time."""
    from loadtests.bench.picture import BLUE, GREY, ORANGE, drawn

    held, windows = result["held"], [one for one in result["windows"] if "answered_seconds" in one]
    seconds = [row["second"] for row in held]
    with drawn(path, 1, 3, (4.4, 3.2)) as axes:
        memory, things, latency = axes[0]
        memory.plot(seconds, [row["rss_bytes"] / 2**20 for row in held], color=BLUE)
        memory.margins(y=0.2)
        memory.set_ylim(bottom=0)
        memory.set_title("memory, MiB")
        for name, colour in (("fds", BLUE), ("threads", ORANGE), ("series", GREY)):
            things.plot(seconds, [row.get(name) for row in held], color=colour, label=name)
        things.set_ylim(bottom=0)
        things.legend(fontsize=8)
        things.set_title("held by the server")
        for name, colour in (("p50", GREY), ("p99", BLUE)):
            values = [one["answered_seconds"][name] * 1e3 for one in windows]
            latency.plot([one["second"] for one in windows], values, color=colour, label=name)
        latency.set_yscale("log")
        latency.legend(fontsize=8)
        latency.set_title("latency, ms")
        for axis in axes[0]:
            axis.axvline(result["trend"]["warm_up"], color="black", linestyle=":")
            axis.set_xlabel("seconds")


def main(arguments: Sequence[str] | None = None) -> None:
    """Soak and print what was seen."""
    options = parser(__doc__)
    options.add_argument("--seconds", type=float, default=600.0)
    options.add_argument("--share", type=float, default=SHARE, help="of the measured peak")
    chosen = options.parse_args(arguments)
    finish(chosen, run(chosen.seconds, say, share=chosen.share), markdown, plot)


if __name__ == "__main__":
    main()
