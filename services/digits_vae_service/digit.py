"""What callers send and get: a class, a seed or a latent vector in, an image of a digit out.

A seed stands for one latent vector for good. Who gives neither gets a new one each time, and is told its seed.
"""

import base64
import secrets
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from modelyard.images import write_png
from modelyard.tensors import Array, InferResponse

LATENT = 8
FARTHEST = 100.0
"""Bound of a latent value: the normal distribution that the model was trained on ends at about 4."""
SEEDS = 2**32
NO_CLASS = -1
WHITE = 16.0
MAX_SCALE = 64

Cache = Literal["hit", "join", "partial", "miss", "bypass"]
Value = Annotated[float, Field(strict=True, ge=-FARTHEST, le=FARTHEST, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class Draw:
    """What the model is asked for."""

    inputs: dict[str, Array]
    seed: int | None
    cached: bool
    """False where the latent vector is drawn for this request alone: nobody will ask for it again."""


class DigitWanted(BaseModel):
    """Give `digit`, `latent`, or both; `seed` fixes what `latent` leaves open."""

    model_config = ConfigDict(extra="forbid", title="DigitWanted")

    digit: Annotated[int, Field(strict=True, ge=0, le=9)] | None = Field(
        None, description="the class; without it the latent vector alone decides what is drawn"
    )
    seed: Annotated[int, Field(strict=True, ge=0, lt=SEEDS)] | None = Field(
        None, description="the same seed gives the same image; without seed and latent each image is a new one"
    )
    latent: Annotated[list[Value], Field(min_length=LATENT, max_length=LATENT)] | None = Field(
        None, description=f"{LATENT} numbers, drawn from the normal distribution most often: the style of the digit"
    )
    scale: Annotated[int, Field(strict=True, ge=1, le=MAX_SCALE)] = Field(
        8, description="pixels of the PNG for each of the 8 x 8"
    )

    @model_validator(mode="after")
    def _determined(self) -> "DigitWanted":
        if self.seed is not None and self.latent is not None:
            raise ValueError("give seed or latent, not both")
        if self.digit is None and self.latent is None:
            raise ValueError("give digit, latent, or both")
        return self

    def draw(self) -> Draw:
        label = np.array([NO_CLASS if self.digit is None else self.digit], np.int64)
        if self.latent is not None:
            return Draw({"label": label, "latent": np.array([self.latent], np.float32)}, None, cached=True)
        seed = secrets.randbelow(SEEDS) if self.seed is None else self.seed
        # Of NumPy's generators only this one is promised to give the same numbers in every version.
        latent = np.random.RandomState(seed).standard_normal((1, LATENT)).astype(np.float32)
        return Draw({"label": label, "latent": latent}, seed, cached=self.seed is not None)


class GeneratedDigit(BaseModel):
    """An image, and what gives it again."""

    digit: int | None = Field(description="the class that was asked for")
    seed: int | None = Field(description="of the latent vector; none where the vector was given")
    latent: list[float] = Field(description="digit and latent together always give this image")
    pixels: list[list[float]] = Field(description="8 lines of 8 grey values from 0 (paper) to 16 (ink)")
    png: str = Field(description="the image as a PNG in base64, bright ink on dark paper")
    cache: Cache = Field(description="whether the cache answered; bypass: it was not asked")
    model_version: str


def png_of(response: InferResponse, scale: int) -> bytes:
    """The image as a PNG. Takes milliseconds: call it in a thread."""
    return write_png(response.outputs[0].array[0, 0], WHITE, scale)


def described(wanted: DigitWanted, draw: Draw, response: InferResponse) -> GeneratedDigit:
    """The image with everything about it. Takes milliseconds: call it in a thread."""
    return GeneratedDigit(
        digit=wanted.digit,
        seed=draw.seed,
        latent=draw.inputs["latent"][0].tolist(),
        pixels=response.outputs[0].array[0, 0].tolist(),
        png=base64.b64encode(png_of(response, wanted.scale)).decode(),
        cache=response.parameters["cache"],
        model_version=response.model_version,
    )


def headers_of(draw: Draw, response: InferResponse) -> dict[str, str]:
    """What a PNG cannot say of itself."""
    seed = {} if draw.seed is None else {"x-modelyard-seed": str(draw.seed)}
    return {
        "x-modelyard-cache": str(response.parameters["cache"]),
        "x-modelyard-model-version": response.model_version,
        **seed,
    }
