"""What the cache is worth: requests a second over the hit ratio, by what a row of the model costs.

    for each cost and hit ratio: one new server with the model three times: memory tier, Redis tier, no cache
        asked at that ratio until it has decided which tiers are worth asking
        one closed loop that asks the three in turns of a fraction of a second

Rows are not merged, so that a row costs what its dial says. The requests are drawn so that the asked part of them is
known to the cache; what really was a hit is read from the server. A tier that does not pay is left out by the server
itself: such cells are marked, and compared with no cache all the same. What a tier is worth is the median over the
rounds of its rate in the round to that without a cache; how sure that is, its standard error, stands beside the bars.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadtests.bench.command import Say, finish, parser, say, silent
from loadtests.bench.core import Bar, Endpoint
from loadtests.bench.models import DIALS
from loadtests.bench.observe import by_label, places
from loadtests.bench.open_loop import Plan, drive
from loadtests.bench.statistics import median, uncertainty
from loadtests.bench.tiers import TIERS, Tiers, tiers

RATIOS = (0.0, 0.5, 0.9, 0.99)
KNOWN = 128
EVIDENCE_SLICES = 10  # of 2 s: a model so slow that these do not suffice is worth its cache
CONNECTIONS, FEW = 32, 4  # few for the slow model: those under way when a turn begins are answered in it
SLOT = 1_000_000  # new rows set aside for each measurement
ROWS = "modelyard_cache_rows_total"
PRICE_BAR = 0.97
LONGER = {"dial_1ms": 2, "dial_30ms": 3}  # turns
SLOW = "dial_30ms"


@dataclass(frozen=True)
class Scale:
    """How much is measured: seconds of a turn, and turns of each tier. At 0 % hits a bar is at stake: more of them."""

    turn: float = 0.2
    rounds: int = 15
    price_rounds: int = 120

    def of(self, model: str, ratio: float) -> tuple[float, int]:
        """Seconds of a turn, and rounds."""
        return self.turn * LONGER.get(model, 1), self.rounds if ratio else self.price_rounds


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
            with tiers(model) as servers:
                cells += _Curve(model, ratio, servers).measured(*(scale or Scale()).of(model, ratio))
            say(_line(cells[-len(TIERS) :]))
    return {"scenario": "cache_curve", "connections": CONNECTIONS, "few": FEW, "known": KNOWN, "cells": cells}


class _Curve:
    """One server of one model, asked at one hit ratio."""

    def __init__(self, model: str, ratio: float, servers: Tiers) -> None:
        self._model, self._ratio, self._servers = model, ratio, servers
        self._cores = places()[1]
        self._used = 0

    def measured(self, turn: float, rounds: int) -> list[dict[str, Any]]:
        """One cell for each tier."""
        self._warm_up()
        before = [self._rows(tier) for tier in TIERS]
        plan = self._plan(self._servers.endpoints, turn * rounds * len(TIERS), turn=turn, **self._mix())
        result = drive(plan)
        if result["counts"]["ok"] != result["offered"]:
            raise RuntimeError(f"{self._model}: not every answer was right: {result['counts']} {result['errors']}")
        none = result["turns"][TIERS.index("none")]
        return [
            {**self._cell(tier, rows), **_compared(rates, none), "client_share": result["client"]["share"]}
            for tier, rows, rates in zip(TIERS, before, result["turns"], strict=True)
        ]

    def _warm_up(self) -> None:
        """Show each tier the known rows, and so many others that the server has decided which are worth asking."""
        for tier, endpoint in list(zip(TIERS, self._servers.endpoints, strict=True))[: TIERS.index("none")]:
            if self._ratio:
                drive(self._plan([endpoint], 90.0, count=KNOWN, connections=8))
            for _ in range(EVIDENCE_SLICES):
                # the slow model's hits are worth any look-up: to see that would take long
                if self._servers.decided(tier) or (self._model == SLOW and self._ratio):
                    break
                drive(self._plan([endpoint], 2.0, **self._mix()))

    def _cell(self, tier: str, before: dict[str, float]) -> dict[str, Any]:
        """What the server says of a tier; `before`: its counters when the measurement began."""
        rows = {name: value - before.get(name, 0.0) for name, value in self._rows(tier).items()}
        every = max(1.0, sum(rows.values()))
        samples = self._servers.metrics(tier)
        admitted = by_label(samples, "modelyard_cache_admitted", "tier").get(tier)
        return {
            "model": self._model,
            "tier": tier,
            "ratio": self._ratio,
            # None: no cache, or a server that does not decide
            "kept_out": None if admitted is None else admitted < 0.5,
            "hits": sum(rows.get(name, 0.0) for name in ("hit_memory", "hit_redis", "join")) / every,
            "rows": {name: round(value / every, 4) for name, value in rows.items() if value},
            "lookup_seconds": by_label(samples, "modelyard_cache_lookup_cost_seconds", "tier").get(tier, 0.0),
            "row_seconds": by_label(samples, "modelyard_cache_row_cost_seconds", "model").get(tier, 0.0),
        }

    def _rows(self, tier: str) -> dict[str, float]:
        return by_label(self._servers.metrics(tier), ROWS, "result")

    def _mix(self) -> dict[str, Any]:
        return {"hit_ratio": self._ratio, "known": KNOWN if self._ratio else 0}

    def _plan(self, endpoints: list[Endpoint], seconds: float, **options: Any) -> Plan:
        self._used += SLOT
        connections = FEW if self._model == SLOW else CONNECTIONS
        given = {"connections": connections, "start": self._used, "seed": self._used, "deadline": 30.0, **options}
        return Plan(self._model, endpoints, seconds, cores=self._cores, **given)


def _compared(rates: list[float], none: list[float]) -> dict[str, Any]:
    ratios = [mine / other for mine, other in zip(rates, none, strict=True) if other]
    return {"rate": median(rates), "rates": rates, "to_none": median(ratios), "uncertainty": uncertainty(ratios)}


# --- what is said of it --------------------------------------------------------------------------------------------


def bars(result: dict[str, Any]) -> list[Bar]:
    """The price of a cache that never hits."""
    made = []
    for cell in result["cells"]:
        if cell["ratio"] or cell["tier"] == "none":
            continue
        costs = f"+-{cell['uncertainty']:.3f}; a row {_us(cell['row_seconds'])}, look-up {_us(cell['lookup_seconds'])}"
        note = f"kept out; {costs}" if cell["kept_out"] else costs
        name = f"{cell['model']}, {cell['tier']} tier, no hits: requests/s to those without a cache"
        made.append(Bar(name, cell["to_none"], PRICE_BAR, note=note))
    return made


def markdown(result: dict[str, Any]) -> str:
    """One table for the page: requests a second, and how often that of no cache."""
    lines = [
        f"Requests/s over HTTP JSON at {result['connections']} connections (the slowest model: {result['few']}), one "
        "core, rows not merged, the three asked in turns; in brackets how often the requests/s without a cache. *Kept "
        "out*: the server itself leaves this tier out, as its hits do not pay for its look-ups. A row that waits for "
        "an equal one under way counts as a hit.",
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
    options.add_argument("--turn", type=float, default=Scale.turn, help="seconds; longer for slow models")
    options.add_argument("--rounds", type=int, default=Scale.rounds)
    options.add_argument("--price-rounds", type=int, default=Scale.price_rounds, help="rounds at 0 %% hits")
    options.add_argument("--models", nargs="+", choices=list(DIALS), default=list(DIALS))
    options.add_argument("--ratios", nargs="+", type=float, default=list(RATIOS))
    chosen = options.parse_args(arguments)
    scale = Scale(chosen.turn, chosen.rounds, chosen.price_rounds)
    finish(chosen, run(scale, chosen.models, chosen.ratios, say), markdown, plot)


if __name__ == "__main__":
    main()
