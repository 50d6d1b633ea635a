"""How long a request may take: what its caller names, and never more than model.yaml says."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from modelyard.errors import DeadlineExceeded
from modelyard.pipeline import Pipeline
from modelyard.spec import LimitsSpec
from modelyard.tensors import InferRequest

PIPELINE = cast(Pipeline, SimpleNamespace(spec=SimpleNamespace(limits=LimitsSpec(deadline_seconds=2.0))))


@pytest.mark.parametrize(("named", "limit"), [(None, 2.0), (0.5, 0.5), (2.0, 2.0), (20.0, 2.0)])
def test_the_models_deadline_is_the_longest_that_a_caller_may_name(named: float | None, limit: float) -> None:
    assert Pipeline.limit(PIPELINE, InferRequest("m", [], timeout=named)) == limit


@pytest.mark.parametrize("named", [0.0, -1.0])
def test_a_deadline_that_has_passed_is_refused(named: float) -> None:
    with pytest.raises(DeadlineExceeded):
        Pipeline.limit(PIPELINE, InferRequest("m", [], timeout=named))
