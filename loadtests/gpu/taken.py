"""What a run has found so far: figures, what could not run, what was wrong; and the document that is made of it.

loads, checks, measurements of the rounds -> document -> benchmarks/gpu.json -> the page's section
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from loadtests.bench import machine
from loadtests.bench.command import Say, silent
from loadtests.bench.results import summarise

Figures = dict[str, Any]
DIRECT = "in process"
KEPT = ("rounds", "rates", "rate", "spread", "p50", "p99")
KEPT_SERVED = ("face", "connections", *KEPT, "cpu_us", "client_share", "requests", "errors", "first_error")


@dataclass
class Taken:
    """`measurements`: as those of loadtests.bench.rounds; of a subject in process, the connections are the batch."""

    say: Say = silent
    measurements: list[Figures] = field(default_factory=list)
    served: list[Figures] = field(default_factory=list)
    loads: list[Figures] = field(default_factory=list)
    checks: list[Figures] = field(default_factory=list)
    failures: list[dict[str, str]] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)

    def fail(self, name: str, model: str, why: str) -> None:
        """Note what could not run, and say it; the same thing once."""
        entry = {"name": name, "model": model, "reason": why}
        if entry not in self.failures:
            self.failures.append(entry)
            self.say(f"{model:8} {name:28} could not run: {why}")

    def check(self, name: str, model: str, batch: int, how: str, found: Mapping[str, Any]) -> bool:
        """Note how far answers are from the right ones; whether they are right."""
        self.checks.append({"name": name, "model": model, "batch": batch, "how": how, **found})
        if not found["right"]:
            self.say(f"{model:8} {name:28} WRONG at batch {batch}, {how}: off by {found['largest']:.3g}")
        return bool(found["right"])

    def against(self, name: str, model: str) -> str:
        """Why a subject is not to be trusted with this model; empty when nothing speaks against it."""
        reasons = [one["reason"] for one in self.failures if (one["name"], one["model"]) == (name, model)]
        wrong = any((one["name"], one["model"]) == (name, model) for one in self.wrong)
        return reasons[0] if reasons else f"{name} answers wrong" if wrong else ""

    @property
    def wrong(self) -> list[Figures]:
        """The checks that failed."""
        return [check for check in self.checks if not check["right"]]

    def document(self, taken: Mapping[str, Any], device: Mapping[str, Any]) -> Figures:
        """Everything, as it is written."""
        return {
            "taken": {"date": machine.now(), "commit": machine.commit(), **taken},
            "machine": machine.machine(),
            "device": dict(device),
            "versions": dict(sorted(self.versions.items())),
            "direct": [self._direct(cell) for cell in summarise(self.measurements)],
            "loads": self.loads,
            "served": [_kept(cell, KEPT_SERVED) for cell in summarise(self.served)],
            "checks": self.checks,
            "failures": self.failures,
        }

    def _direct(self, cell: Figures) -> Figures:
        batch = cell["connections"]
        where = (cell["server"], cell["model"], batch)
        found = next(one for one in self.checks if (one["name"], one["model"], one["batch"]) == where)
        return {**_kept(cell, KEPT), "batch": batch, "calls": cell["requests"], "first_seconds": found["seconds"]}


def _kept(cell: Figures, names: tuple[str, ...]) -> Figures:
    return {"name": cell["server"], "model": cell["model"], **{name: cell[name] for name in names}}
