"""The BentoML service of `digits_ensemble`: POST /classify beside the Open Inference Protocol."""

import bentoml

from digits_ensemble_service.vote import DigitImage, DigitVote, vote_of
from modelyard.app import ModelService, service


@service("digits_ensemble")
class DigitsEnsemble(ModelService):
    """Recognises a handwritten digit with several models, which vote."""

    @bentoml.api(route="/classify")  # type: ignore[untyped-decorator]  # untyped library
    async def classify(self, digit: DigitImage, /) -> DigitVote:
        """Say which digit an image shows, what each member votes for, and whether they agree.

        The image comes as 8 x 8 grey values or as a PNG. What a member has seen before is answered from its cache.
        """
        image = await digit.read()
        return vote_of(await self.infer({"image": image.reshape(1, 1, *image.shape)}))
