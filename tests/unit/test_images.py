"""Small grey images: what is taken, what is refused, and that a PNG holds what was drawn."""

from __future__ import annotations

import base64
import io
from typing import Annotated, Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from modelyard.errors import InvalidInput
from modelyard.images import MAX_SIDE, GreyImage, Grid, Pixels, read_png, write_png

GRID = Grid(3, 2, 10)
PIXELS = [[0.0, 10.0], [5.0, 2.5], [7.5, 1.0]]


class Small(GreyImage):
    """Three lines of two values from 0 to 10."""

    grid = GRID
    image: Annotated[Pixels | None, GRID] = None


def text(png: bytes) -> str:
    return base64.b64encode(png).decode()


def saved(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return text(buffer.getvalue())


async def test_grey_values_come_as_they_are() -> None:
    array = await Small(image=PIXELS).read()
    assert array.dtype == np.float32
    assert array.tolist() == PIXELS


@pytest.mark.parametrize("scale", [1, 4])
async def test_a_png_holds_what_was_drawn(scale: int) -> None:
    array = await Small(png=text(write_png(np.array(PIXELS, np.float32), 10, scale))).read()
    np.testing.assert_allclose(array, PIXELS, atol=10 / 255)
    assert array.dtype == np.float32
    assert array.shape == (3, 2)


def test_values_outside_the_range_are_drawn_as_its_ends() -> None:
    array = read_png(text(write_png(np.array([[-5.0, 50.0]] * 3, np.float32), 10)), GRID)
    assert array.tolist() == [[0.0, 10.0]] * 3


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "1", "I;16"])
def test_every_mode_is_read_as_brightness(mode: str) -> None:
    levels = np.array([[0, 255], [255, 0], [0, 255]], np.uint8)
    if mode == "I;16":
        picture = Image.fromarray(levels.astype(np.uint16) * 257)
    else:
        picture = Image.fromarray(levels).convert(mode)
    assert read_png(saved(picture), GRID).tolist() == [[0, 10], [10, 0], [0, 10]]


def test_what_is_transparent_is_paper() -> None:
    alpha = np.array([[0, 255], [51, 0], [0, 0]], np.uint8)
    picture = Image.fromarray(np.dstack([np.full((3, 2, 3), 255, np.uint8), alpha]), "RGBA")
    np.testing.assert_allclose(read_png(saved(picture), GRID), [[0, 10], [2, 0], [0, 0]], atol=1e-6)


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"image": [[1, 1]] * 2}, ("image",)),
        ({"image": [[1, 1]] * 4}, ("image",)),
        ({"image": [[1, 1], [1], [1, 1]]}, ("image", 1)),
        ({"image": [[1, 1], [1, 11], [1, 1]]}, ("image", 1, 1)),
        ({"image": [[1, 1], [1, -0.1], [1, 1]]}, ("image", 1, 1)),
        ({"image": [[1, 1], [1, float("nan")], [1, 1]]}, ("image", 1, 1)),
        ({"image": [[1, 1], [1, "x"], [1, 1]]}, ("image", 1, 1)),
        ({"image": "x"}, ("image",)),
        ({"png": 5}, ("png",)),
        ({}, ()),
        ({"image": PIXELS, "png": "x"}, ()),
        ({"picture": PIXELS}, ("picture",)),
    ],
)
def test_what_does_not_fit_is_refused_by_its_place(body: Any, place: tuple[str | int, ...]) -> None:
    with pytest.raises(ValidationError) as caught:
        Small.model_validate(body)
    assert place in [fault["loc"] for fault in caught.value.errors()]


@pytest.mark.parametrize("png", ["no base64!", text(b"no PNG"), text(b"\x89PNG\r\n\x1a\n"), ""])
async def test_what_is_no_png_is_refused(png: str) -> None:
    with pytest.raises(InvalidInput, match="png"):
        await Small(png=png).read()


def test_line_breaks_in_base64_do_not_matter() -> None:
    whole = text(write_png(np.array(PIXELS, np.float32), 10))
    np.testing.assert_array_equal(read_png("\n".join(whole), GRID), read_png(whole, GRID))


def test_a_large_png_is_refused_before_it_is_decoded() -> None:
    wide = saved(Image.new("L", (MAX_SIDE + 1, 1)))
    with pytest.raises(InvalidInput, match="larger than 1024"):
        read_png(wide, GRID)


def test_the_schema_says_how_large_an_image_is() -> None:
    (lines, _) = Small.model_json_schema()["properties"]["image"]["anyOf"]
    assert (lines["minItems"], lines["maxItems"], lines["items"]["minItems"], lines["items"]["maxItems"]) == (
        3,
        3,
        2,
        2,
    )
    assert lines["items"]["items"] == {"type": "number", "minimum": 0, "maximum": 10}
