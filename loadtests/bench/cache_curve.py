"""What the cache is worth: requests a second over the hit ratio, by what a row of the model costs.

    for each cost and hit ratio: three new servers with the same model: memory tier, Redis tier, no cache
        asked at that ratio until they have decided what is worth asking
        in rounds: a closed loop against one after the other

Rows are not merged, so that a row costs what its dial says. The requests are drawn so that the asked part of them is
known to the cache; what really was a hit is read from the server. A tier that does not pay is left out by the server
itself (it judges after a quarter second of look-ups here, to spare time; a second is the default): such cells are
marked, and compared with no cache all the same. At 0 % hits, where a bar is at stake, there are
several sets of servers: two processes of the same server differ by up to a tenth in how fast they run the same model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadtests.bench.command import Say, finish, parser, say, silent
from loadtests.bench.core import Bar, Server
from loadtests.bench.models import DIALS
from loadtests.bench.observe import by_label, decided, metrics, places, serving
from loadtests.bench.open_loop import Plan, drive
from loadtests.bench.ours import Edit, Modelyard
from loadtests.bench.process import usage
from loadtests.bench.redis_server import redis_server
from loadtests.bench.statistics import median

RATIOS = (0.0, 0.5, 0.9, 0.99)
TIERS = ("memory", "redis", "none")
KNOWN = 128

EVIDENCE_SLICES = 10  # of 2 s: a model so slow that these do not suffice is worth its cache
PRICE_SETS = 3  # of servers, at 0 % hits
CONNECTIONS = 32
SLOT = 1_000_000  # new rows set aside for each measurement
ROWS = "modelyard_cache_rows_total"
PRICE_BAR = 0.97


@dataclass(frozen=True)
class Scale:
    """How much is measured. A slow model needs longer; rounds at 0 % hits decide a bar, so there are more of them."""

    seconds: float = 1.0
    rounds: int = 3
    price_rounds: int = 5

    def of(self, model: str, ratio: float) -> tuple[float, int]:
        """Seconds and rounds of a cell."""
        slow = model == "dial_30ms"
        return self.seconds * (4 if slow else 1), self.rounds if ratio or slow else max(self.rounds, self.price_rounds)


def run(
    scale: Scale | None = None,
    models: Sequence[str] = tuple(DIALS),
    ratios: Sequence[float] = RATIOS,
    say: Say = silent,
) -> dict[str, Any]:
    """The whole curve."""
    cells: list[dict[str, Any]] = []
    for model in models:
        for ratio in ratios:
            cells += _measure(model, ratio, scale or Scale())
            say(_line(cells[-len(TIERS) :]))
    return {"scenario": "cache_curve", "connections": CONNECTIONS, "known": KNOWN, "cells": cells}


def _measure(model: str, ratio: float, scale: Scale) -> list[dict[str, Any]]:
    """One cell for each tier: the medians of all rounds of all sets of servers."""
    seconds, rounds = scale.of(model, ratio)
    sets = 1 if ratio or model == "dial_30ms" else PRICE_SETS
    taken: dict[str, list[dict[str, Any]]] = {tier: [] for tier in TIERS}
    for _ in range(sets):
        with _servers(model) as servers:
            curve = _Curve(model, ratio, servers)
            curve.warm_up()
            curve.measure(seconds, -(-rounds // sets), taken)
    return [_cell(model, tier, ratio, taken) for tier in TIERS]


# --- servers -------------------------------------------------------------------------------------------------------


@contextmanager
def _servers(model: str) -> Iterator[dict[str, Server]]:
    """One of each tier, on one core; Redis has the other."""
    server_cores, client_cores = places()
    with ExitStack() as stack:
        url = stack.enter_context(redis_server(client_cores))
        settings = {
            "memory": {},
            "redis": {"MODELYARD_REDIS_URL": url},
            "none": {"MODELYARD_CACHE_ENABLED": "false"},
        }
        servers = {}
        for tier in TIERS:
            chosen = {"MODELYARD_EXECUTORS": "1", "MODELYARD_CACHE_EVIDENCE_SECONDS": "0.25", **settings[tier]}
            recipe = Modelyard(f"cache-{tier}", chosen, _edit(tier))
            servers[tier] = stack.enter_context(serving(recipe, model, server_cores))
        yield servers


def _edit(tier: str) -> Edit:
    def edit(content: dict[str, Any]) -> None:
        content["batching"]["max_batch_size"] = 1
        if tier != "none":
            content.setdefault("cache", {})["tiers"] = [tier]

    return edit


# --- measurements --------------------------------------------------------------------------------------------------


class _Curve:
    """One set of servers of one model, asked at one hit ratio."""

    def __init__(self, model: str, ratio: float, servers: dict[str, Server]) -> None:
        self._model, self._ratio, self._servers = model, ratio, servers
        self._used = 0
        self._redis = servers["redis"]
        self._cores = places()[1]

    def warm_up(self) -> None:
        """Show each server the known rows, and so many others that it has decided which tiers are worth asking."""
        for tier, server in self._servers.items():
            drive(self._plan(server, 90.0, count=KNOWN, connections=8))
            slices = 0 if tier == "none" or self._model == "dial_30ms" else EVIDENCE_SLICES
            for _ in range(slices):
                drive(self._plan(server, 2.0, **self._mix()))
                if decided(server, tier):
                    break

    def measure(self, seconds: float, rounds: int, taken: dict[str, list[dict[str, Any]]]) -> None:
        """Add samples to `taken`: in each round the tiers take turns."""
        for index in range(rounds):
            # forth and back: a machine that gets slower favours nobody
            order = list(self._servers) if index % 2 == 0 else list(self._servers)[::-1]
            for tier in order:
                taken[tier].append(self._sample(self._servers[tier], seconds))

    def _mix(self) -> dict[str, Any]:
        return {"hit_ratio": self._ratio, "known": KNOWN if self._ratio else 0}

    def _sample(self, server: Server, seconds: float) -> dict[str, Any]:
        before, cpu = by_label(metrics(server), ROWS, "result"), usage(server.pid).cpu_seconds
        plan = self._plan(server, seconds * 1.25, settle=seconds * 0.25, **self._mix())
        result = drive(plan)
        cpu = usage(server.pid).cpu_seconds - cpu
        samples = metrics(server)
        # counters of the server since it started: the difference is this measurement
        rows = {name: value - before.get(name, 0.0) for name, value in by_label(samples, ROWS, "result").items()}
        counts, all_rows = result["counts"], max(1.0, sum(rows.values()))
        if counts["ok"] != result["offered"]:
            raise RuntimeError(f"{self._model}: not every answer was right: {counts} {result['errors']}")
        return {
            "rate": result["goodput"],
            "p99": result["latency"]["answered"]["p99"],
            "cpu_us": 1e6 * cpu / all_rows,
            "client_share": result["client"]["share"],
            "hits": sum(rows.get(name, 0.0) for name in ("hit_memory", "hit_redis", "join")) / all_rows,
            "rows": {name: round(value / all_rows, 4) for name, value in rows.items() if value},
            "redis_errors": by_label(samples, "modelyard_cache_errors_total", "reason")
            if server is self._redis
            else {},
            "admitted": by_label(samples, "modelyard_cache_admitted", "tier"),
            "lookup": by_label(samples, "modelyard_cache_lookup_cost_seconds", "tier"),
            "row": by_label(samples, "modelyard_cache_row_cost_seconds", "model"),
        }

    def _plan(self, server: Server, seconds: float, **options: Any) -> Plan:
        self._used += SLOT
        given = {"connections": CONNECTIONS, "start": self._used, "seed": self._used, "deadline": 30.0, **options}
        return Plan(self._model, [server.endpoints["oip-json"]], seconds, cores=self._cores, **given)


def _cell(model: str, tier: str, ratio: float, taken: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    own, none = taken[tier], taken["none"]
    admitted = [one["admitted"].get(tier) for one in own]
    known = [value for value in admitted if value is not None]
    return {
        "model": model,
        "tier": tier,
        "ratio": ratio,
        "rates": [one["rate"] for one in own],
        "to_none": median([mine["rate"] / other["rate"] for mine, other in zip(own, none, strict=True)]),
        # None: no cache, or a server that does not decide
        "kept_out": median(known) < 0.5 if known else None,
        "rows": own[-1]["rows"],
        "redis_errors": own[-1]["redis_errors"],
        "lookup_seconds": median([one["lookup"].get(tier, 0.0) for one in own]),
        "row_seconds": median([one["row"].get(model, 0.0) for one in own]),
        **{name: median([one[name] for one in own]) for name in ("rate", "p99", "cpu_us", "hits", "client_share")},
    }


# --- what is said of it --------------------------------------------------------------------------------------------


def bars(result: dict[str, Any]) -> list[Bar]:
    """The price of a cache that never hits."""
    made = []
    for cell in result["cells"]:
        if cell["ratio"] or cell["tier"] == "none":
            continue
        costs = f"a row {_us(cell['row_seconds'])}, look-up {_us(cell['lookup_seconds'])}"
        note = f"kept out: {costs}" if cell["kept_out"] else costs
        name = f"{cell['model']}, {cell['tier']} tier, no hits: requests/s to those without a cache"
        made.append(Bar(name, cell["to_none"], PRICE_BAR, note=note))
    return made


def markdown(result: dict[str, Any]) -> str:
    """One table for the page: requests a second, and how often that of no cache."""
    lines = [
        f"Requests/s over HTTP JSON at {result['connections']} connections, one core, rows not merged; in brackets how "
        "often the requests/s without a cache. *Kept out*: the server itself leaves this tier out, as its hits do not "
        "pay for its look-ups. A row that waits for an equal one under way counts as a hit.",
        "",
        "| a row of the model | hits asked | hits | memory tier | Redis tier | no cache |",
        "|---|---|---|---|---|---|",
    ]
    cells = result["cells"]
    for index in range(0, len(cells), len(TIERS)):
        memory, redis, none = cells[index : index + len(TIERS)]
        hits = f"{memory['hits']:.1%}, {redis['hits']:.1%}"
        shown = [_shown(memory), _shown(redis), f"{none['rate']:,.0f}"]
        lines.append("| " + " | ".join([_cost(none["model"]), f"{none['ratio']:.0%}", hits, *shown]) + " |")
    return "\n".join(lines)


def _shown(cell: dict[str, Any]) -> str:
    out = ", *kept out*" if cell["kept_out"] else ""
    return f"{cell['rate']:,.0f} ({cell['to_none']:.2f}x{out})"


def _line(cells: Sequence[dict[str, Any]]) -> str:
    shown = [f"{cell['tier']} {cell['rate']:,.0f}/s{' kept out' if cell['kept_out'] else ''}" for cell in cells]
    return f"{_cost(cells[0]['model'])} a row, {cells[0]['ratio']:.0%} known: {', '.join(shown)}"


def _cost(model: str) -> str:
    return model.removeprefix("dial_").replace("us", " us").replace("ms", " ms")


def _us(seconds: float) -> str:
    return f"{seconds * 1e6:.1f} us"


def plot(result: dict[str, Any], path: Path) -> None:
    """One curve a tier for each cost; hollow points are kept out."""
    from loadtests.bench.picture import BLUE, GREY, ORANGE, drawn

    cells, colours = result["cells"], dict(zip(TIERS, (BLUE, ORANGE, GREY), strict=True))
    models = list(dict.fromkeys(cell["model"] for cell in cells))
    with drawn(path, 1, len(models), (3.8, 3.6)) as axes:
        for axis, model in zip(axes[0], models, strict=True):
            for tier in TIERS:
                own = [cell for cell in cells if cell["model"] == model and cell["tier"] == tier]
                ratios, rates = [str(cell["ratio"]) for cell in own], [cell["rate"] for cell in own]
                axis.plot(ratios, rates, color=colours[tier], label={"none": "no cache"}.get(tier, tier))
                faces = ["white" if cell["kept_out"] else colours[tier] for cell in own]
                axis.scatter(ratios, rates, color=faces, edgecolors=colours[tier], zorder=3)
            axis.set_yscale("log")
            axis.set_title(f"{_cost(model)} a row")
            axis.set_xlabel("hit ratio")
        axes[0][0].set_ylabel("requests/s")
        axes[0][0].legend(fontsize=8)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the curve."""
    options = parser(__doc__)
    options.add_argument("--seconds", type=float, default=1.0, help="of each measurement; four times that for 30 ms")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--price-rounds", type=int, default=5, help="rounds at 0 %% hits")
    options.add_argument("--models", nargs="+", choices=list(DIALS), default=list(DIALS))
    options.add_argument("--ratios", nargs="+", type=float, default=list(RATIOS))
    chosen = options.parse_args(arguments)
    scale = Scale(chosen.seconds, chosen.rounds, chosen.price_rounds)
    finish(chosen, run(scale, chosen.models, chosen.ratios, say), markdown, plot)


if __name__ == "__main__":
    main()
