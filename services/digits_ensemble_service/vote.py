"""What callers send and get: pixels or a PNG in, out what the members say each and what they say together."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from modelyard.images import GreyImage, Grid, Pixels
from modelyard.tensors import InferResponse


class DigitImage(GreyImage):
    """One handwritten digit: give `image` or `png`."""

    grid = Grid(8, 8, 16)  # from 0 (paper) to 16 (ink), as in scikit-learn's digits
    image: Annotated[Pixels | None, grid] = Field(
        None, description="8 lines of 8 grey values from 0 (paper) to 16 (ink)"
    )


class MemberVote(BaseModel):
    """What one model sees in the image, for itself."""

    model: str
    model_version: str
    label: int = Field(ge=0, le=9)


class DigitVote(BaseModel):
    """What the models see in an image together."""

    label: int = Field(ge=0, le=9, description="the most probable digit")
    probabilities: list[float] = Field(description="the probability of each digit, 0 to 9: a weighted mean")
    agree: bool = Field(description="whether every member votes for the same digit; where not, look twice")
    votes: list[MemberVote]
    cache: Literal["hit", "join", "partial", "miss", "bypass"] = Field(description="whether the cache answered")
    model_version: str


def vote_of(response: InferResponse) -> DigitVote:
    """The answer to one image."""
    outputs = {tensor.name: tensor.array[0] for tensor in response.outputs}
    members = [name.rsplit(":", 1) for name in str(response.parameters["members"]).split(",")]
    votes = zip(members, outputs["votes"].tolist(), strict=True)
    return DigitVote(
        label=outputs["label"],
        probabilities=outputs["probabilities"].tolist(),
        agree=outputs["agree"],
        votes=[MemberVote(model=name, model_version=version, label=label) for (name, version), label in votes],
        cache=response.parameters["cache"],
        model_version=response.model_version,
    )
