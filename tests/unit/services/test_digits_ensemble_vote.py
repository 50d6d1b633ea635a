"""The typed answer of digits_ensemble is what the model gave."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from digits_ensemble_service.vote import DigitImage, vote_of
from modelyard.tensors import InferResponse, Tensor


def response(members: str, votes: list[int]) -> InferResponse:
    probabilities = np.full((1, 10), 0.05, np.float32)
    probabilities[0, 3] = 0.55
    outputs = {
        "probabilities": probabilities,
        "label": np.array([3]),
        "votes": np.array([votes]),
        "agree": np.array([len(set(votes)) == 1]),
    }
    tensors = [Tensor.from_array(name, array) for name, array in outputs.items()]
    return InferResponse("digits_ensemble", "2", tensors, "", {"cache": "partial", "members": members})


@pytest.mark.parametrize(("votes", "agree"), [([3, 8], False), ([3, 3], True)])
def test_each_vote_stands_with_the_version_that_cast_it(votes: list[int], agree: bool) -> None:
    vote = vote_of(response("digits:12,digits_forest:1", votes))
    assert (vote.label, vote.agree, vote.cache, vote.model_version) == (3, agree, "partial", "2")
    assert [(member.model, member.model_version, member.label) for member in vote.votes] == [
        ("digits", "12", votes[0]),
        ("digits_forest", "1", votes[1]),
    ]
    assert vote.probabilities[3] == pytest.approx(0.55)


def test_an_image_has_8_lines_of_8_values() -> None:
    assert DigitImage(image=[[16.0] * 8] * 8).image
    with pytest.raises(ValidationError, match="image"):
        DigitImage(image=[[16.0] * 8] * 7)
