"""The BentoML service of `digits`: POST /classify beside the Open Inference Protocol."""

import bentoml

from digits_service.image import Digit, DigitImage
from modelyard.app import ModelService, service


@service("digits")
class Digits(ModelService):
    """Recognises a handwritten digit."""

    @bentoml.api(route="/classify")  # type: ignore[untyped-decorator]  # untyped library
    async def classify(self, digit: DigitImage, /) -> Digit:
        """Say which digit an image shows.

        The image comes as 8 x 8 grey values or as a PNG. Equal images are answered from the prediction cache.
        """
        image = await digit.read()
        response = await self.infer({"image": image.reshape(1, 1, *image.shape)})
        probabilities = response.outputs[0].array[0]
        return Digit(
            label=int(probabilities.argmax()),
            probabilities=probabilities.tolist(),
            cache=response.parameters["cache"],
            model_version=response.model_version,
        )
