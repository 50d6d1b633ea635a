"""The BentoML service of `embed`: POST /embed and POST /search beside the Open Inference Protocol."""

import asyncio

import bentoml
import numpy as np

from embed_service.assets import assets_of, encode
from embed_service.texts import Embeddings, Found, Query, Ranked, Texts, summary
from embed_service.tokens import Encoded, Group, groups, tensors
from modelyard.app import ModelService, service
from modelyard.tensors import InferResponse

DECIMALS = 8
"""Of the numbers in an answer: a float32 below 1 has no more, and text with all 17 of a double is twice as long."""


@service("embed")
class Embed(ModelService):
    """Turns texts into vectors that lie close together when the texts mean something alike."""

    @bentoml.api(route="/embed")  # type: ignore[untyped-decorator]  # untyped library
    async def embed(self, texts: Texts, /) -> Embeddings:
        """Give the vector of each text. Equal texts are answered from the prediction cache."""
        files = self.files()
        encoded = await encode((await assets_of(files)).tokenizer, texts.texts)
        parts = list(groups([len(text.ids) for text in encoded]))
        responses = await self._infer_all(encoded, parts, files.version)
        vectors = np.empty((len(encoded), responses[0].outputs[0].array.shape[1]))
        for part, response in zip(parts, responses, strict=True):
            vectors[part.positions] = response.outputs[0].array
        return Embeddings(
            embeddings=vectors.round(DECIMALS).tolist(),
            tokens=[len(text.ids) for text in encoded],
            truncated=[text.truncated for text in encoded],
            cache=summary([response.parameters["cache"] for response in responses]),
            model_version=files.version,
        )

    @bentoml.api(route="/search")  # type: ignore[untyped-decorator]  # untyped library
    async def search(self, query: Query, /) -> Found:
        """Find those of the version's own few hundred sentences that are nearest in meaning: a demonstration."""
        files = self.files()
        assets = await assets_of(files)
        encoded = await encode(assets.tokenizer, [query.query])
        (response,) = await self._infer_all(encoded, list(groups([len(encoded[0].ids)])), files.version)
        matches = assets.corpus.search(response.outputs[0].array[0], query.k)
        results = [Ranked(**match._asdict()) for match in matches]
        return Found(results=results, cache=response.parameters["cache"], model_version=files.version)

    async def _infer_all(self, encoded: list[Encoded], parts: list[Group], version: str) -> list[InferResponse]:
        """Every group at once; when one is refused the others are called off."""
        inputs = [tensors([encoded[position].ids for position in part.positions], part.bucket) for part in parts]
        calls = [asyncio.ensure_future(self.infer(e, version=version, part=i > 0)) for i, e in enumerate(inputs)]
        try:
            return await asyncio.gather(*calls)
        finally:
            for call in calls:
                call.cancel()  # nothing happens to those that have ended
