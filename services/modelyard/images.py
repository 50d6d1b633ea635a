"""Small grey images of typed APIs: grey values or a PNG in, a PNG out. The owner of Pillow.

class DigitImage(GreyImage):
    grid = Grid(8, 8, 16)                                   8 lines of 8 values from 0 to 16
    image: Annotated[Pixels | None, grid] = None

await digit.read() -> float32 [8, 8]
"""

import asyncio
import base64
import binascii
import io
from typing import ClassVar, Self, TypeAlias

import numpy as np
from PIL import Image, UnidentifiedImageError
from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, model_validator
from pydantic_core import CoreSchema, core_schema

from modelyard.errors import InvalidInput
from modelyard.tensors import Array

MAX_SIDE = 1024
"""Pixels of the longest side of a PNG that is read."""
MAX_TEXT = 2**22
"""Characters of a PNG in base64."""

Pixels: TypeAlias = list[list[float]]
"""Lines of grey values, the upper line first."""

_decoding = asyncio.Semaphore(2)
"""PNGs that are decoded at once: a crowd of large ones must not take the processor from everything else."""


class Grid:
    """The size of an image and its brightest value; as an annotation of `Pixels` it refuses what does not fit."""

    def __init__(self, height: int, width: int, brightest: float) -> None:
        self.height, self.width, self.brightest = height, width, brightest

    def __get_pydantic_core_schema__(self, _source: object, _handler: GetCoreSchemaHandler) -> CoreSchema:
        pixel = core_schema.float_schema(ge=0, le=self.brightest)
        line = core_schema.list_schema(pixel, min_length=self.width, max_length=self.width)
        lines = core_schema.list_schema(line, min_length=self.height, max_length=self.height)
        return core_schema.nullable_schema(lines)


class GreyImage(BaseModel):
    """One image: give `image` or `png`. Subclasses say how large it is, by `grid`."""

    model_config = ConfigDict(extra="forbid")
    grid: ClassVar[Grid]

    image: Pixels | None = Field(None, description="lines of grey values, 0 is dark")
    png: str | None = Field(
        None,
        description="a PNG of any size in base64, bright ink on dark paper; it is scaled down",
        max_length=MAX_TEXT,
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.image is None) == (self.png is None):
            raise ValueError("give exactly one of image and png")
        return self

    async def read(self) -> Array:
        """float32 [height, width]. Raises InvalidInput when `png` is no PNG."""
        if self.png is None:
            return np.array(self.image, np.float32)
        async with _decoding:
            return await asyncio.to_thread(read_png, self.png, self.grid)


def read_png(text: str, grid: Grid) -> Array:
    """float32 [height, width] of a PNG in base64. Raises InvalidInput."""
    try:
        raw = base64.b64decode("".join(text.split()), validate=True)  # line breaks are common in base64
    except binascii.Error:
        raise InvalidInput("png is no base64", "value") from None
    try:
        with Image.open(io.BytesIO(raw), formats=["PNG"]) as image:
            too_large = max(image.size) > MAX_SIDE  # known before a pixel is decoded
            ink = None if too_large else _ink(image, grid)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise InvalidInput("png holds no readable PNG image", "value") from None
    if ink is None:
        raise InvalidInput(f"the PNG is larger than {MAX_SIDE} x {MAX_SIDE}", "shape")
    return ink


def write_png(grey: Array, brightest: float, scale: int = 1) -> bytes:
    """A PNG of grey values [height, width] from 0 to `brightest`, each pixel drawn `scale` wide and high."""
    levels = np.clip(np.round(grey * (255 / brightest)), 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(np.kron(levels, np.ones((scale, scale), np.uint8))).save(buffer, "PNG")
    return buffer.getvalue()


def _ink(image: Image.Image, grid: Grid) -> Array:
    """Brightness from 0 to the grid's brightest; what is transparent is paper. 8 and 16 bits a channel."""
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow would clip at 255
        grey = Image.fromarray(np.asarray(image, np.float32) * np.float32(255 / 65535))
    elif image.has_transparency_data:
        paper = Image.new("RGBA", image.size, "black")
        grey = Image.alpha_composite(paper, image.convert("RGBA")).convert("L")
    else:
        grey = image.convert("L")
    small = grey.resize((grid.width, grid.height), Image.Resampling.BOX)
    return np.asarray(small, np.float32) * np.float32(grid.brightest / 255)
