"""What is said of a profile: the dearest functions, by names that a reader finds again."""

from __future__ import annotations

import cProfile
from pathlib import Path

from loadtests.bench.profile import top


def dear() -> int:
    """Something that takes time of its own."""
    return sum(value * value for value in range(200_000))


def test_the_dearest_function_is_named_with_its_share(tmp_path: Path) -> None:
    profiler = cProfile.Profile()
    profiler.runcall(dear)
    profiler.dump_stats(tmp_path / "a.pstats")
    said = top(tmp_path / "a.pstats", 2)
    assert "test_profile.py" in said
    assert said.count("%") == 2
    assert str(tmp_path) not in said
    assert str(Path(__file__).parent) not in said  # a page is read on other machines
