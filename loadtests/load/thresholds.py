"""What a run has to hold, and whether it did: pure, from figures to verdicts.

Figures (measured) + Limits (wanted) -> judge -> Verdict for each threshold

requests    every kind of user got at least one answer: a run that asked nothing has shown nothing
p99         of each kind, in milliseconds, as the client saw it
errors      requests without an answer, and refusals, of all requests
achieved    requests that were answered, of those that the users owed: below it the target was never reached,
            and the other figures are those of a smaller load
answers     no answer is wrong (checks.py)
accuracy    the mean over the rows whose truth is known; wanted is what the export measured, less what the choice of
            rows can do: three standard errors (without replacement, so none when all rows came), and one row
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from loadtests.load.tally import Tally


@dataclass(frozen=True, slots=True)
class Limits:
    p99_ms: float = 500.0
    p99_of: Mapping[str, float] = field(default_factory=dict)
    """By the name of the requests, in place of the one for all."""
    errors: float = 0.001
    achieved: float = 0.98
    wrong: float = 0.0
    accuracy: float | None = None
    """Least share of right answers; None: by what the export measured."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured."""

    names: Sequence[str]
    """Of the kinds of requests that were to be made."""
    tally: Tally
    p99_ms: Mapping[str, float]
    quality: float | None = None
    """What the export measured."""
    rows: int = 0
    """That have a truth."""
    lost: int | None = None
    """Workers that were not heard of any more; None: there were no workers."""


@dataclass(frozen=True, slots=True)
class Verdict:
    threshold: str
    wanted: str
    measured: str
    held: bool

    def __str__(self) -> str:
        return f"{self.threshold}: wanted {self.wanted}, measured {self.measured}"


def judge(figures: Figures, limits: Limits) -> list[Verdict]:
    """All thresholds that apply, those that are held too."""
    verdicts = [_requests(name, figures) for name in figures.names]
    verdicts += [_p99(name, figures, limits) for name in figures.names if _answered(figures.tally, name)]
    verdicts += [_errors(figures, limits), _achieved(figures, limits), _answers(figures, limits)]
    return [*verdicts, *_accuracy(figures, limits), *_workers(figures)]


def accuracy_of(tally: Tally) -> float:
    """Each row counts once, however popular it is."""
    return sum(tally.right[row] / asked for row, asked in tally.asked.items()) / len(tally.asked)


def least_accuracy(quality: float, seen: int, rows: int) -> float:
    """What `seen` of `rows` rows must at least give of a model that gives `quality` on all of them."""
    spread = quality * (1 - quality) / seen * (1 - seen / rows) * rows / max(1, rows - 1)
    return max(0.0, quality - 3 * math.sqrt(max(0.0, spread)) - 1 / seen)


def _requests(name: str, figures: Figures) -> Verdict:
    answered = _answered(figures.tally, name)
    return Verdict(f"requests of {name}", "at least 1 answered", f"{answered:,} answered", answered > 0)


def _p99(name: str, figures: Figures, limits: Limits) -> Verdict:
    limit, measured = limits.p99_of.get(name, limits.p99_ms), figures.p99_ms.get(name, math.inf)
    return Verdict(f"p99 of {name}", f"at most {limit:g} ms", f"{measured:g} ms", measured <= limit)


def _errors(figures: Figures, limits: Limits) -> Verdict:
    tally = figures.tally
    errors, requests = tally.total("error"), sum(sum(counts.values()) for counts in tally.outcomes.values())
    ratio = errors / requests if requests else 0.0
    measured = f"{ratio:.3%} ({errors:,} of {requests:,})"
    return Verdict("error ratio", f"at most {limits.errors:.3%}", measured, ratio <= limits.errors)


def _achieved(figures: Figures, limits: Limits) -> Verdict:
    tally = figures.tally
    done, owed = tally.total("good") + tally.total("wrong"), sum(tally.owed.values())
    ratio = done / owed if owed else 0.0
    measured = f"{ratio:.3f} ({done:,} answered of {owed:,.0f} due)"
    return Verdict("achieved / target", f"at least {limits.achieved:g}", measured, ratio >= limits.achieved)


def _answers(figures: Figures, limits: Limits) -> Verdict:
    wrong = figures.tally.total("wrong")
    answered = wrong + figures.tally.total("good")
    ratio = wrong / answered if answered else 0.0
    measured = f"{ratio:.3%} ({wrong:,} of {answered:,})"
    return Verdict("wrong answers", f"at most {limits.wrong:.3%}", measured, ratio <= limits.wrong)


def _accuracy(figures: Figures, limits: Limits) -> list[Verdict]:
    seen = len(figures.tally.asked)
    if not seen or (limits.accuracy is None and figures.quality is None):
        return []
    measured = accuracy_of(figures.tally)
    if limits.accuracy is not None:
        wanted, why = limits.accuracy, ""
    else:
        wanted = least_accuracy(figures.quality or 0.0, seen, max(seen, figures.rows))
        why = f" (the export measured {figures.quality:.4f})"
    shown = f"{measured:.4f} on {seen:,} of {figures.rows:,} rows"
    return [Verdict("accuracy", f"at least {wanted:.4f}{why}", shown, measured >= wanted)]


def _workers(figures: Figures) -> list[Verdict]:
    """What a lost worker counted is lost with it: the others' figures are those of a smaller load."""
    if figures.lost is None:
        return []
    return [Verdict("workers", "none lost", f"{figures.lost} lost", figures.lost == 0)]


def _answered(tally: Tally, name: str) -> int:
    counts = tally.outcomes.get(name)
    return counts["good"] + counts["wrong"] if counts else 0
