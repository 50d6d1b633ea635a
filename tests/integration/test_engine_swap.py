"""An engine is built, checked and swapped in while the model serves; one that is wrong is not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.calls import ask, until
from tests.integration.gpu_asks import (
    Moved,
    active,
    ask_grpc,
    ask_http,
    check_active,
    check_ready,
    config,
    counts,
    metric,
    replies,
    wait_active,
)
from tests.integration.gpu_harness import BUCKETS, CUDA, ENGINE, NAME, Gpu, echo_repository, gpu_server, reload
from tests.integration.gpu_load import clients
from tests.integration.harness import Server

QUIET_SECONDS = 2.5
LANES = 2


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`echo` on the whole chain."""
    return echo_repository(tmp_path_factory.mktemp("repository"), lanes=LANES)
