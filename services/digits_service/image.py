"""What callers send and get: pixels or a PNG in, a label with probabilities out."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from modelyard.images import GreyImage, Grid, Pixels


class DigitImage(GreyImage):
    """One handwritten digit: give `image` or `png`."""

    grid = Grid(8, 8, 16)  # from 0 (paper) to 16 (ink), as in scikit-learn's digits
    image: Annotated[Pixels | None, grid] = Field(
        None, description="8 lines of 8 grey values from 0 (paper) to 16 (ink)"
    )


class Digit(BaseModel):
    """What the model sees in an image."""

    label: int = Field(ge=0, le=9, description="the most probable digit")
    probabilities: list[float] = Field(description="the probability of each digit, 0 to 9")
    cache: Literal["hit", "join", "partial", "miss", "bypass"] = Field(description="whether the cache answered")
    model_version: str
