"""An engine runs in a child before anybody serves with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard.backends.engine import maker
from modelyard.backends.engine.maker import BuildFailed
from tests.unit.backends.engine.fake_gpu import FakeGpu, Wish


def test_an_engine_that_faults_is_not_published_and_one_that_is_there_is_tried_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu, wish = FakeGpu(tmp_path, monkeypatch), Wish(tmp_path)
    gpu.set(execute={"error": 700})
    with pytest.raises(BuildFailed, match="700"):
        wish.ensure()
    assert wish.store.find(wish.key()) is None
    gpu.set()
    wish.ensure()
    maker.try_plan(wish.store, wish.key(), wish.spec, wish.backend, wish.stop)
    gpu.set(execute={"error": 700})
    with pytest.raises(BuildFailed, match="700"):
        maker.try_plan(wish.store, wish.key(), wish.spec, wish.backend, wish.stop)
