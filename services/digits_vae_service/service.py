"""The BentoML service of `digits_vae`: POST /generate beside the Open Inference Protocol."""

import asyncio
from typing import Annotated

import bentoml
from bentoml.validators import ContentType

from digits_vae_service.digit import DigitWanted, Draw, GeneratedDigit, described, headers_of, png_of
from modelyard.app import ModelService, service
from modelyard.tensors import InferResponse

DRAWING = asyncio.Semaphore(2)
"""PNGs that are written at once: a crowd of large ones must not take the processor from everything else."""


@service("digits_vae")
class DigitsVae(ModelService):
    """Generates handwritten digits."""

    @bentoml.api(route="/generate")  # type: ignore[untyped-decorator]  # untyped library
    async def generate(
        self, wanted: DigitWanted, /, ctx: bentoml.Context
    ) -> Annotated[bytes, ContentType("image/png")]:
        """Draw a digit as a PNG.

        The headers x-modelyard-seed, x-modelyard-cache and x-modelyard-model-version say where it came from. With seed
        or latent the answer is the same each time, and kept in the cache; with neither it is a new one each time.
        """
        draw = wanted.draw()
        response = await self._run(draw)
        ctx.response.metadata.update(headers_of(draw, response))
        async with DRAWING:
            return await asyncio.to_thread(png_of, response, wanted.scale)

    @bentoml.api(route="/generate.json")  # type: ignore[untyped-decorator]  # untyped library
    async def generate_json(self, wanted: DigitWanted, /) -> GeneratedDigit:
        """Draw a digit as JSON: its pixels, its PNG in base64, and what gives it again."""
        draw = wanted.draw()
        response = await self._run(draw)
        async with DRAWING:
            return await asyncio.to_thread(described, wanted, draw, response)

    async def _run(self, draw: Draw) -> InferResponse:
        return await self.infer(draw.inputs, cached=draw.cached)
