"""The rule that picks a setting, pure.

    the settings that answered every request, whose p99 at the target concurrency keeps the limit, if there is one, and
    that lose at most LOSS of the current throughput at each lower concurrency
      -> the one with the most requests a second at the target concurrency is the best
      -> the current setting stays, when the best is at most TOLERANCE ahead of it
      -> otherwise the simplest of those within TOLERANCE of the best

The target concurrency is the highest that was measured.
"""

from dataclasses import dataclass

from modelyard.errors import ConfigurationError
from modelyard.tuning.grid import Setting
from modelyard.tuning.sweep import Results

TOLERANCE = 0.03
"""Two measurements of one setting differ by about this much on a quiet machine."""
LOSS = 0.2
"""A queue delay that helps a crowd can cost a lone caller most of its speed: no more than this is given away."""
FINALISTS = 6


@dataclass(frozen=True, slots=True)
class Choice:
    setting: Setting
    reason: str


def choose(results: Results, current: Setting, p99_ms: float | None) -> Choice:
    """Raises ConfigurationError when no setting may be chosen."""
    rates = _rates(results, current, p99_ms)
    best = max(rates, key=lambda setting: rates[setting])
    enough = rates[best] * (1 - TOLERANCE)
    if rates.get(current, -1.0) >= enough:
        return Choice(current, f"no setting is more than {TOLERANCE:.0%} faster")
    simplest = min(setting for setting, rate in rates.items() if rate >= enough)
    if simplest == best:
        return Choice(best, "the most requests a second")
    return Choice(simplest, f"the simplest within {TOLERANCE:.0%} of the most requests a second ({best})")


def finalists(results: Results, current: Setting, p99_ms: float | None) -> list[Setting]:
    """The settings to measure again: the current one, the best, and the simplest near the best. All of a small grid.

    The best of many noisy figures is mostly a lucky one; its second measurement is honest.
    """
    settings = {setting for setting, _ in results}
    if len(settings) <= FINALISTS:
        return sorted(settings)
    rates = _rates(results, current, p99_ms)
    best = max(rates, key=lambda setting: rates[setting])
    near = sorted(setting for setting, rate in rates.items() if rate >= rates[best] * (1 - 2 * TOLERANCE))
    return sorted({current, best, *near[: FINALISTS - 2]})


def _rates(results: Results, current: Setting, p99_ms: float | None) -> dict[Setting, float]:
    """Requests a second at the target concurrency, of the settings that may be chosen."""
    target = max(level for _, level in results)
    failed = {setting for (setting, _), tally in results.items() if tally.errors or not tally.requests}
    good = {cell: tally for cell, tally in results.items() if cell[0] not in failed}
    wanted = {setting: tally for (setting, level), tally in good.items() if level == target}
    if not wanted:
        raise ConfigurationError("no setting answered every request: there is nothing to choose from")
    lost = set() if current in failed else _lost(good, current, target)
    kept = {s: t for s, t in wanted.items() if s not in lost and (p99_ms is None or t.p99_ms <= p99_ms)}
    if not kept:
        nearest = min(wanted, key=lambda setting: wanted[setting].p99_ms)
        raise ConfigurationError(
            f"no setting that may be chosen keeps p99 at {p99_ms or 0:g} ms with {target} connections: the lowest is "
            f"{wanted[nearest].p99_ms:.3g} ms ({nearest})"
        )
    return {setting: tally.rate for setting, tally in kept.items()}


def _lost(results: Results, current: Setting, target: int) -> set[Setting]:
    """Settings that give away too much of the current throughput below the target."""
    return {
        setting
        for (setting, level), tally in results.items()
        if level < target and tally.rate < (1 - LOSS) * results[current, level].rate
    }
