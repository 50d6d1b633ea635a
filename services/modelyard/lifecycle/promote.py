"""A version becomes stable, or the candidate, when its checks hold; and the way back.

    promote   checks (without a lock: they take long) -> the alias (under the lock, if `stable` is still what the
              version was judged by; else the checks again)
    rollback  the version before still loads -> the alias

Only a changed interface can be forced: a version that does not load would serve nobody.
"""

from collections.abc import Callable
from dataclasses import dataclass

from modelyard.aliases import Aliases, Notice, promoted, rolled_back, with_candidate
from modelyard.errors import ConfigurationError
from modelyard.lifecycle.check import Report, check
from modelyard.lifecycle.places import Place
from modelyard.lifecycle.versions import Model, opened

TRIES = 3
"""Checks of one promote, when others promote meanwhile."""
FORCEABLE = {"interface"}

Show = Callable[[Report], None]


@dataclass(frozen=True, slots=True)
class Order:
    """What the operator asked for."""

    version: str
    candidate: bool = False
    force: bool = False
    reason: str = ""
    max_slowdown: float | None = None


@dataclass(frozen=True, slots=True)
class Done:
    version: str
    before: str | None
    """What the alias said until now; of a first promote, what was served."""
    state: Aliases
    changed: bool = True
    forced: bool = False


class _Moved(Exception):
    """Somebody else promoted while this one was checked."""


def promote(place: Place, name: str, order: Order, show: Show, notice: Notice | None = None) -> Done:
    """Raises ConfigurationError when a check fails. `show` is given every report."""
    for _ in range(TRIES):
        model = place.model(name, order.version)
        version = model.version(order.version)
        if done := _already(model, version, order):
            return done
        report = check(model, version, max_slowdown=order.max_slowdown)
        show(report)
        forced = _allowed(report, order)
        try:
            return _set(place, model, report, order, forced, notice)
        except _Moved:
            continue
    raise ConfigurationError(f"others keep changing what is stable of '{name}': nothing was changed, try again")


def _already(model: Model, version: str, order: Order) -> Done | None:
    state = model.state
    if version == state.stable and order.candidate:
        raise ConfigurationError(f"version {version} of '{model.name}' is stable: it cannot be the candidate as well")
    if version == (state.candidate if order.candidate else state.stable):
        return Done(version, None, state, changed=False)
    return None


def _allowed(report: Report, order: Order) -> bool:
    """Was a failed check forced? Raises ConfigurationError for failures that were not, or cannot be."""
    failed = [name for name in report.failed if not (order.force and name in FORCEABLE)]
    if not failed:
        return bool(report.failed)
    hint = "" if set(failed) - FORCEABLE else "; --force --reason TEXT promotes it all the same"
    raise ConfigurationError(f"version {report.version} of '{report.model}' fails: {', '.join(failed)}{hint}")


def _set(place: Place, model: Model, report: Report, order: Order, forced: bool, notice: Notice | None) -> Done:
    def change(state: Aliases) -> Aliases:
        if state.stable != model.state.stable:
            raise _Moved
        if not model.path(report.version).is_dir():
            raise ConfigurationError(f"version {report.version} of '{model.name}' was removed meanwhile")
        if order.candidate:
            return with_candidate(state, report.version, reason=order.reason, forced=forced)
        return promoted(state, report.version, instead_of=report.beside, forced=forced, reason=order.reason)

    state = place.update(model.name, change, notice)
    return Done(report.version, state.history[-1].before, state, forced=forced)


def rollback(place: Place, name: str, reason: str = "", notice: Notice | None = None) -> Done:
    """Raises ConfigurationError when there is nothing to go back to, or the version before is no longer good."""
    model = place.model(name)
    target = model.state.previous
    if target is None:
        raise ConfigurationError(f"'{name}' has nothing to roll back to: no promote that could be taken back")
    _check_good(model, target)

    def change(state: Aliases) -> Aliases:
        """Never one step further than was meant, though two operators roll back at once."""
        if (state.stable, state.previous) != (model.state.stable, target):
            raise ConfigurationError(f"what is stable of '{name}' was changed meanwhile: nothing was done, look again")
        return rolled_back(state, reason=reason)

    return Done(target, model.state.stable, place.update(name, change, notice))


def _check_good(model: Model, version: str) -> None:
    """Its files are what was published, it loads and answers its golden inputs."""
    try:
        with opened(model, version):
            pass
    except ConfigurationError as error:
        others = [name for name in model.versions if name not in {version, model.state.stable}]
        way = f"; promote another: modelyard promote {model.name} {others[-1]}" if others else ""
        raise ConfigurationError(f"the version before, {version}, is refused: {error}{way}") from None


def drop_candidate(place: Place, name: str, reason: str = "", notice: Notice | None = None) -> Done:
    """Raises ConfigurationError when there is no candidate."""
    model = place.model(name)
    dropped = model.version("candidate")

    def change(state: Aliases) -> Aliases:
        if state.candidate != dropped:
            raise ConfigurationError(f"the candidate of '{name}' was changed meanwhile: nothing was done, look again")
        return with_candidate(state, None, reason=reason)

    return Done(dropped, dropped, place.update(name, change, notice))
