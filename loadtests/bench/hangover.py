"""Whether a burst leaves a hangover: the median latency of one connection before it and one second after it.

    one connection -> 128 connections for 10 s -> one second of rest -> one connection

A batcher that learns waiting times from a burst goes on waiting when the burst is over. Both kinds of models are looked
at: one that runs in the event loop, one that runs in a thread.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from loadtests.bench.checker import Checker
from loadtests.bench.command import Say, finish, parser, say, silent
from loadtests.bench.core import Bar, Endpoint
from loadtests.bench.draw import scattered
from loadtests.bench.observe import places, serving
from loadtests.bench.one_by_one import one_by_one
from loadtests.bench.open_loop import Plan, drive
from loadtests.bench.ours import Modelyard
from loadtests.bench.payloads import template
from loadtests.bench.process import pinned
from loadtests.bench.statistics import median, percentile

MODELS = ("mlp", "dial_1ms")
CROWD = 128
REST = 1.0
BAR = 1.2


def run(
    burst: float = 10.0, quiet: float = 3.0, rounds: int = 2, models: Sequence[str] = MODELS, say: Say = silent
) -> dict[str, Any]:
    """`rounds` bursts of each model; `quiet` seconds of one connection before and after each."""
    cases = [_case(model, burst, quiet, rounds, say) for model in models]
    return {"scenario": "hangover", "connections": CROWD, "burst": burst, "rest": REST, "cases": cases}


def _case(model: str, burst: float, quiet: float, rounds: int, say: Say) -> dict[str, Any]:
    server_cores, client_cores = places()
    settings = {"MODELYARD_EXECUTORS": "1"} if server_cores else {}
    with serving(Modelyard("modelyard", settings), model, server_cores) as server, pinned(client_cores):
        endpoint, numbers = server.endpoints["oip-json"], count()
        _alone(endpoint, model, numbers, min(quiet, 1.0))
        taken = [_round(endpoint, model, numbers, burst, quiet, client_cores) for _ in range(rounds)]
    ratio = median([one["after"]["p50"] / one["before"]["p50"] for one in taken])
    say(f"{model}: p50 {taken[-1]['before']['p50'] * 1e6:,.0f} us before, {ratio:.2f} times that after")
    return {"model": model, "ratio": ratio, "rounds": taken}


def _round(
    endpoint: Endpoint, model: str, numbers: Iterator[int], burst: float, quiet: float, use: list[int] | None
) -> dict[str, Any]:
    before = _alone(endpoint, model, numbers, quiet)
    over: list[float] = []
    plan = Plan(model, [endpoint], burst, connections=CROWD, start=10**7 + 10**6 * next(numbers) % 10**7, cores=use)
    plan.deadline = 10.0
    crowd = drive(plan, lambda line: over.append(time.monotonic()) if line.get("over") else None)
    time.sleep(max(0.0, over[0] + REST - time.monotonic()))
    after = _alone(endpoint, model, numbers, quiet)
    return {
        "before": before,
        "crowd": {"rate": crowd["goodput"], "counts": crowd["counts"], "latency": crowd["latency"]["answered"]},
        "after": after,
    }


def _alone(endpoint: Endpoint, model: str, numbers: Iterator[int], seconds: float) -> dict[str, Any]:
    """One connection, each answer compared."""
    render, checker = template(endpoint, model).render, Checker(model)
    latencies: list[float] = []
    with one_by_one(endpoint, model) as client:
        end = time.perf_counter() + seconds
        while not latencies or time.perf_counter() < end:
            number = scattered(next(numbers))
            answer, latency = client.ask(render(number))
            latencies.append(latency)
            if not checker.right([number], [answer])[0]:
                raise RuntimeError(f"{model} answered {answer.ravel()[:4]} to request {number}")
    return {"count": len(latencies), "p50": percentile(latencies, 50), "p99": percentile(latencies, 99)}


def bars(result: dict[str, Any]) -> list[Bar]:
    """What was promised of it."""
    name = "p50 at one connection, a second after a burst, to that before"
    return [Bar(f"{name} ({case['model']})", case["ratio"], BAR, "at most") for case in result["cases"]]


def markdown(result: dict[str, Any]) -> str:
    """A table for the page."""
    lines = [
        f"The median latency at one connection, {result['rest']:g} s after a burst of {result['connections']} "
        f"connections for {result['burst']:g} s.",
        "",
        "| model | p50 before | in the burst | after | after to before |",
        "|---|---|---|---|---|",
    ]
    for case in result["cases"]:
        rounds = case["rounds"]
        p50 = [
            median([one["before"]["p50"] for one in rounds]),
            median([one["crowd"]["latency"]["p50"] for one in rounds]),
            median([one["after"]["p50"] for one in rounds]),
        ]
        cells = [case["model"], *(f"{value * 1e6:,.0f} us" for value in p50), f"{case['ratio']:.2f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def plot(result: dict[str, Any], path: Path) -> None:
    """Before and after side by side."""
    from loadtests.bench.picture import BLUE, GREY, drawn

    with drawn(path, 1, len(result["cases"]), (3.5, 3)) as axes:
        for axis, case in zip(axes[0], result["cases"], strict=True):
            values = [median([one[when]["p50"] * 1e6 for one in case["rounds"]]) for when in ("before", "after")]
            axis.bar(["before", "after"], values, color=[GREY, BLUE])
            axis.axhline(values[0] * BAR, color="black", linestyle=":")
            axis.set_title(case["model"])
            axis.set_ylabel("p50, us")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the bursts and print the table."""
    options = parser(__doc__)
    options.add_argument("--burst", type=float, default=10.0, help="seconds of 128 connections")
    options.add_argument("--quiet", type=float, default=3.0, help="seconds of one connection before and after")
    options.add_argument("--rounds", type=int, default=2)
    options.add_argument("--models", nargs="+", default=list(MODELS))
    chosen = options.parse_args(arguments)
    finish(chosen, run(chosen.burst, chosen.quiet, chosen.rounds, chosen.models, say=say), markdown, plot)


if __name__ == "__main__":
    main()
