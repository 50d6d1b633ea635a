"""The files that `modelyard new` writes, as templates: `$name` is filled in, `$$` is a dollar."""

from string import Template

PACKAGE = Template('''"""The service of the model `$model`: its typed API."""
''')

API = Template('''"""What callers of `$model` send and get.

Inputs and outputs are checked by name, type and shape. Made from the model's own tensors; from here on it is yours:
name what the numbers mean, and refuse what cannot be.
"""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from modelyard.nested import to_array, to_lists
from modelyard.tensors import Array, InferResponse

INPUTS: dict[str, tuple[str, tuple[int, ...]]] = {
$table
}
"""Datatype and shape by the model's own names, in the order of the fields below; -1 may vary."""


class Inputs(BaseModel):
    """Each input as nested lists."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

$inputs

    def arrays(self) -> dict[str, Array]:
        """By the model's own names. Raises InvalidInput, naming the input, for a wrong shape or number."""
        fields = zip(INPUTS, type(self).model_fields, strict=True)
        return {name: to_array(getattr(self, field), *INPUTS[name], name) for name, field in fields}


class Outputs(BaseModel):
    """Each output as nested lists; null where the model gives no number."""

    model_config = ConfigDict(serialize_by_alias=True)

$outputs

    @classmethod
    def of(cls, response: InferResponse) -> Self:
        """The answer of the model, as callers get it."""
        outputs = {tensor.name: to_lists(tensor.array, tensor.datatype) for tensor in response.outputs}
        about = {$cache: response.parameters["cache"], $version: response.model_version}
        return cls.model_validate(outputs | about)
''')

SERVICE = Template('''"""The service of `$model`: POST /infer beside the protocol."""

import bentoml

$imports


@service("$model")
class $class_name(ModelService):
    """The model `$model`."""

    @bentoml.api(route="/infer")  # type: ignore[untyped-decorator]  # untyped library
    async def infer_rows(self, inputs: Inputs, /) -> Outputs:
        """Run the model.

        $what
        """
        return Outputs.of(await self.infer(inputs.arrays()))
''')

TEST = Template('''"""Every way to ask `$model` gives its golden answers."""

from __future__ import annotations

$head

MODEL = "$model"
REPOSITORY = Path(__file__).resolve().parents[2] / "$repository"
VERSIONS = REPOSITORY / MODEL / "versions"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """The service."""
    with serve(REPOSITORY, MODEL) as running:
        yield running


@pytest.fixture(scope="module")
def golden(server: Server) -> Golden:
    """Of the version that answers: rows, and the answers it gave when it was published."""
    some = sorted(VERSIONS.glob("*/golden.json"))
    assert some, f"{VERSIONS} holds no version with golden rows: bring one with `modelyard import`"
    version = ask(server, arrays(read_golden(some[-1]).inputs)).version
    return read_golden(VERSIONS / version / "golden.json")


def arrays(tensors: list[Tensor]) -> dict[str, Array]:
    return {tensor.name: tensor.array for tensor in tensors}


def check(outputs: dict[str, Array], golden: Golden) -> None:
    """The outputs are those that the version was published with; none is kept of a model that draws lots."""
    for tensor in golden.outputs:
        if tensor.datatype.startswith("FP"):
            np.testing.assert_allclose(outputs[tensor.name], tensor.array, rtol=1e-2, atol=1e-3)
        else:
            np.testing.assert_array_equal(outputs[tensor.name], tensor.array)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_inference_protocol_gives_the_golden_answers(server: Server, golden: Golden, protocol: str) -> None:
    check(ask(server, arrays(golden.inputs), protocol).outputs, golden)
$typed''')

TYPED_TEST = Template("""

def test_the_typed_api_gives_the_golden_answers(server: Server, golden: Golden) -> None:
    status, answer = typed(server, {t.name: to_lists(t.array, t.datatype) for t in golden.inputs})
    assert status == 200, answer
    assert answer[$version] in {path.name for path in VERSIONS.iterdir()}
    check({t.name: to_array(answer[t.name], t.datatype, t.shape, t.name) for t in golden.outputs}, golden)


@pytest.mark.parametrize("change", ["missing", "unknown"])
def test_wrong_input_is_refused_by_name(server: Server, golden: Golden, change: str) -> None:
    body = {t.name: to_lists(t.array, t.datatype) for t in golden.inputs}
    name = golden.inputs[0].name if change == "missing" else "nobody_knows_this"
    if change == "missing":
        del body[name]
    else:
        body[name] = 1
    status, answer = typed(server, body)
    assert status == 400, answer
    assert name in answer["error"]
""")

CHECKOUT_TYPED = Template("""

def typed(server: Server, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    reply = httpx.post(f"{server.url}/infer", json=body, timeout=60)
    return reply.status_code, reply.json()
""")

PLAIN_TYPED = Template("""

def typed(server: Server, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    return ask_typed(server, "/infer", body)
""")

README = Template("""# $model

$description

| | |
|---|---|
$tensors

## What is known

$known

$batching

## Data

To be written: which rows it was trained on, where they come from, which were held out.

## Quality

To be written: how good it is, by which measure, on which held-out rows, beside which simple baseline.

## Limits

To be written: on which inputs it is wrong, and what it must not be used for.

## A new version

    modelyard import FILE --name $model$trust

The new version has to have the inputs and outputs of `model.yaml`; `modelyard check $model` compares it with the one
that serves, `modelyard promote $model VERSION` serves it.
""")

DEPLOY = Template("""# `$model` on Kubernetes: what differs from the base that all services share.
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
  - ../../base/service
namePrefix: $label-
labels:
  - pairs:
      app.kubernetes.io/name: "$label"
    includeSelectors: true
images:
  - name: modelyard
    newName: modelyard-$label
    newTag: "$version"
configMapGenerator:
  - name: settings
    behavior: merge
    literals:
      - MODELYARD_MODEL=$model
""")
