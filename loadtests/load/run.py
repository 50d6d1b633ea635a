"""One run inside of locust: what happens when it starts, while it goes on, and when it is over.

init        master, or the only process: rows read, shape chosen, port for Prometheus opened
test_start  every process with users: rows, checks and pace for them
report      what each worker counted goes to the master with locust's own statistics
quitting    figures -> thresholds -> table, files, exit code 1 when one is broken
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from locust import argument_parser, runners
from locust.env import Environment
from locust.runners import WORKER_REPORT_INTERVAL, MasterRunner, WorkerRunner
from rich.console import Console

from loadtests.load.checks import ANY, Checker
from loadtests.load.exporter import Exporter, Now, listen
from loadtests.load.options import SHARED, Plan, plan_of, shared
from loadtests.load.report import Kind, Report, show, write
from loadtests.load.rows import Known, known
from loadtests.load.shapes import SHAPES
from loadtests.load.tables import write_tables
from loadtests.load.tally import Clock, Tally
from loadtests.load.thresholds import Figures, judge
from loadtests.load.users import KINDS, Asking, Run, kinds_for
from modelyard.errors import ConfigurationError

KEY = "modelyard"
"""Of our part in what a worker reports."""
# A worker asks for these at every change of the number of users, once for each option: users stand still meanwhile.
argument_parser.default_args_dict = functools.cache(argument_parser.default_args_dict)
runners.HEARTBEAT_LIVENESS = 10
"""Seconds of silence after which a worker is lost: three are soon over on a busy machine."""
SETTLE_SECONDS = WORKER_REPORT_INTERVAL + 1.0


class Load:
    """The run as one process sees it: a worker, the master, or the only one."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._runner: Any = environment.runner
        self._master = isinstance(self._runner, MasterRunner)
        self._tally = Tally()
        self._plan: Plan
        self._known: Known
        self._clock: Clock | None = None
        self._notes: list[str] = []

    def attach(self, events: Any) -> None:
        """Listen to what this process has to know. Raises ConfigurationError when there is nothing to send."""
        events.test_start.add_listener(self._start)
        if isinstance(self._runner, WorkerRunner):
            events.report_to_master.add_listener(self._report)
            return
        self._read()
        self._choose()
        self._open_port()
        events.worker_report.add_listener(self._reported)
        events.quitting.add_listener(self._judge)

    def _read(self) -> None:
        options: Any = self._environment.parsed_options  # locust has them wherever it was started from
        setattr(options, SHARED, shared(options))
        plan = plan_of(options)
        self._known = known(plan.repository, plan.model, "" if plan.version == ANY else plan.version)
        self._plan = plan

    def _choose(self) -> None:
        """The kinds of users that were asked for and can be had, and the shape."""
        plan = self._plan
        picked = [kind for kind in plan.kinds if KINDS[kind] in self._environment.user_classes]
        chosen = [kind for kind in picked if kind in kinds_for(self._known)]
        left_out = [kind for kind in picked if kind not in chosen]
        if not chosen:
            raise ConfigurationError(f"{plan.model} cannot be asked by {', '.join(left_out or plan.kinds)}")
        if left_out:
            self._notes.append(f"{plan.model} cannot be asked by {', '.join(left_out)}: left out")
        if not self._known.with_truth:
            self._notes.append("no row has a known truth: golden rows, shapes and mix-ups are checked, accuracy is not")
        self._plan = replace(plan, kinds=chosen)
        self._environment.user_classes = [KINDS[kind] for kind in chosen]
        shape = SHAPES[plan.shape](max(plan.users, len(chosen)), plan.seconds, SETTLE_SECONDS if self._master else 0.0)
        shape.runner = self._runner
        self._environment.shape_class = shape

    def _open_port(self) -> None:
        options: Any = self._environment.parsed_options
        if not options.metrics_port:
            return
        try:
            listen(Exporter(self._plan.names, self._now), options.metrics_host, options.metrics_port)
        except OSError as error:
            reason = f"port {options.metrics_port} cannot be had ({error.strerror})"
            self._notes.append(f"no figures for Prometheus: {reason}")

    def _start(self, **_: Any) -> None:
        """Before the first user; a worker has its options from the master by now."""
        self._tally = Tally()
        if self._master:
            return
        if isinstance(self._runner, WorkerRunner):
            try:
                self._read()
            except ConfigurationError as error:
                print(f"error: {error}", file=sys.stderr, flush=True)
                self._runner.greenlet.spawn(self._runner.quit)
                return
        plan = self._plan
        self._clock = Clock(plan.rate / plan.users, time.perf_counter)
        Asking.begin(Run(plan, self._known, Checker(self._known, plan.version), self._tally, self._clock))

    def _report(self, data: dict[str, Any], **_: Any) -> None:
        """Of a worker."""
        if self._clock is not None:
            self._clock.settle(self._tally)
        data[KEY] = self._tally.take()

    def _reported(self, data: dict[str, Any], **_: Any) -> None:
        """To the master."""
        if KEY in data:
            self._tally.add(data[KEY])

    def _now(self) -> Now:
        if self._clock is not None:
            self._clock.settle(self._tally)
        entries = {name: self._entry(name) for name in self._plan.names}
        return Now(
            self._tally,
            {name: dict(entry.response_times) for name, entry in entries.items()},
            {name: entry.total_response_time for name, entry in entries.items()},
            self._runner.user_count,
            self._runner.worker_count,
        )

    def _entry(self, name: str) -> Any:
        return self._environment.stats.get(name, name.rsplit(" ", 1)[1])

    def _judge(self, **_: Any) -> None:
        report = self._report_of_all()
        show(report, Console(width=None if sys.stdout.isatty() else 160, highlight=False))
        options: Any = self._environment.parsed_options
        if options.reports:
            write(report, Path(options.reports))
            write_tables(self._environment, Path(options.reports))
        self._environment.process_exit_code = 1 if report.broken or self._runner.exceptions else 0

    def _report_of_all(self) -> Report:
        plan, names = self._plan, self._plan.names
        if self._clock is not None:
            self._clock.settle(self._tally)
        kinds = [self._kind(name) for name in names]
        p99 = {kind.name: kind.p99 for kind in kinds}
        shape: Any = self._environment.shape_class
        lost = max(shape.lost, len(self._runner.clients.missing)) if self._master else None
        figures = Figures(names, self._tally, p99, self._known.quality, self._known.with_truth, lost)
        about = {
            "of": f"{plan.model} version {self._known.version}",
            "at": self._environment.host,
            "shape": plan.shape,
            "seconds": f"{plan.seconds:g}",
            "users": plan.users,
            "requests/s": f"{plan.rate:g}",
            "zipf": f"{plan.zipf_share:g} of requests, exponent {plan.zipf_exponent:g}",
            "rows": len(self._known.rows),
        }
        return Report(about, kinds, figures, judge(figures, plan.limits), self._all_notes())

    def _all_notes(self) -> list[str]:
        notes = list(self._notes)
        if self._runner.cpu_warning_emitted or getattr(self._runner, "worker_cpu_warning_emitted", False):
            notes.append("the processor of the load generator was busy: latencies are partly its own; use --processes")
        notes += [f"a user failed: {error['msg']}" for error in self._runner.exceptions.values()]
        return notes

    def _kind(self, name: str) -> Kind:
        entry = self._entry(name)
        counts: Mapping[str, int] = self._tally.outcomes.get(name, {})
        p50, p95, p99 = (float(entry.get_response_time_percentile(part) or 0) for part in (0.5, 0.95, 0.99))
        good, wrong, errors = (counts.get(outcome, 0) for outcome in ("good", "wrong", "error"))
        due, longest = self._tally.owed.get(name, 0.0), float(entry.max_response_time)
        return Kind(name, good, wrong, errors, due, float(entry.total_rps), p50, p95, p99, longest)
