"""What a version's own number format makes of the chain of backends that model.yaml describes.

model.yaml says in which precision a full-precision artifact runs. An artifact that is INT8 or FP16 already
(`modelyard optimize`) runs as it is on every link: none converts it once more, each is compared by the tolerance of
that format, and all that names a precision names the version's own.
"""

from modelyard.manifest import Manifest
from modelyard.spec import ModelSpec


def spec_of_version(spec: ModelSpec, manifest: Manifest) -> ModelSpec:
    """The spec by which this version is loaded: that of model.yaml for an FP32 version."""
    if manifest.precision == "fp32":
        return spec
    own = {"precision": manifest.precision, "tolerance": None}
    return spec.model_copy(update={"backends": tuple(backend.model_copy(update=own) for backend in spec.backends)})
