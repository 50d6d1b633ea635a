"""The BentoML service of `wine`: POST /classify beside the Open Inference Protocol."""

import bentoml

from modelyard.app import ModelService, service
from wine_service.measurements import Cultivar, WineMeasurements


@service("wine")
class Wine(ModelService):
    """Tells the cultivar of a wine from its chemical analysis."""

    @bentoml.api(route="/classify")  # type: ignore[untyped-decorator]  # untyped library
    async def classify(self, wine: WineMeasurements, /) -> Cultivar:
        """Say which of three cultivars a wine is made of.

        All 13 measurements are needed; one that is missing, unknown or outside its range is refused by its name.
        """
        response = await self.infer({"features": wine.array()})
        outputs = {tensor.name: tensor.array[0] for tensor in response.outputs}
        return Cultivar(
            label=int(outputs["label"]),
            probabilities=outputs["probabilities"].tolist(),
            cache=response.parameters["cache"],
            model_version=response.model_version,
        )
