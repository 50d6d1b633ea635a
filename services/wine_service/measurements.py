"""What callers send and get: 13 named measurements in, a cultivar with probabilities out.

Each measurement has a range: that of the data which the forest was grown on, widened by half of its extent on both
sides. Beyond it the forest would answer as if the wine lay at the edge, with no sign that it had never seen the like.
"""

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from modelyard.tensors import Array


def _between(low: float, high: float, description: str) -> Any:
    """A number (no text, no truth value, no NaN) from `low` to `high`."""
    return Field(ge=low, le=high, strict=True, allow_inf_nan=False, description=description)


class WineMeasurements(BaseModel):
    """The chemical analysis of one wine. The data set names no units; those said here are the customary ones."""

    model_config = ConfigDict(extra="forbid", title="WineMeasurements")

    alcohol: Annotated[float, _between(9, 17, "alcohol, % of the volume")]
    malic_acid: Annotated[float, _between(0, 8.5, "malic acid, g/l")]
    ash: Annotated[float, _between(0.4, 4.2, "ash, g/l")]
    alcalinity_of_ash: Annotated[float, _between(0.9, 40, "alkalinity of the ash, meq/l")]
    magnesium: Annotated[float, _between(24, 210, "magnesium, mg/l")]
    total_phenols: Annotated[float, _between(0, 5.4, "all phenols, as the data set has them")]
    flavanoids: Annotated[float, _between(0, 7.5, "flavonoids, as the data set has them")]
    nonflavanoid_phenols: Annotated[float, _between(0, 0.95, "phenols other than flavonoids, as the data set has them")]
    proanthocyanins: Annotated[float, _between(0, 5.2, "proanthocyanins, as the data set has them")]
    color_intensity: Annotated[float, _between(0, 19, "intensity of the colour, an absorbance")]
    hue: Annotated[float, _between(0, 2.4, "hue, a ratio of two absorbances")]
    od280_od315_of_diluted_wines: Annotated[
        float, _between(0, 5.4, "absorbance at 280 nm by that at 315 nm, of the diluted wine: a ratio")
    ]
    proline: Annotated[float, _between(0, 2400, "proline, mg/l")]

    def array(self) -> Array:
        """float32 [1, 13]: the fields in their order are the model's columns."""
        return np.array([[getattr(self, name) for name in type(self).model_fields]], np.float32)


class Cultivar(BaseModel):
    """What the model makes of a wine."""

    label: int = Field(ge=0, le=2, description="the most probable cultivar, 0 to 2")
    probabilities: list[float] = Field(description="the probability of each cultivar, 0 to 2")
    cache: Literal["hit", "join", "partial", "miss", "bypass"] = Field(description="whether the cache answered")
    model_version: str
