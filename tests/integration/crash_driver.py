"""Kills processes at every point of a command, and looks at what each leaves.

    python -m tests.integration.crash_driver kill SCENARIO FOLDER     one child for each point, killed there
    python -m tests.integration.crash_driver race FOLDER              writers at once, some of them killed, and a reader

Prints one JSON document. A child is forked from this process, in which everything is imported already: so a command
costs milliseconds, and some hundred of them can be killed in a test.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from modelyard.aliases import Aliases, promoted, read_aliases, rolled_back, update
from tests.integration.crash_packing import PACKING
from tests.integration.crash_scenarios import (
    NAME,
    SCENARIOS,
    Scenario,
    import_given,
    promote,
    remember_trials,
    served,
    three_versions,
)
from tests.integration.crash_storing import STORING
from tests.integration.kill_points import KillPoints

ALL = SCENARIOS | PACKING | STORING
MOST_POINTS = 1000
WRITERS, CHANGES = 4, 25
RANDOM_KILLS = 60


def forked(work: Callable[[], str | None], report: Path) -> tuple[int, str]:
    """Run `work` in a child; its exit code (negative: the signal that ended it), and what it returned or raised."""
    report.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setsid()
            devnull = os.open(os.devnull, os.O_WRONLY)
            os.dup2(devnull, 1)
            report.write_text(work() or "")
            code = 0
        except BaseException:
            report.write_text(traceback.format_exc())
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), report.read_text() if report.exists() else ""


def kill_everywhere(scenario: Scenario, folder: Path) -> dict[str, object]:
    """The points of a command, what was found after a kill at each, and every fault."""
    pristine, repository, report = folder / "pristine", folder / "repository", folder / "report"
    pristine.mkdir()
    code, text = forked(lambda: scenario.prepare(pristine), report)
    assert code == 0, text
    found: list[str] = []
    faults: list[str] = []
    for at in range(0, MOST_POINTS, scenario.step):
        shutil.rmtree(repository, ignore_errors=True)
        shutil.copytree(pristine, repository)

        def act(at: int = at) -> None:
            KillPoints(repository, at).install()
            scenario.act(repository)

        code, text = forked(act, report)
        if code not in {0, -signal.SIGKILL}:
            faults.append(f"point {at}: the command failed: {text}")
        looked, state = forked(lambda: scenario.look(repository), report)
        if looked:
            faults.append(f"point {at}: {state}")
        if code == 0:
            return {"points": at, "found": found, "end": state, "faults": faults}
        found.append(state)
    raise AssertionError("the command never came to its end")


def race(folder: Path) -> dict[str, object]:
    """Writers at once on one model, then writers that are killed at random moments: no change that was made is lost."""
    folder.mkdir()
    three_versions(folder)
    promote_in_child(folder, "1")
    writers = [start(lambda number=number: write_on(folder, number), folder) for number in range(WRITERS)]  # type: ignore[misc]
    reads = read_while(folder, writers)
    told = sorted(line for number in range(WRITERS) for line in (folder / f"told-{number}").read_text().split())
    state = read_aliases(folder / NAME)
    known = sorted(change.reason for change in state.history if change.reason)
    killed = kill_at_random(folder)
    changes = read_aliases(folder / NAME).history
    return {
        "told": len(told),
        "lost": sorted(set(told) - set(known)),
        "invented": sorted(set(known) - set(told)),
        "reads": reads,
        "killed": killed,
        "chain": all(later.before == earlier.version for earlier, later in pairwise(changes)),
        "served": served(folder),
    }


def promote_in_child(folder: Path, version: str) -> None:
    code, text = forked(lambda: promote(folder, version), folder / "report")
    assert code == 0, text


def start(work: Callable[[], None], folder: Path) -> int:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            (folder / f"failed-{os.getpid()}").write_text(traceback.format_exc())
        finally:
            os._exit(code)
    return child


def write_on(folder: Path, number: int) -> None:
    """Changes, each told when it was made: promotes of any version, now and then a rollback."""
    chance = random.Random(number)
    with (folder / f"told-{number}").open("w") as told:
        for turn in range(CHANGES):
            change(folder, chance, f"{number}-{turn}")
            told.write(f"{number}-{turn}\n")


def change(folder: Path, chance: random.Random, reason: str) -> None:
    """One change, until there is one: to promote what is stable is none."""
    while not any_change(folder, chance.choice("123"), back=chance.random() < 0.3, reason=reason):
        pass


def any_change(folder: Path, version: str, *, back: bool, reason: str) -> bool:
    def step(state: Aliases) -> Aliases:
        if back and state.previous:
            return rolled_back(state, reason=reason)
        return promoted(state, version, reason=reason)

    return update(folder / NAME, step, seconds=60.0).history[-1].reason == reason


def read_while(folder: Path, writers: list[int]) -> int:
    """Read until all have ended; how often that was."""
    reads, running = 0, set(writers)
    while running:
        assert read_aliases(folder / NAME).stable in {"1", "2", "3"}
        reads += 1
        for writer in list(running):
            ended, status = os.waitpid(writer, os.WNOHANG)
            if ended:
                running.remove(writer)
                failed = folder / f"failed-{writer}"
                assert status == 0, failed.read_text() if failed.exists() else status
    return reads


def kill_at_random(folder: Path) -> int:
    """A writer that never ends is killed after a moment; what it leaves is read, and the next one writes on."""
    chance = random.Random(0)

    def never_end() -> None:
        while True:
            change(folder, chance, f"{time.monotonic()}")

    for _ in range(RANDOM_KILLS):
        last = read_aliases(folder / NAME).history[-1]
        child = start(never_end, folder)
        give_up = time.monotonic() + 60
        while read_aliases(folder / NAME).history[-1] == last:  # it has to be at work, however busy the machine is
            assert time.monotonic() < give_up, "the writer writes nothing"
            time.sleep(0.001)
        time.sleep(chance.uniform(0.0, 0.01))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert read_aliases(folder / NAME).history[-1] != last
    return RANDOM_KILLS


def main() -> int:
    what, *arguments = sys.argv[1:]
    if what == "race":
        result = race(Path(arguments[0]))
    else:
        name, folder = arguments[0], Path(arguments[1])
        folder.mkdir()
        if name == "import":
            remember_trials(folder / "trial")
            (folder / "once").mkdir()
            ALL[name].prepare(folder / "once")
            import_given(folder / "once")
        result = kill_everywhere(ALL[name], folder)
    sys.stdout.write("\n" + json.dumps(result) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
