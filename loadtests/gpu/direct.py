"""The subjects of one model in process, and the rounds over them.

    each alone:       why not? -> load -> check every batch size -> memory
    then in rounds:   batch size by batch size, every subject in its turn, in the other direction in every second round

All stay loaded until the rounds are over, each in its own process: neighbours in time are compared with each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from loadtests.bench.core import Sample
from loadtests.gpu.remote import LOAD_SECONDS, WHY_SECONDS, Failed, Remote, remote
from loadtests.gpu.subject import Given
from loadtests.gpu.taken import DIRECT, Taken


@dataclass(frozen=True)
class Plan:
    """How much is measured. The batch sizes are the numbers of connections of a server too."""

    batches: tuple[int, ...]
    rounds: int
    seconds: float

    @property
    def warm_seconds(self) -> float:
        """Before each measurement: the clocks of a device rise with its work."""
        return min(0.5, self.seconds / 2)


def measure(names: Sequence[str], given: Given, data: Path, plan: Plan, taken: Taken) -> None:
    """All subjects `names` with the model of `given`."""
    with ExitStack() as stack:
        alive = [one for name in names if (one := stack.enter_context(loaded(name, given, data, taken)))]
        for number in range(plan.rounds):
            for batch in plan.batches:
                for subject in alive[::-1] if number % 2 else list(alive):
                    if not _measured(subject, given.model, batch, number, plan, taken):
                        alive.remove(subject)


@contextmanager
def loaded(name: str, given: Given, data: Path, taken: Taken) -> Iterator[Remote | None]:
    """A subject that is loaded and answers right, for the length of a block; None when it does not, which is noted."""
    with remote(name, given, data) as subject:
        try:
            good = _load(subject, given, taken)
        except Failed as error:
            taken.fail(name, given.model, str(error))
            good = False
        if not good:
            subject.end()  # what does not run holds no memory while others are measured
        yield subject if good else None


def _load(subject: Remote, given: Given, taken: Taken) -> bool:
    """Whether it may be timed. Raises Failed."""
    why = subject.ask("why", WHY_SECONDS)["why"]
    if why:
        raise Failed(why)
    found = subject.ask("load", LOAD_SECONDS)
    taken.versions |= found.pop("versions")
    checks = {batch: subject.ask("check", batch=batch) for batch in given.batches}
    right = [taken.check(subject.name, given.model, batch, DIRECT, check) for batch, check in checks.items()]
    ready = found["seconds"] - found["building"] + sum(check["seconds"] for check in checks.values())
    memory = subject.ask("memory")["bytes"]
    figures = {"build": found["build"], "ready_seconds": ready, "memory_bytes": memory}
    taken.loads.append({"name": subject.name, "model": given.model, **figures})
    worst = max(check["largest"] for check in checks.values())
    built = "".join(f", build {kind} {seconds:.1f} s" for kind, seconds in found["build"].items())
    taken.say(f"{given.model:8} {subject.name:28} ready in {ready:.1f} s{built}, off by at most {worst:.2g}")
    return all(right)


def _measured(subject: Remote, model: str, batch: int, number: int, plan: Plan, taken: Taken) -> bool:
    """One measurement; False when the subject broke."""
    try:
        answer = subject.ask("time", batch=batch, seconds=plan.seconds, warm_seconds=plan.warm_seconds)
    except Failed as error:
        taken.fail(subject.name, model, f"batch {batch}, round {number + 1}: {error}")
        subject.end()
        return False
    rate = batch * answer["requests"] / Sample(**answer).seconds
    where = {"round": number, "server": subject.name, "model": model, "face": DIRECT, "connections": batch}
    taken.measurements.append({**where, **answer, "rate": rate})
    p50, p99 = answer["p50"] * 1e3, answer["p99"] * 1e3
    taken.say(
        f"{model:8} {subject.name:28} batch {batch:4}  p50 {p50:9.3f} ms  p99 {p99:9.3f} ms  {rate:12,.0f} rows/s"
    )
    return True
