"""Promote and rollback: what the checks let through, what a force does, what is done twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard.aliases import ALIASES_FILE, promoted, read_aliases, update
from modelyard.errors import ConfigurationError
from modelyard.lifecycle import promote as promoting
from modelyard.lifecycle.check import Report
from modelyard.lifecycle.places import Folder
from modelyard.lifecycle.promote import Done, Order, drop_candidate, promote, rollback
from modelyard.settings import Settings
from tests.unit.lifecycle.models import NAME, OUTPUT, add, named_output, spoil, write_spec


def at(model: Path) -> Folder:
    return Folder(Settings(repository=model.parent))


def run(model: Path, version: str, reports: list[Report] | None = None, **order: object) -> Done:
    show = (reports if reports is not None else []).append
    return promote(at(model), NAME, Order(version, **order), show)  # type: ignore[arg-type]


@pytest.fixture(name="three")
def _three(model: Path) -> Path:
    for version in ("1", "2", "3"):
        add(model, version, float(version))
    return model


def break_interface(model: Path, version: str) -> None:
    write_spec(model.parent, outputs=[OUTPUT | {"name": "z"}])
    add(model, version, rows=0, model=named_output("z"))


def test_the_first_promote_keeps_what_was_served_for_the_way_back(three: Path) -> None:
    reports: list[Report] = []
    done = run(three, "3", reports)
    assert (done.version, done.before, done.changed, done.forced) == ("3", "2", True, False)
    assert [report.beside for report in reports] == ["2"]
    assert read_aliases(three).previous == "2"


def test_promote_and_rollback_there_and_back(three: Path) -> None:
    for version in ("1", "2", "3"):
        run(three, version)
    assert [rollback(at(three), NAME).version for _ in range(3)] == ["2", "1", "3"], "3 was served at first"
    with pytest.raises(ConfigurationError, match="nothing to roll back to"):
        rollback(at(three), NAME)
    assert [change.action for change in read_aliases(three).history] == ["promote"] * 3 + ["rollback"] * 3


def test_what_is_stable_already_is_not_even_checked(three: Path) -> None:
    run(three, "3")
    content = (three / ALIASES_FILE).read_bytes()
    reports: list[Report] = []
    for word in ("3", "stable"):
        assert not run(three, word, reports).changed
    assert reports == []
    assert (three / ALIASES_FILE).read_bytes() == content


def test_unknown_and_refused_versions(three: Path) -> None:
    spoil(three / "versions" / "2")
    for version, why in (("7", "known are 1, 2, 3"), ("2", "fails: digest"), ("candidate", "no candidate")):
        with pytest.raises(ConfigurationError, match=why):
            run(three, version, force=True, reason="because")
    assert not (three / ALIASES_FILE).exists()


def test_a_break_of_the_interface_is_refused_unless_forced(model: Path) -> None:
    add(model, "1")
    break_interface(model, "2")
    with pytest.raises(ConfigurationError, match=r"fails: interface; --force --reason TEXT"):
        run(model, "2")
    assert run(model, "2", force=True, reason="agreed with all callers").forced
    (change,) = read_aliases(model).history
    assert (change.forced, change.reason) == (True, "agreed with all callers")
    assert rollback(at(model), NAME).version == "1", "a version with the old interface still loads"


def test_force_lets_nothing_else_pass(model: Path) -> None:
    add(model, "1")
    add(model, "2", golden=9.0)
    with pytest.raises(ConfigurationError, match="fails: golden") as caught:
        run(model, "2", force=True, reason="never mind")
    assert "--force" not in str(caught.value)


def test_a_needless_force_is_not_written_down_as_one(three: Path) -> None:
    assert not run(three, "3", force=True, reason="to be sure").forced
    assert not read_aliases(three).history[0].forced


def test_a_candidate_is_checked_and_promoted_by_its_alias(three: Path) -> None:
    spoil(three / "versions" / "2")
    with pytest.raises(ConfigurationError, match="digest"):
        run(three, "2", candidate=True)
    run(three, "1")
    done = run(three, "3", candidate=True)
    assert (done.state.candidate, done.state.stable) == ("3", "1")
    assert not run(three, "3", candidate=True).changed
    with pytest.raises(ConfigurationError, match="is stable: it cannot be the candidate"):
        run(three, "1", candidate=True)
    done = run(three, "candidate")
    assert (done.state.candidate, done.state.stable, done.before) == (None, "3", "1")


def test_a_candidate_is_given_up(three: Path) -> None:
    with pytest.raises(ConfigurationError, match="no candidate"):
        drop_candidate(at(three), NAME)
    run(three, "3", candidate=True)
    assert drop_candidate(at(three), NAME).version == "3"
    assert read_aliases(three).candidate is None


@pytest.mark.parametrize("loss", ["spoiled", "gone"])
def test_a_rollback_to_what_is_broken_is_refused_with_another_way(three: Path, loss: str) -> None:
    for version in ("2", "3"):
        run(three, version)
    place = three / "versions" / "2"
    if loss == "spoiled":
        spoil(place)
    else:
        place.rename(three / "versions" / ".hidden")
    with pytest.raises(ConfigurationError, match=f"the version before, 2, is refused.*modelyard promote {NAME} 1"):
        rollback(at(three), NAME)
    assert read_aliases(three).stable == "3"


def test_a_promote_is_judged_again_when_another_came_before_it(three: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(three, "1")
    reports: list[Report] = []

    def meanwhile(report: Report) -> None:
        reports.append(report)
        if len(reports) == 1:
            update(three, lambda state: promoted(state, "2"))

    promote(at(three), NAME, Order("3"), meanwhile)
    assert [report.beside for report in reports] == ["1", "2"]
    assert [change.version for change in read_aliases(three).history] == ["1", "2", "3"]


def test_a_promote_gives_up_when_others_never_stop(three: Path) -> None:
    others = iter("12121212")

    def meanwhile(_: Report) -> None:
        update(three, lambda state: promoted(state, next(others)))

    with pytest.raises(ConfigurationError, match="nothing was changed, try again"):
        promote(at(three), NAME, Order("3"), meanwhile)


def test_two_rollbacks_at_once_go_back_one_step(three: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for version in ("1", "2", "3"):
        run(three, version)
    check_good = promoting._check_good
    monkeypatch.setattr(promoting, "_check_good", lambda *_: rollback_of_another())

    def rollback_of_another() -> None:
        monkeypatch.setattr(promoting, "_check_good", check_good)
        rollback(at(three), NAME)

    with pytest.raises(ConfigurationError, match="changed meanwhile"):
        rollback(at(three), NAME)
    assert read_aliases(three).stable == "2"


def test_a_version_that_was_removed_while_it_was_checked(three: Path) -> None:
    def meanwhile(_: Report) -> None:
        (three / "versions" / "3").rename(three / "versions" / ".hidden")

    with pytest.raises(ConfigurationError, match="removed meanwhile"):
        promote(at(three), NAME, Order("3"), meanwhile)


def test_a_slow_version_is_refused_where_that_was_asked_for(three: Path) -> None:
    with pytest.raises(ConfigurationError, match="fails: latency"):
        run(three, "3", max_slowdown=0.0)
