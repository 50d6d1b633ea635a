"""The BentoML service of `digits`: POST /classify beside the Open Inference Protocol."""

import asyncio

import bentoml

from digits_service.image import Digit, DigitImage
from modelyard.app import ModelService, service

DECODING = asyncio.Semaphore(2)
"""PNGs that are decoded at once: a crowd of large ones must not take the processor from everything else."""


@service("digits")
class Digits(ModelService):
    """Recognises a handwritten digit."""

    @bentoml.api(route="/classify")  # type: ignore[untyped-decorator]  # untyped library
    async def classify(self, digit: DigitImage, /) -> Digit:
        """Say which digit an image shows.

        The image comes as 8 x 8 grey values or as a PNG. Equal images are answered from the prediction cache.
        """
        async with DECODING:
            image = await asyncio.to_thread(digit.array)
        response = await self.infer({"image": image})
        probabilities = response.outputs[0].array[0]
        return Digit(
            label=int(probabilities.argmax()),
            probabilities=probabilities.tolist(),
            cache=response.parameters["cache"],
            model_version=response.model_version,
        )
