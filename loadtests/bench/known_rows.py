"""What known rows save of the encoder: of a batch that is almost known, and of a request that is wholly known.

    32 new rows | 30 known and 2 new     one connection, in turns     -> cost of the second to the first
    encoder, known row | MLP, new row    32 connections, each alone   -> CPU of the server a request

The second compares a request that costs a look-up with one that costs the cheapest run: the way through the server is
the same, so the first may cost little more than the second, although its row and its answer are larger.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loadtests.bench.command import Say, finish, ms, parser, say, silent
from loadtests.bench.core import Bar, Face, Server
from loadtests.bench.draw import scattered
from loadtests.bench.observe import places, serving
from loadtests.bench.one_by_one import OneByOne, one_by_one
from loadtests.bench.open_loop import Plan, drive
from loadtests.bench.ours import Modelyard
from loadtests.bench.payloads import TOLERANCE, http_request, reference, rows
from loadtests.bench.process import usage
from loadtests.bench.statistics import median

BATCH, KNOWN = 32, 30
POOL = 64  # known rows of the second comparison
FACES: tuple[Face, ...] = ("oip-json", "oip-binary")
BATCH_BAR, CPU_BAR = 0.12, 1.5


def run(rounds: int = 5, seconds: float = 3.0, connections: int = 32, say: Say = silent) -> dict[str, Any]:
    """`rounds` pairs of batches, then `seconds` of each load for the CPU of a request."""
    with serving(Modelyard(), "encoder") as server:
        batches = _batches(server, rounds)
    say(f"{KNOWN} of {BATCH} rows known: {batches['ratio']:.3f} of the time of a cold batch")
    costs = _costs(seconds, connections)
    for cost in costs:
        hit, mlp = cost["encoder_us"], cost["mlp_us"]
        say(f"{cost['face']}: CPU of a hit of the encoder {hit:.0f} us, of an MLP request {mlp:.0f} us")
    return {"scenario": "known_rows", "batch": batches, "costs": costs, "connections": connections}


# --- batches -----------------------------------------------------------------------------------------------------


def _batches(server: Server, rounds: int) -> dict[str, Any]:
    """Pairs of a cold batch and one of which 30 rows are those of the cold one before."""
    pairs = []
    with one_by_one(server.endpoints["oip-binary"], "encoder") as client:
        for index in range(rounds + 1):
            cold = [scattered(index * 1000 + place) for place in range(BATCH)]
            partly = cold[:KNOWN] + [scattered(index * 1000 + 100 + place) for place in range(BATCH - KNOWN)]
            # only the first answers are compared: a reference costs as much as the server
            first = index == 0
            pairs.append((_batch(client, server, cold, check=first), _batch(client, server, partly, check=first)))
    kept = pairs[1:]
    return {
        "cold": [cold for cold, _ in kept],
        "partly": [partly for _, partly in kept],
        "ratio": median([partly / cold for cold, partly in kept]),
    }


def _batch(client: OneByOne, server: Server, numbers: list[int], *, check: bool) -> float:
    values = rows("encoder", numbers)
    answer, seconds = client.ask(http_request(server.endpoints["oip-binary"], "encoder", values))
    if check:
        expected = reference("encoder").infer(values)
        if answer.shape != expected.shape or abs(answer - expected).max() > 10 * TOLERANCE:
            raise RuntimeError("the encoder's answer to a batch is wrong")
    return seconds


# --- CPU a request -------------------------------------------------------------------------------------------------


def _costs(seconds: float, connections: int) -> list[dict[str, Any]]:
    """The CPU of a hit and of an MLP row over each face, the two servers side by side."""
    server_cores, client_cores = places()
    # the factor 0 keeps the encoder in the cache whatever else this machine does during its first runs
    recipe = Modelyard("modelyard", {"MODELYARD_CACHE_FACTOR": "0", "MODELYARD_EXECUTORS": "1"})
    made = []
    with (
        serving(recipe, "encoder", server_cores) as encoder,
        serving(Modelyard(settled_models=["mlp"]), "mlp", server_cores) as mlp,
    ):
        warm = Plan(
            "encoder", [encoder.endpoints["oip-binary"]], 60, connections=4, count=POOL, known=POOL, deadline=30
        )
        drive(warm)
        for index, face in enumerate(FACES):
            hits = Plan("encoder", [encoder.endpoints[face]], seconds, hit_ratio=1.0, known=POOL)
            fresh = Plan("mlp", [mlp.endpoints[face]], seconds, start=index * 10**6)
            taken = {}
            for server, plan in ((encoder, hits), (mlp, fresh)):
                plan.connections, plan.cores = connections, client_cores
                taken[server.model] = _cpu_us(server, plan)
            ratio = taken["encoder"] / taken["mlp"] if taken["mlp"] else None
            made.append({"face": face, "encoder_us": taken["encoder"], "mlp_us": taken["mlp"], "ratio": ratio})
    return made


def _cpu_us(server: Server, plan: Plan) -> float:
    """CPU of the server's processes a request."""
    before = usage(server.pid).cpu_seconds
    counts: dict[str, int] = drive(plan)["counts"]
    asked = sum(counts.values())
    if counts["ok"] != asked or not asked:
        raise RuntimeError(f"{server.model}: not every answer was right and in time: {counts}")
    return 1e6 * (usage(server.pid).cpu_seconds - before) / float(asked)


# --- what is said of it ---------------------------------------------------------------------------------------------


def bars(result: dict[str, Any]) -> list[Bar]:
    """What was promised of known rows."""
    ratio = result["batch"]["ratio"]
    batch = Bar(f"encoder: a batch of {BATCH} with {KNOWN} known rows, to a cold one", ratio, BATCH_BAR, "at most")
    name = "encoder: CPU of a hit in process to that of an MLP request"
    return [batch, *(Bar(f"{name} ({cost['face']})", cost["ratio"], CPU_BAR, "at most") for cost in result["costs"])]


def markdown(result: dict[str, Any]) -> str:
    """Two sentences and a table for the page."""
    batch = result["batch"]
    lines = [
        f"A batch of {BATCH} rows of the encoder takes {ms(median(batch['cold']))} when all are new and "
        f"{ms(median(batch['partly']))} when {KNOWN} are known: {batch['ratio']:.3f} of it. A request whose row is "
        f"known, at {result['connections']} connections:",
        "",
        "| face | CPU a hit of the encoder | CPU an MLP request | hit to MLP |",
        "|---|---|---|---|",
    ]
    for cost in result["costs"]:
        ratio = "" if cost["ratio"] is None else f"{cost['ratio']:.2f}"
        lines.append(f"| {cost['face']} | {cost['encoder_us']:.0f} us | {cost['mlp_us']:.0f} us | {ratio} |")
    return "\n".join(lines)


def plot(result: dict[str, Any], path: Path) -> None:
    """The batches, and the CPU of a request over each face."""
    from loadtests.bench.picture import BLUE, GREY, drawn

    costs = result["costs"]
    with drawn(path, 1, 1 + len(costs), (3.5, 3)) as axes:
        batch, *others = axes[0]
        values = [median(result["batch"][name]) * 1e3 for name in ("cold", "partly")]
        batch.bar(["32 new", "30 known"], values, color=[GREY, BLUE])
        batch.set_title("encoder, batch of 32")
        batch.set_ylabel("ms")
        for axis, cost in zip(others, costs, strict=True):
            axis.bar(["hit, encoder", "MLP"], [cost["encoder_us"], cost["mlp_us"]], color=[BLUE, GREY])
            axis.set_title(cost["face"])
            axis.set_ylabel("CPU us a request")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=5, help="pairs of batches")
    options.add_argument("--seconds", type=float, default=3.0, help="of each load for the CPU of a request")
    options.add_argument("--connections", type=int, default=32)
    chosen = options.parse_args(arguments)
    finish(chosen, run(chosen.rounds, chosen.seconds, chosen.connections, say=say), markdown, plot)


if __name__ == "__main__":
    main()
