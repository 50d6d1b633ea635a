"""ModelSpec: what model.yaml says of a model, checked when it is read.

Every complaint names the file, the line and the key: an unknown key is an error, never ignored.
"""

import difflib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from modelyard.bounds import Bounded, check_tensor_bounds
from modelyard.buckets import REQUEST_BUCKETS
from modelyard.drift_spec import DriftSpec, check_drift
from modelyard.errors import ConfigurationError
from modelyard.tensors import DTYPES, MAX_RANK
from modelyard.yaml_lines import Place, fault, parse

MODEL_YAML = "model.yaml"
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
BackendName = Literal["tensorrt", "onnxruntime-cuda", "onnxruntime-cpu"]
Precision = Literal["fp32", "fp16", "int8"]
Path_ = tuple[str | int, ...]
Dimensions = Annotated[tuple[Annotated[int, Field(ge=1, lt=2**31)], ...], Field(max_length=MAX_RANK)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TensorSpec(Bounded):
    """One input or output. -1 in `shape` is a dimension that may vary."""

    name: str = Field(min_length=1, max_length=512)
    datatype: str
    shape: tuple[Annotated[int, Field(ge=-1, lt=2**31)], ...] = Field(max_length=MAX_RANK)

    @field_validator("datatype")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in DTYPES:
            raise ValueError(f"'{value}' is no datatype; use one of {', '.join(DTYPES)}")
        return value


class ToleranceSpec(_Part):
    """How far a backend's answers may lie from ONNX Runtime's on the golden inputs: |a - b| <= atol + rtol * |b|."""

    rtol: float = Field(ge=0, allow_inf_nan=False)
    atol: float = Field(ge=0, allow_inf_nan=False)


class ShapeRange(_Part):
    """Sizes of an input's dimensions after the batch that an engine is built for, from least to most."""

    min: Dimensions
    opt: Dimensions
    max: Dimensions

    @model_validator(mode="after")
    def _rising(self) -> "ShapeRange":
        if not len(self.min) == len(self.opt) == len(self.max):
            raise ValueError("min, opt and max have different numbers of dimensions")
        if any(not low <= best <= high for low, best, high in zip(self.min, self.opt, self.max, strict=True)):
            raise ValueError("min <= opt <= max does not hold in every dimension")
        return self


class BackendSpec(_Part):
    """A link of the chain. What stands below `tolerance` is for tensorrt alone."""

    name: BackendName
    precision: Precision = "fp32"
    tolerance: ToleranceSpec | None = None
    """None: what is usual for the precision."""
    shapes: dict[str, ShapeRange] = {}
    """Of the inputs that have free dimensions beside the batch."""
    workspace_mib: int = Field(2048, ge=1, le=2**20)
    build_seconds: float = Field(1800.0, gt=0, le=86_400, allow_inf_nan=False)
    lanes: int = Field(2, ge=1, le=64)
    """Batches on the device at once."""


class BatchingSpec(_Part):
    """`max_batch_size` is what callers rely on: the most rows of one request, and of requests that are merged; 0 says
    that the model has no batch dimension and each request runs alone. `merge_rows` and `executors` are found by
    measuring (`modelyard tune`): they change how fast requests are answered, never which are accepted.
    """

    max_batch_size: int = Field(32, ge=0, le=65536)
    merge_rows: int = Field(0, ge=0, le=65536)
    """Rows up to which requests are merged into one run; a larger request runs alone. 0: max_batch_size."""
    max_queue_delay_ms: float = Field(0.0, ge=0, le=10_000, allow_inf_nan=False)
    executors: int = Field(0, ge=0, le=256)
    """Runs of this model at once, a thread for each; 0: as many as the server has threads, which is also the most."""
    buckets: tuple[Annotated[int, Field(ge=1)], ...] = ()

    @model_validator(mode="after")
    def _within(self) -> "BatchingSpec":
        if self.merge_rows > self.max_batch_size:
            raise ValueError(f"merge_rows {self.merge_rows} is above max_batch_size {self.max_batch_size}")
        return self


class CacheSpec(_Part):
    enabled: bool = True
    ttl_seconds: float = Field(3600.0, gt=0, le=10 * 365 * 86400, allow_inf_nan=False)
    tiers: tuple[Literal["memory", "redis"], ...] = ("memory", "redis")


class LimitsSpec(_Part):
    """`queue_seconds`: longest estimated wait that is accepted.

    `deadline_seconds`: the longest time that a request may take, whatever its caller names, and that of one who names
    none: what is open holds memory, and a stop waits for it.
    """

    queue_seconds: float = Field(5.0, gt=0, allow_inf_nan=False)
    deadline_seconds: float = Field(30.0, gt=0, allow_inf_nan=False)


class QualitySpec(_Part):
    """How good a version is, on held-out rows: a faster variant (`modelyard optimize`) is held to it."""

    output: str
    measure: Literal["top1", "recall_at_10", "cosine"]
    loss: float = Field(0.01, ge=0, le=1, allow_inf_nan=False)
    """How much of its parent's quality a variant may lose."""
    agreement: float = Field(0.99, ge=0, le=1, allow_inf_nan=False)
    """Of its answers with its parent's, at least."""


class ObjectivesSpec(_Part):
    """What the model's callers are promised; the alerts of monitoring/ measure by it."""

    availability: float = Field(0.999, gt=0, lt=1)
    """Share of the requests that are answered: errors, timeouts and refusals under load count against it."""
    latency: float = Field(0.99, gt=0, lt=1)
    """Share of the answers within `latency_seconds`."""
    latency_seconds: float = 0.25

    @field_validator("latency_seconds")
    @classmethod
    def _measurable(cls, value: float) -> float:
        if value not in REQUEST_BUCKETS:
            raise ValueError(f"{value:g} cannot be measured; use one of {', '.join(f'{b:g}' for b in REQUEST_BUCKETS)}")
        return value


class MemberSpec(_Part):
    """A model that an ensemble asks: its inputs from the ensemble's, its outputs to those of the vote, by names."""

    model: Name
    inputs: dict[str, str] = Field(min_length=1)
    outputs: dict[str, str] = Field(min_length=1)


class ModelSpec(_Part):
    name: Name
    description: str = ""
    service: str | None = Field(None, pattern=r"^[\w.]+:\w+$")
    """module:attribute of the BentoML service with the typed API; none: the inference protocol alone is served."""
    inputs: tuple[TensorSpec, ...] = Field(min_length=1)
    outputs: tuple[TensorSpec, ...] = Field(min_length=1)
    backends: tuple[BackendSpec, ...] = Field(
        (BackendSpec(name="tensorrt"), BackendSpec(name="onnxruntime-cuda"), BackendSpec(name="onnxruntime-cpu")),
        min_length=1,
    )
    minimum_backend: BackendName | None = None
    """The model is not ready while it runs on a later backend than this one."""
    batching: BatchingSpec = BatchingSpec()
    cache: CacheSpec = CacheSpec()
    limits: LimitsSpec = LimitsSpec()
    objectives: ObjectivesSpec = ObjectivesSpec()
    quality: QualitySpec | None = None
    drift: DriftSpec = DriftSpec()
    ensemble: tuple[MemberSpec, ...] = ()
    """The file of such a model (the vote) takes its members' outputs (members.py); `inputs` are what callers send."""

    @model_validator(mode="after")
    def _consistent(self) -> "ModelSpec":
        for what, tensors in (("input", self.inputs), ("output", self.outputs)):
            names = [tensor.name for tensor in tensors]
            if len(set(names)) != len(names):
                raise ValueError(f"an {what} name stands twice: {names}")
            for tensor in tensors:
                if self.batched and (not tensor.shape or tensor.shape[0] != -1):
                    raise ValueError(
                        f"{what} '{tensor.name}' has shape {list(tensor.shape)}: with batching the first dimension "
                        "is the batch, -1 (or set batching.max_batch_size to 0)"
                    )
        check_tensor_bounds({t.name: (t.datatype, t) for t in self.inputs}, {t.name: t for t in self.outputs})
        self._check_backends()
        self._check_members()
        rows = [{t.name: t.shape[int(self.batched) :] for t in tensors} for tensors in (self.inputs, self.outputs)]
        check_drift(self.drift, *rows)
        if self.minimum_backend and self.minimum_backend not in [backend.name for backend in self.backends]:
            raise ValueError(f"minimum_backend {self.minimum_backend} is not among the backends")
        if self.quality and self.quality.output not in [tensor.name for tensor in self.outputs]:
            raise ValueError(f"quality: there is no output '{self.quality.output}'")
        return self

    def _check_backends(self) -> None:
        names = [backend.name for backend in self.backends]
        if len(set(names)) != len(names):
            raise ValueError(f"a backend stands twice: {names}")
        if "onnxruntime-cpu" in names and "tensorrt" in names[names.index("onnxruntime-cpu") :]:
            raise ValueError("tensorrt after onnxruntime-cpu would never be used: put it first")
        if names[-1] == "tensorrt":
            raise ValueError("tensorrt needs an ONNX Runtime backend after it: it serves while the engine is built")
        ranks = {tensor.name: len(tensor.shape) - self.batched for tensor in self.inputs}
        for backend in self.backends:
            for name, sizes in backend.shapes.items():
                if len(sizes.min) != ranks.get(name) and not self.ensemble:  # of an ensemble they are the vote's inputs
                    raise ValueError(
                        f"backends: shapes of '{name}' have {len(sizes.min)} dimensions: an input of that name with "
                        "so many dimensions (the batch apart) does not exist"
                    )

    def _check_members(self) -> None:
        if not self.ensemble:
            return
        known = {tensor.name for tensor in self.inputs}
        taken = {name for member in self.ensemble for name in member.inputs.values()}
        given = [name for member in self.ensemble for name in member.outputs.values()]
        if self.name in [member.model for member in self.ensemble]:
            raise ValueError(f"ensemble: '{self.name}' cannot be a member of itself")
        if taken != known:
            name = min(taken ^ known)
            raise ValueError(f"ensemble: {'no member takes' if name in known else 'there is no'} input '{name}'")
        if len(set(given)) != len(given):
            raise ValueError(f"ensemble: two outputs go by the same name: {given}")

    @property
    def batched(self) -> bool:
        return self.batching.max_batch_size > 0


def read_spec(model_dir: Path) -> ModelSpec:
    """The spec of a model folder. Raises ConfigurationError with a line for every fault."""
    path = model_dir / MODEL_YAML
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigurationError(f"there is no model '{model_dir.name}': {path} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} could not be read: {error}") from None
    spec = parse_spec(text, str(path))
    if spec.name != model_dir.name:
        raise ConfigurationError(f"{path}: name is '{spec.name}', the folder is called '{model_dir.name}'")
    return spec


def parse_spec(text: str, source: str = MODEL_YAML) -> ModelSpec:
    """Parse the text of a model.yaml; `source` is how complaints name it."""
    document, lines = parse(text, source)
    try:
        return ModelSpec.model_validate(document)
    except ValidationError as error:
        faults = [fault(source, lines, dict(e), _suggestion) for e in error.errors(include_url=False)]
        raise ConfigurationError("\n".join(faults)) from None


_PARTS: dict[str, type[BaseModel]] = {
    "inputs": TensorSpec,
    "outputs": TensorSpec,
    "backends": BackendSpec,
    "batching": BatchingSpec,
    "cache": CacheSpec,
    "limits": LimitsSpec,
    "objectives": ObjectivesSpec,
    "quality": QualitySpec,
    "drift": DriftSpec,
    "ensemble": MemberSpec,
}


def _suggestion(key: str, place: Place) -> str:
    part = _PARTS.get(str(place[0]), ModelSpec) if len(place) > 1 else ModelSpec
    near = difflib.get_close_matches(key, list(part.model_fields), 1)
    return f"; did you mean '{near[0]}'?" if near else f"; known are {', '.join(part.model_fields)}"
