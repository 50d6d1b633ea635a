"""`modelyard tune` from its options to its exit code.

check everything that can be refused -> load -> sweep -> measure the finalists again -> choose -> show, save, write
"""

import asyncio
import gc
import json
import signal
from dataclasses import replace
from pathlib import Path

import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from modelyard.cores import usable_cores
from modelyard.errors import ConfigurationError
from modelyard.golden import read_golden
from modelyard.members import artifact_spec
from modelyard.repository import LoadedVersion, load_model
from modelyard.settings import Settings
from modelyard.spec import MODEL_YAML, ModelSpec, read_spec
from modelyard.tuning import model_yaml, report
from modelyard.tuning.choose import FINALISTS, choose, finalists
from modelyard.tuning.inputs import Pool, build_pool, parse_dims
from modelyard.tuning.plan import Options, Plan, build_plan, check_editable, make_ready, plot_target
from modelyard.tuning.report import Report
from modelyard.tuning.sweep import ROUNDS, Sweep

INTERRUPTED = 130
"""Exit code: 128 and the number of SIGINT, as a shell says it."""


def tune(options: Options, settings: Settings, out: Console) -> int:
    """Returns the exit code. Raises ConfigurationError, ValueError or OSError for what is refused."""
    folder = settings.repository / options.name
    spec = read_spec(folder)
    threads = settings.executors or usable_cores()
    plan = build_plan(options, spec, threads)
    dims = parse_dims(artifact_spec(settings.repository, spec), options.dims)
    if options.write:
        check_editable(folder, spec)
    plot, why = plot_target(options)
    if why:
        out.print(why, highlight=False, markup=False)
    if options.json is not None:
        make_ready(options.json)
    loaded = _load(settings, options)
    golden = loaded.manifest.golden
    path = folder / "versions" / loaded.version
    pool = build_pool(loaded.spec, read_golden(path / golden) if golden else None, dims, options.rows)
    _introduce(loaded, plan, pool, out)
    with uvloop_runner() as runner:
        made = runner.run(_measure(loaded, settings, plan, pool, options.p99_ms))
    _show(made, out)
    _save(made, options.json, plot, out)
    if made.interrupted:
        return INTERRUPTED
    if made.choice is None:
        raise ConfigurationError(made.refusal)
    _settle(made, spec, folder, threads, options.write, out)
    return 0


def uvloop_runner() -> asyncio.Runner:
    """The event loop that the server runs on."""
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


def _load(settings: Settings, options: Options) -> LoadedVersion:
    model = load_model(settings.repository, options.name)
    version = options.version or model.default
    if version not in model.versions:
        reason = model.refused.get(version, f"there is none; known are {', '.join(model.versions)}")
        raise ConfigurationError(f"version '{version}' of '{options.name}' cannot be measured: {reason}")
    return model.versions[version]


def _introduce(loaded: LoadedVersion, plan: Plan, pool: Pool, out: Console) -> None:
    active = loaded.chain.active
    out.print(f"{loaded.spec.name} version {loaded.version} on {active.name}, {active.precision}", highlight=False)
    if loaded.public.ensemble:
        out.print("  the vote alone: the members are tuned by their own names", highlight=False)
    for note in pool.notes:
        out.print(f"  input {note}", highlight=False, markup=False)
    for warning in pool.warnings:
        out.print(f"  WARNING: {warning}", highlight=False, markup=False, style="yellow")
    if not loaded.chain.sufficient:
        out.print("  WARNING: this backend is below the model's minimum_backend", highlight=False, style="yellow")
    cells, again = len(plan.grid), FINALISTS if len(plan.grid) > FINALISTS else 0
    seconds = (cells + again) * len(plan.levels) * plan.seconds
    levels = ", ".join(map(str, plan.levels))
    out.print(
        f"  {cells} settings, each at {levels} connections, {plan.seconds:g} s a cell: about {seconds:.0f} s, "
        "or more for a slow model; Ctrl-C ends it with what is measured so far",
        highlight=False,
    )


async def _measure(loaded: LoadedVersion, settings: Settings, plan: Plan, pool: Pool, p99_ms: float | None) -> Report:
    sweep = Sweep(loaded, settings, pool.requests, plan.grid)
    loop = asyncio.get_running_loop()

    def stop() -> None:
        sweep.stopped = True
        loop.remove_signal_handler(signal.SIGINT)  # the second Ctrl-C ends at once

    made = Report(
        model=loaded.spec.name,
        version=loaded.version,
        backend=loaded.chain.active.name,
        inputs=pool.shapes,
        grid=plan.grid,
        levels=plan.levels,
        seconds=plan.seconds,
        p99_limit_ms=p99_ms,
        current=plan.current,
        results={},
    )
    try:
        await sweep.try_out()
        gc.collect()
        gc.freeze()  # as a server does
        loop.add_signal_handler(signal.SIGINT, stop)
        with _progress() as progress:
            return await _two_passes(sweep, made, progress)
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        sweep.close()


async def _two_passes(sweep: Sweep, made: Report, progress: Progress) -> Report:
    """The whole grid; then those in question again, and the choice from that second measurement."""
    slices = len(made.levels) * ROUNDS
    task = progress.add_task("measuring", total=len(made.grid) * slices)

    def advance() -> None:
        progress.advance(task)

    made = replace(made, results=await sweep.measure(made.grid, made.levels, made.seconds, advance))
    try:
        again = finalists(made.results, made.current, made.p99_limit_ms) if not sweep.stopped else []
        if len(again) < len(made.grid) and not sweep.stopped:
            progress.update(task, description="again", total=(len(made.grid) + len(again)) * slices)
            second = await sweep.measure(again, made.levels, made.seconds, advance)
            made = replace(made, results=made.results | second, again=frozenset(second))
        if sweep.stopped:
            return replace(made, interrupted=True, refusal="it was interrupted")
        last = {cell: tally for cell, tally in made.results.items() if cell[0] in again}
        return replace(made, choice=choose(last, made.current, made.p99_limit_ms))
    except ConfigurationError as error:
        return replace(made, refusal=str(error))


def _progress() -> Progress:
    """On stderr, and only for somebody who looks: pipes get the table alone."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal, refresh_per_second=4)


def _show(made: Report, out: Console) -> None:
    if made.results:
        wide = Console(file=out.file, width=max(out.width, report.width(made)), force_terminal=out.is_terminal)
        out.print(f"\n{report.heading(made)}\n", highlight=False)
        wide.print(report.table(made))
        out.print()
    for line in report.verdict(made):
        out.print(line, highlight=False, markup=False)


def _save(made: Report, target: Path | None, plot: Path | None, out: Console) -> None:
    if target is not None:
        target.write_text(json.dumps(report.document(made), indent=1, allow_nan=False) + "\n", encoding="utf-8")
        out.print(f"figures: {target}", highlight=False, markup=False)
    if plot is not None and made.results:
        from modelyard.tuning.plot import plot as draw  # noqa: PLC0415  (matplotlib is an extra, and slow to import)

        draw(made, plot)
        out.print(f"curves:  {plot}", highlight=False, markup=False)


def _settle(made: Report, spec: ModelSpec, folder: Path, threads: int, write: bool, out: Console) -> None:
    assert made.choice is not None  # noqa: S101  (the caller asked)
    values = model_yaml.changes(spec.batching, made.choice.setting, threads)
    if not values:
        out.print(f"{MODEL_YAML} stays as it is", highlight=False)
        return
    lines = [f"  {key}: {value}  (now {getattr(spec.batching, key):g})" for key, value in values.items()]
    if write:
        model_yaml.write(folder, spec, values)
        out.print(f"written to {folder / MODEL_YAML}, for the next start of a server; batching:", highlight=False)
    else:
        out.print(f"for {folder / MODEL_YAML} (--write puts it there), batching:", highlight=False)
    for line in lines:
        out.print(line, highlight=False, markup=False)
    if "max_batch_size" in values:
        out.print(f"  WARNING: requests of up to {values['max_batch_size']} rows are accepted with it", style="yellow")
