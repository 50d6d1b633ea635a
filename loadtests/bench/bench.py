"""One run of the benchmark, from nothing to the page.

    models, peers' environments -> rounds -> scenarios -> bars (profiled where they are not held) -> results.json
    results.json, soak-hour.json, gpu.json of loadtests.gpu -> page and pictures (`publish`)

results.json is written after every step: what an interrupted run has measured is not lost.
"""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from loadtests.bench import machine, plots, scenarios, soak
from loadtests.bench.bars import FRONT, OURS, Load, core_bars, profile_of, usage_of
from loadtests.bench.core import DOCS, WORK, Bar, Recipe
from loadtests.bench.environments import InstallFailed
from loadtests.bench.floors import Echo, Hello
from loadtests.bench.models import model_path
from loadtests.bench.ours import Modelyard
from loadtests.bench.page import HOUR, page
from loadtests.bench.peers.catalog import PEERS
from loadtests.bench.plan import Scale
from loadtests.bench.profile import where_the_time_goes
from loadtests.bench.results import Results, load, save, sessions, summarise
from loadtests.bench.rounds import Taken, duration, run_rounds
from loadtests.bench.session import parity
from loadtests.bench.watch import Watch
from loadtests.gpu.section import read as read_gpu

Say = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """What is asked for. `only`: parts of names of servers and scenarios; none: all."""

    scale: Scale
    only: Sequence[str] = ()
    peers: bool = True
    scenarios: bool = True
    soak_seconds: float = 600.0
    out: Path | None = None

    @property
    def folder(self) -> Path:
        """Where page, pictures and results.json go: only a whole run goes into the documentation."""
        if self.out is not None:
            return self.out
        if self.scale.quick:
            return WORK / "quick"
        whole = self.peers and self.scenarios and not self.only
        return DOCS if whole else WORK / "partial"

    def wants(self, name: str) -> bool:
        """Whether `name` is among what is asked for."""
        return not self.only or any(part in name for part in self.only)


def results_path(folder: Path) -> Path:
    """Where results.json is in a folder of results."""
    return folder / "benchmarks" / "results.json"


def run(options: Options, console: Console) -> Results:
    """Measure everything that is asked for, and publish it."""
    path, started = results_path(options.folder), time.monotonic()
    table, failures = recipes(options, console)
    names = _scenarios(options)
    total = duration(table, options.scale) + sum(_seconds(name, options) for name in names)
    console.print(f"{_counted(table)}, {options.scale.rounds} rounds: about {total / 60:.0f} minutes", highlight=False)
    with Watch(console, total) as watch:
        taken = run_rounds(table, options.scale, watch)
        taken.failures[:0] = failures
        results = _document(options, taken)
        save(results, path)
        for name in names:
            results["scenarios"][name] = _scenario(name, options, watch)
            save(results, path)
        results["bars"] = [asdict(bar) for bar in _bars(results, watch, profiled=not options.scale.quick)]
    results["taken"]["minutes"] = round((time.monotonic() - started) / 60, 1)
    save(results, path)
    publish(options.folder, console)
    return results


def recipes(options: Options, console: Console) -> tuple[dict[str, list[Recipe]], list[dict[str, str]]]:
    """The servers of each model, and what of the peers could not be installed."""
    floors = [one for one in (Hello(), Echo()) if options.wants(one.name)]
    ours = [Modelyard(settled_models=["mlp"])] if options.wants("modelyard") else []
    more = _variants() if ours and not options.scale.quick else []
    peers, failures = _peers(options, console.print) if options.peers else ([], [])
    table: dict[str, list[Recipe]] = {
        "mlp": [*floors, *ours, *more, *peers],
        "encoder": [*ours, *peers],
        "encoder_int8": [*ours],
    }
    wanted = {model: servers for model, servers in table.items() if servers}
    for model in wanted:
        console.print(f"model {model}: {model_path(model).stat().st_size / 1e6:.1f} MB", highlight=False)
    return wanted, failures


def _variants() -> list[Recipe]:
    """Ours with gRPC by the other front; and with what a cache that never hits costs a model too cheap for it."""
    return [
        Modelyard(FRONT, {"MODELYARD_GRPC_FRONT": "http2"}, settled_models=["mlp"], faces=("oip-grpc",)),
        Modelyard(f"{OURS}, cache always asked", {"MODELYARD_CACHE_FACTOR": "0"}),
    ]


def _peers(options: Options, say: Say) -> tuple[list[Recipe], list[dict[str, str]]]:
    found: list[Recipe] = []
    failures = []
    for peer in PEERS:
        if not options.wants(peer.name):
            continue
        try:
            peer.install(say)
            found.append(peer)
        except (InstallFailed, OSError) as error:
            say(f"{peer.name} is left out: {error}")
            failures.append(
                {"round": "", "server": peer.name, "model": "", "face": "", "reason": f"not installed: {error}"}
            )
    return found, failures


def _counted(table: dict[str, list[Recipe]]) -> str:
    return ", ".join(f"{model}: {len(servers)} servers" for model, servers in table.items())


def _document(options: Options, taken: Taken) -> Results:
    scale = options.scale
    has_both = {"encoder", "encoder_int8"} <= {one["model"] for one in taken.measurements}
    return {
        "taken": {
            "date": machine.now(),
            "commit": machine.commit(),
            "command": "python -m loadtests.bench " + shlex.join(sys.argv[1:]),
            "rounds": scale.rounds,
            "seconds": scale.seconds,
            "encoder_seconds": scale.encoder_seconds,
            "minutes": 0.0,  # known at the end
        },
        "machine": machine.machine(),
        "packages": machine.packages(),
        "versions": taken.versions,
        "cells": summarise(taken.measurements),
        "sessions": sessions(taken.sessions),
        "parity": parity("encoder", "encoder_int8") if has_both else None,
        "failures": taken.failures,
        "scenarios": {},
        "bars": [],
    }


def _scenarios(options: Options) -> list[str]:
    if not options.scenarios:
        return []
    known = scenarios.QUICK if options.scale.quick else scenarios.TITLES
    return [name for name in known if options.wants(name)]


def _seconds(name: str, options: Options) -> float:
    if name == "soak":
        return options.soak_seconds + 60
    return scenarios.SECONDS[name] / (4 if options.scale.quick else 1)


def _scenario(name: str, options: Options, watch: Watch) -> dict[str, Any]:
    watch.show(scenarios.TITLES[name])
    watch.line(f"{scenarios.TITLES[name]}:")
    chosen = dict(scenarios.QUICK.get(name, {})) if options.scale.quick else {}
    if name == "soak":
        chosen["seconds"] = options.soak_seconds

    def say(text: str) -> None:
        watch.line(f"  {text}")

    result = scenarios.run(name, say=say, **chosen)
    if "failed" in result:
        watch.line(f"  [red]{result['failed']}[/red]")
    watch.advance(_seconds(name, options))
    return result


def _bars(results: Results, watch: Watch, *, profiled: bool) -> list[Bar]:
    """`profiled`: say where the time goes of every bar that is not held; each takes some twenty seconds."""
    bars = core_bars(results)
    for name, result in results["scenarios"].items():
        bars += scenarios.bars(name, result)
    known: dict[Load, str] = {}  # bars of one load share its profile
    for bar in bars:
        dear = profile_of(bar)
        if bar.held is not False or bar.why or dear is None:
            continue
        if not profiled:
            bar.why = "not profiled in the quick form"
            continue
        if dear not in known:
            watch.show(f"profiles {dear.model} over {dear.face}")
            known[dear] = usage_of(results, dear) + _profile(dear)
        bar.why = known[dear]
    return bars


def _profile(dear: Load) -> str:
    try:
        return where_the_time_goes(dear)
    except Exception as error:  # a missing profile does not make the figures worse
        return f"could not be profiled: {error}"


def publish(folder: Path, console: Console) -> None:
    """Make page and pictures from the JSON files of `folder`."""
    results = load(results_path(folder))
    target = folder / "benchmarks"
    for old in target.glob("*.png"):
        old.unlink()
    drawn = plots.draw(results, target)
    for name, result in results["scenarios"].items():
        if "failed" not in result:
            drawn.append(scenarios.plot(name, result, target))
    hour = load(target / f"{HOUR}.json") if (target / f"{HOUR}.json").exists() else None
    if hour is not None:
        soak.plot(hour, target / f"{HOUR}.png")
    (folder / "benchmarks.md").write_text(page(results, read_gpu(target / "gpu.json"), hour))
    console.print(f"{folder / 'benchmarks.md'}, {len(drawn)} pictures, {results_path(folder)}", highlight=False)
