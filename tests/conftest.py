"""What every test shares."""

from __future__ import annotations

import os

import hypothesis  # noqa: F401  (now: its first import after greenlets ran trips over a bug of CPython 3.11's parser)
import pytest


@pytest.fixture(autouse=True, scope="session")
def no_settings_of_the_shell() -> None:
    """A developer's own MODELYARD_ settings must not decide whether a test passes."""
    for name in [name for name in os.environ if name.startswith("MODELYARD_")]:
        del os.environ[name]
