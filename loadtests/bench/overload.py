"""More than the server can do: what is still answered in time, how fast the rest is refused, and how it comes back.

    peak (closed loop) -> half of it (the p99 to come back to) -> 2x -> 5x (open loop) -> half of it again

Two models on one core. `queue`: a row costs so much that the queue before the model is what fills; the server sees the
wait coming and refuses. `loop`: the tiny network runs in the event loop itself, nothing waits in a queue of the
server, and refusing costs hardly less than answering: that is the event loop's own limit, held to no bar of goodput or
refusals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from loadtests.bench.command import Say, finish, ms, parser, say, silent
from loadtests.bench.core import Bar, Recipe, Server
from loadtests.bench.observe import Held, Probes, http_port, observed, places, serving
from loadtests.bench.open_loop import Plan, drive
from loadtests.bench.ours import Modelyard
from loadtests.bench.statistics import percentile
from loadtests.bench.trend import growth

DEADLINE = 1.0  # seconds from the intended send time: what comes later is no goodput
QUEUE_SECONDS = 0.25  # of model.yaml: the longest estimated wait that the server accepts
CACHE_BYTES = 2 * 2**20  # full soon, so that what memory does afterwards is the server's doing
SLOT = 1_000_000  # new rows set aside for each phase


@dataclass(frozen=True)
class Case:
    """What is overloaded: a model, and what is expected to fill up first."""

    name: str
    model: str
    saturates: str
    max_batch_size: int
    connections: tuple[int, ...]  # of the closed loops that look for the peak

    def recipe(self) -> Recipe:
        """The server with every feature on; one executor, as it has one core."""
        settings = {"MODELYARD_EXECUTORS": "1", "MODELYARD_CACHE_MEMORY_BYTES": str(CACHE_BYTES)}
        return Modelyard(f"overload-{self.name}", settings, self._edit)

    def _edit(self, content: dict[str, Any]) -> None:
        content["batching"]["max_batch_size"] = self.max_batch_size
        content["limits"] = {"queue_seconds": QUEUE_SECONDS, "deadline_seconds": 2 * DEADLINE}


# Rows are not merged in `queue`: merged they would cost so little that the event loop filled up before the queue.
CASES = {
    "queue": Case("queue", "dial_1ms", "the queue before the model", 1, (8, 32)),
    "loop": Case("loop", "mlp", "the event loop", 32, (32, 128)),
}


def run(
    seconds: float = 60.0,
    factors: Sequence[float] = (2.0, 5.0),
    cases: Sequence[str] = ("queue", "loop"),
    calm: float = 15.0,
    peak_seconds: float = 4.0,
    say: Say = silent,
) -> dict[str, Any]:
    """Overload each case for `seconds` at each factor; `calm` seconds of half the peak before and after."""
    measured = [_case(CASES[name], seconds, factors, calm, peak_seconds, say) for name in cases]
    return {"scenario": "overload", "seconds": seconds, "deadline": DEADLINE, "cases": measured}


def _case(
    case: Case, seconds: float, factors: Sequence[float], calm: float, peak_seconds: float, say: Say
) -> dict[str, Any]:
    server_cores, client_cores = places()
    with serving(case.recipe(), case.model, server_cores) as server:
        endpoint = server.endpoints["oip-json"]
        base = Plan(case.model, [endpoint], seconds, deadline=DEADLINE, cores=client_cores)
        phases = _Phases(base, server, say)
        peaks = [phases.closed(count, peak_seconds) for count in case.connections]
        peak = max(peaks, key=lambda one: float(one["goodput"]))
        rate = float(peak["goodput"])
        say(f"{case.name}: peak {rate:,.0f}/s at {peak['plan']['connections']} connections")
        before = phases.open(0.5, 0.5 * rate, calm)
        loads = [phases.open(factor, factor * rate, seconds) for factor in factors]
        after = phases.open(0.5, 0.5 * rate, calm)
    return {
        "case": case.name,
        "model": case.model,
        "saturates": case.saturates,
        "peak": {"rate": rate, "connections": peak["plan"]["connections"], "latency": peak["latency"]["answered"]},
        "before": before,
        "loads": [{**load, "goodput_ratio": load["goodput"] / rate if rate else 0.0} for load in loads],
        "after": after,
        "recovery": _recovery(before, after, calm),
        "wrong": sum(one["counts"]["wrong"] for one in (*peaks, before, *loads, after)),
    }


class _Phases:
    """The phases of one case, each with rows of its own."""

    def __init__(self, base: Plan, server: Server, say: Say) -> None:
        self._base, self._server, self._say = base, server, say
        self._used = 0

    def closed(self, connections: int, seconds: float) -> dict[str, Any]:
        """The most that `connections` requests under way get answered."""
        self._used += SLOT
        plan = replace(
            self._base, seconds=seconds, settle=seconds / 4, connections=connections, start=self._used, deadline=10.0
        )
        return drive(plan)

    def open(self, factor: float, rate: float, seconds: float) -> dict[str, Any]:
        """`rate` requests a second, whatever becomes of them."""
        self._used += SLOT
        held, probes = Held(self._server.pid), Probes(http_port(self._server))
        with observed(held, probes):
            result = drive(replace(self._base, seconds=seconds, rate=max(1.0, rate), start=self._used))
        kept = ("seconds", "offered", "goodput", "client", "counts", "errors", "latency", "windows")
        rss = [row["rss_bytes"] for row in held.rows]
        self._say(
            f"  {factor:g}x: {rate:,.0f}/s offered, {result['goodput']:,.0f}/s answered in time, "
            f"{result['counts']['refused']} refused (p99 {ms(result['latency']['refused']['p99'])}), "
            f"probes p99 {ms(probes.summary()['p99'])}"
        )
        return {
            "factor": factor,
            "rate": rate,
            **{name: result[name] for name in kept},
            "probes": probes.summary(),
            "memory": {"rows": held.rows, "growth": growth(rss) / rss[0] if rss else 0.0},
        }


def _recovery(before: dict[str, Any], after: dict[str, Any], calm: float) -> dict[str, Any]:
    """The p99 at half load in the last third: with the default times what is seen 10 s after the overload."""
    begin = float(int(calm * 2 / 3))
    return {
        "seconds_after": begin,
        "p99_before": _p99_from(before["windows"], 0.0),
        "p99_after": _p99_from(after["windows"], begin),
        "p99_first_second": _p99_from(after["windows"][:1], 0.0),
        "goodput": after["goodput"],
    }


def _p99_from(windows: Sequence[dict[str, Any]], begin: float) -> float:
    """The median of the p99 of the windows that begin then or later."""
    return percentile(
        [one["answered_seconds"]["p99"] for one in windows if one["second"] >= begin and "answered_seconds" in one], 50
    )


# --- what is said of it ---------------------------------------------------------------------------------------------


def bars(result: dict[str, Any]) -> list[Bar]:
    """The promises of the overload."""
    made = []
    for case in result["cases"]:
        for load in case["loads"]:
            name, factor = f"overload of {case['saturates']}", load["factor"]
            if case["case"] == "queue":
                least = 0.9 if factor <= 2 else 0.8
                rate = load["counts"]["refused"] / load["seconds"]
                why = f"{rate:,.0f} refusals/s beside the answers, on the one core"
                made.append(Bar(f"{name}, {factor:g}x: goodput to peak", load["goodput_ratio"], least, why=why))
                refused = load["latency"]["refused"]["p99"] * 1e3
                made.append(Bar(f"{name}, {factor:g}x: p99 of refusals", refused, 50.0, "at most", "ms", why=why))
            made.append(_probes(f"{name}, {factor:g}x: p99 of probes", load))
        made.append(Bar(f"overload of {case['saturates']}: wrong answers", case["wrong"], 0, "at most", ""))
    return made


def _probes(name: str, load: dict[str, Any]) -> Bar:
    unsent = load["counts"]["unsent"]
    why = (
        "a probe waits its turn behind what has arrived on the other connections; "
        f"{unsent:,} of {load['offered']:,} found no connection free and were never sent"
        if unsent
        else ""
    )
    return Bar(name, load["probes"]["p99"] * 1e3, 200.0, "at most", "ms", why=why)


def markdown(result: dict[str, Any]) -> str:
    """Tables for the page."""
    lines = [
        f"Open loop, Poisson arrivals, {result['seconds']:g} s each, server on one core; in time: within "
        f"{result['deadline']:g} s of the intended send time; unsent: no connection was free within "
        f"{ms(Plan.patience)}, so that the server was given less than was meant for it.",
    ]
    for case in result["cases"]:
        peak = case["peak"]
        lines += [
            "",
            f"**{case['model']}: {case['saturates']} fills up.** Peak {peak['rate']:,.0f} requests/s in a closed loop "
            f"of {peak['connections']} connections. Wrong answers: {case['wrong']}.",
            "",
            "| load | offered/s | in time/s | to peak | late | refused | unsent | p50 | p99 | refusals p50 | p99 "
            "| probes p50 | p99 | failed | sent late by, p99 | memory |",
            "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
            *[_row(load) for load in (case["before"], *case["loads"])],
        ]
        back = case["recovery"]
        lines += [
            "",
            f"Half the peak again: p99 of a second {ms(back['p99_after'])} from {back['seconds_after']:.0f} s on "
            f"(before it {ms(back['p99_before'])}; in the first second {ms(back['p99_first_second'])}).",
        ]
    return "\n".join(lines)


def _row(load: dict[str, Any]) -> str:
    counts, latency, probes = load["counts"], load["latency"], load["probes"]
    cells = [f"{load['factor']:g}x", f"{load['offered'] / load['seconds']:,.0f}", f"{load['goodput']:,.0f}"]
    cells += [f"{load['goodput_ratio']:.2f}" if "goodput_ratio" in load else ""]
    cells += [str(counts[name]) for name in ("late", "refused", "unsent")]
    cells += [ms(latency[name][part]) for name in ("answered", "refused") for part in ("p50", "p99")]
    cells += [ms(probes["p50"]), ms(probes["p99"]), str(probes["failed"]), ms(latency["schedule"]["p99"])]
    return "| " + " | ".join([*cells, f"{load['memory']['growth']:+.1%}"]) + " |"


def plot(result: dict[str, Any], path: Path) -> None:
    """For each case over time: what was offered, answered in time and refused, and the memory."""
    from loadtests.bench.overload_plot import draw_overload

    draw_overload(result, path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the overload and print its tables."""
    options = parser(__doc__)
    options.add_argument("--seconds", type=float, default=60.0, help="of each overload")
    options.add_argument("--calm", type=float, default=15.0, help="seconds of half the peak before and after")
    options.add_argument("--factors", type=float, nargs="+", default=[2.0, 5.0])
    options.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    chosen = options.parse_args(arguments)
    finish(chosen, run(chosen.seconds, chosen.factors, chosen.cases, chosen.calm, say=say), markdown, plot)


if __name__ == "__main__":
    main()
