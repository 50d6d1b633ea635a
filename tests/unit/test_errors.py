"""The tree that is drawn in errors.py, against the classes."""

from __future__ import annotations

import re

import grpc
import pytest

from modelyard import errors, metrics
from modelyard.errors import ConfigurationError, ModelyardError, Overloaded, QuotaExceeded

LINE = re.compile(r"^    (?P<branch>(?:[|] {3})*(?:[|`]-- )?)(?P<name>\w+) +(?P<status>\d{3} [A-Z_]+|[(]never)")


def drawn() -> dict[str, tuple[str, str]]:
    """Name to (parent, status) as drawn; the indentation tells the parent."""
    tree: dict[str, tuple[str, str]] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = LINE.match(line) or re.match(r"^    (?P<branch>[|` -]+)(?P<name>\w+)(?P<status>)", line)
        if found is None:
            continue
        depth = len(found["branch"]) // 4
        path = [*path[:depth], found["name"]]
        tree[found["name"]] = (path[-2] if depth else "", found["status"])
    return tree


def classes(of: type[ModelyardError] = ModelyardError) -> list[type[ModelyardError]]:
    return [
        of,
        *(each for child in of.__subclasses__() for each in classes(child) if child.__module__ == of.__module__),
    ]


def test_every_class_is_drawn_and_every_drawing_is_a_class() -> None:
    assert set(drawn()) == {each.__name__ for each in classes()}


@pytest.mark.parametrize("error", classes(), ids=lambda each: each.__name__)
def test_parent_and_statuses_are_those_of_the_drawing(error: type[ModelyardError]) -> None:
    parent, status = drawn()[error.__name__]
    assert (error.__base__ or object).__name__ == (parent or "Exception")
    if not status:
        status = drawn()[parent][1]
    if error is not ConfigurationError:
        assert status == f"{error.http_status} {error.grpc_status}"


@pytest.mark.parametrize("error", classes(), ids=lambda each: each.__name__)
def test_statuses_and_outcomes_are_real(error: type[ModelyardError]) -> None:
    assert 400 <= error.http_status < 600
    assert grpc.StatusCode[error.grpc_status] is not grpc.StatusCode.OK
    assert error.outcome in metrics.OUTCOMES


def test_what_may_be_tried_again_says_when() -> None:
    assert Overloaded("full", 3).retry_after == 3
    assert QuotaExceeded("used up", 2).retry_after == 2
    assert errors.Unavailable("no").retry_after == 1
    assert ModelyardError("no").retry_after is None


def test_a_backend_error_names_the_model_only() -> None:
    assert errors.BackendError("digits").public == "the model 'digits' failed on this input"


@pytest.mark.parametrize(
    "error", [errors.InvalidInput("no", "value"), Overloaded("no", 3), QuotaExceeded("no", 2), errors.Cancelled("no")]
)
def test_the_error_of_a_part_is_the_same_error_with_the_part_before_it(error: ModelyardError) -> None:
    told = error.of("member 'a'")
    assert (type(told), str(told), told.public) == (type(error), "member 'a': no", "member 'a': no")
    assert vars(told) == vars(error)
    assert str(error) == "no"
