"""What a caller may know of a failure, and what the log may."""

from __future__ import annotations

import pytest

from modelyard.backends.base import DeviceLost, OutOfMemory
from modelyard.errors import BackendError, InvalidInput, ModelNotReady, ModelyardError, Overloaded
from modelyard.failures import as_answer, without_values


@pytest.mark.parametrize(
    ("error", "kind", "status"),
    [
        (DeviceLost("CUDA error 700"), ModelNotReady, 503),
        (OutOfMemory("no memory"), Overloaded, 503),
        (RuntimeError("secret value 4711"), BackendError, 500),
    ],
)
def test_what_went_wrong_inside_becomes_one_of_our_errors(
    error: Exception, kind: type[ModelyardError], status: int
) -> None:
    answer = as_answer(error, "net", "3")
    assert type(answer) is kind
    assert answer.http_status == status
    assert "4711" not in answer.public
    assert (answer.retry_after is not None) == (status == 503)


def test_an_error_of_ours_is_answered_as_it_is() -> None:
    error = InvalidInput("wrong")
    assert as_answer(error, "net", "3") is error


def test_the_log_gets_the_first_line_without_the_values_that_runtimes_quote() -> None:
    assert without_values(RuntimeError("node x failed Status Message: 4711\nmore")) == "RuntimeError: node x failed "
    assert without_values(RuntimeError("")) == "RuntimeError: "
