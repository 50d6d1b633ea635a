"""The interleaved rounds: in each one every server is started, checked, measured and ended in its turn.

Neighbours in time are compared with each other: what the machine does to one server in a round, it does to the others
too. A server that does not start, or answers wrongly, is noted with its reason and the round goes on.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from loadtests.bench.checks import fault
from loadtests.bench.core import LOGS, Recipe, Server
from loadtests.bench.load import Job, measure
from loadtests.bench.models import model_path
from loadtests.bench.plan import START_SECONDS, Cell, Scale, cells, pins, rotated
from loadtests.bench.process import pinned
from loadtests.bench.session import bare_session
from loadtests.bench.watch import Watch

CHANCES = 2
Measurement = dict[str, Any]  # the fields of a Sample, and round, server, model, face, connections


@dataclass
class Taken:
    """What the rounds gave."""

    measurements: list[Measurement] = field(default_factory=list)
    sessions: list[Measurement] = field(default_factory=list)
    failures: list[dict[str, str]] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)

    def fail(self, number: int, server: str, model: str, face: str, reason: str) -> None:
        """Note a failure in round `number`."""
        entry = {"round": f"{number + 1}", "server": server, "model": model, "face": face, "reason": reason}
        self.failures.append(entry)

    def given_up(self, server: str, model: str) -> bool:
        """Whether `server` has failed with `model` twice: the first time may have been chance."""
        whole = [entry for entry in self.failures if entry["face"] == ""]
        return [(entry["server"], entry["model"]) for entry in whole].count((server, model)) >= CHANCES


def duration(table: dict[str, list[Recipe]], scale: Scale) -> float:
    """About how many seconds the rounds take."""
    total = 0.0
    for model, recipes in table.items():
        for recipe in recipes:
            total += START_SECONDS * scale.rounds
            total += sum(cell.cost * cell.rounds for cell in cells(model, recipe.faces, scale))
        total += len(scale.threads(model)) * (scale.seconds + 1.5) * scale.rounds
    return total


def run_rounds(table: dict[str, list[Recipe]], scale: Scale, watch: Watch) -> Taken:
    """Measure every recipe of `table` (model -> its servers) in `scale.rounds` rounds."""
    taken = Taken()
    for number in range(scale.rounds):
        for model, recipes in table.items():
            _sessions(model, number, scale, watch, taken)
            for recipe in rotated(recipes, number):
                _turn(recipe, model, number, scale, watch, taken)
    return taken


def _sessions(model: str, number: int, scale: Scale, watch: Watch, taken: Taken) -> None:
    for threads in scale.threads(model):
        watch.show(f"round {number + 1}: bare session, {model}, {threads} threads")
        measured = bare_session(model, threads, scale.seconds)
        taken.sessions.append({"round": number, **asdict(measured), "rate": measured.rate})
        watch.advance(scale.seconds + 1.5)


def _turn(recipe: Recipe, model: str, number: int, scale: Scale, watch: Watch, taken: Taken) -> None:
    mine = cells(model, recipe.faces, scale)
    cost = START_SECONDS + sum(cell.cost for cell in mine if number < cell.rounds)
    if taken.given_up(recipe.name, model):
        watch.advance(cost)
        return
    done = 0.0
    try:
        watch.show(f"round {number + 1}: {recipe.name}, {model}, starts")
        log = LOGS / f"{recipe.name}-{model}.log".replace(" ", "-").replace("/", "-")
        with pinned(pins(model)[0]), recipe.start(model, model_path(model), log) as server:
            taken.versions[server.name] = server.version
            done = START_SECONDS
            watch.advance(done)
            done += _measure(server, mine, number, watch, taken)
    except Exception as error:  # one server's fault is not the end of the run
        taken.fail(number, recipe.name, model, "", f"{type(error).__name__}: {str(error)[:300]}")
    watch.advance(max(0.0, cost - done))


def _measure(server: Server, mine: list[Cell], number: int, watch: Watch, taken: Taken) -> float:
    """Check every face, then take the cells of this round. The seconds that were planned for them."""
    done, bad = 0.0, set()
    for face in dict.fromkeys(cell.face for cell in mine):
        wrong = fault(server.endpoints[face], server.model) if server.answers else ""
        if wrong:
            bad.add(face)
            taken.fail(number, server.name, server.model, face, wrong)
    for slot, cell in enumerate(mine):
        if number >= cell.rounds or cell.face in bad:
            continue
        watch.show(f"round {number + 1}: {server.name}, {cell.model}, {cell.face}, {cell.connections} connections")
        sample = measure(_job(server, cell, slot))
        where = {"server": server.name, "model": cell.model, "face": cell.face, "connections": cell.connections}
        taken.measurements.append({"round": number, **where, **asdict(sample), "rate": sample.rate})
        watch.note(where, sample)
        watch.advance(cell.cost)
        done += cell.cost
    return done


def _job(server: Server, cell: Cell, slot: int) -> Job:
    return Job(
        endpoint=server.endpoints[cell.face],
        model=cell.model,
        connections=cell.connections,
        seconds=cell.seconds,
        warm_seconds=cell.warm_seconds,
        slot=slot,
        pid=server.pid,
        check=server.answers,
        cores=pins(cell.model)[1],
    )
