"""Which version answers and which ones stay in memory, for any names and aliases."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.aliases import Aliases
from modelyard.choice import default_of, in_order, kept, named, newest_first, way_back

VERSIONS = ["1", "2", "3", "9", "10", "int8", "x"]
version = st.sampled_from(VERSIONS)
loaded_sets = st.sets(version)
states = st.builds(
    lambda stable, candidate, back: Aliases(
        stable, candidate, back[-1] if back and stable else None, older=tuple(back[:-1]) if stable else ()
    ),
    st.none() | version,
    st.none() | version,
    st.lists(version, max_size=4),
)


@pytest.mark.parametrize(
    ("loaded", "aliases", "serving", "default"),
    [
        ("1 2 10", Aliases(), "", "10"),
        ("1 2 10", Aliases(stable="2"), "", "2"),
        ("1 2 10", Aliases(stable="2"), "10", "2"),
        ("1 2", Aliases(stable="3"), "1", "1"),
        ("1 2", Aliases(stable="3", previous="1"), "", "1"),
        ("1 2 9", Aliases(stable="10", previous="3", older=("2", "1")), "", "1"),
        ("2 9", Aliases(stable="10", previous="3", older=("1",)), "", "9"),
        ("1 2 3", Aliases(candidate="3"), "", "2"),
        ("1 2 3", Aliases(candidate="3"), "1", "1"),
        ("3", Aliases(candidate="3"), "", "3"),
        ("1 int8", Aliases(), "", "1"),
        ("", Aliases(stable="1"), "1", ""),
    ],
)
def test_who_answers(loaded: str, aliases: Aliases, serving: str, default: str) -> None:
    assert default_of(loaded.split(), aliases, serving) == default


def test_what_rollbacks_go_to() -> None:
    assert way_back(Aliases(stable="9", previous="3", older=("1", "2"))) == ["3", "2", "1"]
    assert way_back(Aliases(stable="9")) == []


@given(loaded_sets, states, st.just("") | version)
def test_the_default_is_loaded_and_the_stable_one_before_all(loaded: set[str], aliases: Aliases, serving: str) -> None:
    default = default_of(loaded, aliases, serving)
    assert (default in loaded) == bool(loaded)
    if aliases.stable in loaded:
        assert default == aliases.stable
    elif serving in loaded:
        assert default == serving


@given(loaded_sets, states, st.just("") | version)
def test_a_candidate_is_not_served_while_there_is_another(loaded: set[str], aliases: Aliases, serving: str) -> None:
    default = default_of(loaded, aliases, serving)
    if default and default == aliases.candidate:
        named_so = default in {serving, aliases.stable, *way_back(aliases)}
        assert named_so or loaded == {default}


@given(loaded_sets, states)
def test_a_server_that_starts_again_serves_what_it_served(loaded: set[str], aliases: Aliases) -> None:
    default = default_of(loaded, aliases)
    assert default_of(loaded, aliases, default) == default
    stay = kept(loaded, aliases, default, 1)
    assert default_of(stay, aliases) == default


@given(loaded_sets, states, st.just("") | version, st.integers(1, 9))
def test_what_stays(loaded: set[str], aliases: Aliases, serving: str, most: int) -> None:
    stay = kept(loaded, aliases, serving, most)
    bound = {serving, *named(aliases)} & loaded
    assert set(stay) <= loaded
    assert len(stay) == len(set(stay)) == max(min(most, len(loaded)), len(bound))
    assert bound <= set(stay), "never one that serves or is named"
    free = [version for version in newest_first(loaded) if version not in bound]
    others = [version for version in stay if version not in bound]
    assert others == free[: len(others)], "of the others the newest"


@given(st.lists(version, unique=True), states, st.just("") | version)
def test_the_order_holds_each_once(on_disk: list[str], aliases: Aliases, serving: str) -> None:
    order = in_order(on_disk, aliases, serving)
    assert sorted(order) == sorted({*on_disk, *named(aliases), *([serving] if serving else [])})
    if serving:
        assert order[0] == serving
