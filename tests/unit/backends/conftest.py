"""What the tests of backends share."""

from __future__ import annotations

import pytest

from modelyard import metrics


@pytest.fixture(autouse=True)
def no_chains_of_other_tests() -> None:
    """The gauge counts every open chain, and the tests leave theirs open."""
    metrics.backend_active.clear()
