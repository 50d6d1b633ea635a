"""One run of the checks, from nothing to gpu.json.

    for each model: ONNX file, right answers, repository -> direct.measure -> served.measure -> gpu.json

The document is written after each model: what an interrupted run has measured is not lost.
"""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from loadtests.bench import machine
from loadtests.bench.command import Say
from loadtests.bench.core import DOCS
from loadtests.bench.models import model_path
from loadtests.bench.ours import repository
from loadtests.bench.results import save
from loadtests.gpu import data, device, direct, served
from loadtests.gpu.catalog import BATCHES, MODELS, QUICK_BATCHES, SERVED, SUBJECTS, chosen
from loadtests.gpu.direct import Plan
from loadtests.gpu.subject import FOLDER, Given, reason
from loadtests.gpu.taken import Figures, Taken


@dataclass(frozen=True)
class Options:
    """What is asked for. `only`: parts of the names of subjects; none: all."""

    out: Path | None = None
    quick: bool = False
    rounds: int = 0
    seconds: float = 0.0
    only: tuple[str, ...] = ()
    models: tuple[str, ...] = MODELS

    @property
    def plan(self) -> Plan:
        """Batches, rounds, seconds."""
        batches = QUICK_BATCHES if self.quick else BATCHES
        return Plan(batches, self.rounds or (2 if self.quick else 3), self.seconds or (0.5 if self.quick else 1.5))

    def path(self, document: Figures) -> Path:
        """Where gpu.json goes: into the documentation only when everything was asked for and something measured."""
        whole = not (self.quick or self.only) and self.models == MODELS
        folder = self.out or (DOCS if whole and document["direct"] else FOLDER)
        return folder / "benchmarks" / "gpu.json"


def run(options: Options, say: Say) -> tuple[Figures, Path]:
    """Measure what can be measured; the document and where it lies."""
    began, taken, found = time.monotonic(), Taken(say), device.facts()
    taken.versions |= machine.packages(device.PACKAGES)
    say(f"device: {found.get('absent') or found.get('name') or 'unknown'}")
    shutil.rmtree(FOLDER / "engines", ignore_errors=True)  # the first build has to be a cold one
    document = _document(options, taken, found, began)
    for model in options.models:
        _model(model, options, taken)
        document = _document(options, taken, found, began)
        save(document, options.path(document))
    return document, options.path(document)


def _model(model: str, options: Options, taken: Taken) -> None:
    plan = options.plan
    subjects, servers = (chosen(list(names), list(options.only)) for names in (SUBJECTS, SERVED))
    try:
        onnx = model_path(model)
        arrays = data.prepare(model, max(plan.batches))
    except Exception as error:  # no torch to export it, no ONNX Runtime to say what is right
        taken.fail("everything", model, reason(error))
        return
    given = Given(model, onnx, _repository(model, onnx, taken), plan.batches)
    direct.measure(subjects, given, arrays, plan, taken)
    served.measure(servers, given, arrays, plan, taken)


def _repository(model: str, onnx: Path, taken: Taken) -> Path:
    try:
        return repository(model, onnx)
    except Exception as error:  # what needs it will say that it is missing; the others run
        taken.fail("modelyard import", model, reason(error))
        return FOLDER / "no-repository"


def _document(options: Options, taken: Taken, found: Figures, began: float) -> Figures:
    plan = options.plan
    about = {
        "command": "python -m loadtests.gpu " + shlex.join(sys.argv[1:]),
        "quick": options.quick,
        "rounds": plan.rounds,
        "seconds": plan.seconds,
        "batches": list(plan.batches),
        "minutes": round((time.monotonic() - began) / 60, 1),
    }
    return taken.document(about, found)
