"""What callers send and get: pixels or a PNG in, a label with probabilities out."""

import base64
import binascii
import io
from typing import Annotated, Literal

import numpy as np
from PIL import Image, UnidentifiedImageError
from pydantic import BaseModel, ConfigDict, Field, model_validator

from modelyard.app import InvalidInput
from modelyard.tensors import Array

SIDE = 8
WHITE = 16.0
"""The model's pixels go from 0 (paper) to 16 (ink), as in scikit-learn's digits."""
MAX_SIDE = 1024

Pixel = Annotated[float, Field(ge=0, le=WHITE)]
Line = Annotated[list[Pixel], Field(min_length=SIDE, max_length=SIDE)]


class DigitImage(BaseModel):
    """One handwritten digit: give `image` or `png`."""

    model_config = ConfigDict(extra="forbid", title="DigitImage")

    image: Annotated[list[Line], Field(min_length=SIDE, max_length=SIDE)] | None = Field(
        None, description="8 lines of 8 grey values from 0 (paper) to 16 (ink)"
    )
    png: str | None = Field(
        None,
        description="a PNG of any size in base64, bright ink on dark paper; it is scaled to 8 x 8",
        max_length=2**22,
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> "DigitImage":
        if (self.image is None) == (self.png is None):
            raise ValueError("give exactly one of image and png")
        return self

    def array(self) -> Array:
        """float32 [1, 1, 8, 8], 0..16. A PNG takes milliseconds to decode: call it in a thread.

        Raises InvalidInput when `png` is no PNG.
        """
        grey = np.array(self.image, np.float32) if self.png is None else _read_png(self.png)
        return grey.reshape(1, 1, SIDE, SIDE)


class Digit(BaseModel):
    """What the model sees in an image."""

    label: int = Field(ge=0, le=9, description="the most probable digit")
    probabilities: list[float] = Field(description="the probability of each digit, 0 to 9")
    cache: Literal["hit", "join", "partial", "miss", "bypass"] = Field(description="whether the cache answered")
    model_version: str


def _read_png(text: str) -> Array:
    """float32 [8, 8], 0..16."""
    try:
        raw = base64.b64decode("".join(text.split()), validate=True)  # line breaks are common in base64
    except binascii.Error:
        raise InvalidInput("png is no base64", "value") from None
    try:
        with Image.open(io.BytesIO(raw), formats=["PNG"]) as image:
            too_large = max(image.size) > MAX_SIDE  # known before a pixel is decoded
            ink = None if too_large else _ink(image)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise InvalidInput("png holds no readable PNG image", "value") from None
    if ink is None:
        raise InvalidInput(f"the PNG is larger than {MAX_SIDE} x {MAX_SIDE}", "shape")
    return ink


def _ink(image: Image.Image) -> Array:
    """float32 [8, 8], 0..16: brightness; what is transparent is paper. 8 and 16 bits a channel."""
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow would clip at 255
        grey = Image.fromarray(np.asarray(image, np.float32) * np.float32(255 / 65535))
    elif image.has_transparency_data:
        paper = Image.new("RGBA", image.size, "black")
        grey = Image.alpha_composite(paper, image.convert("RGBA")).convert("L")
    else:
        grey = image.convert("L")
    small = grey.resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(small, np.float32) * np.float32(WHITE / 255)
