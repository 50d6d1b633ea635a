"""An ensemble of two members whose parts answer when, and as, a test says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from modelyard.call import Call
from modelyard.deadlines import Deadlines
from modelyard.ensemble import Ensemble
from modelyard.errors import NotFound
from modelyard.pipeline import Pipeline
from modelyard.spec import LimitsSpec, MemberSpec, ModelSpec, TensorSpec
from modelyard.tensors import InferRequest, InferResponse, Tensor

X = TensorSpec(name="x", datatype="FP32", shape=(-1, 2))
ROWS = np.array([[1, 2], [3, 4]], np.float32)


def tensor(name: str) -> TensorSpec:
    return X.model_copy(update={"name": name})


def spec_of(name: str, inputs: tuple[str, ...] = ("x",), outputs: tuple[str, ...] = ("y",)) -> ModelSpec:
    return ModelSpec(name=name, inputs=tuple(map(tensor, inputs)), outputs=tuple(map(tensor, outputs)))


WHOLE = spec_of("both", outputs=("sum",)).model_copy(
    update={
        "limits": LimitsSpec(deadline_seconds=20.0),
        "ensemble": (
            MemberSpec(model="a", inputs={"x": "x"}, outputs={"y": "from_a"}),
            MemberSpec(model="b", inputs={"in": "x"}, outputs={"z": "from_b"}),
        ),
    }
)


class Part:
    """A pipeline that answers when, and as, the test says."""

    def __init__(self, spec: ModelSpec, version: str, cache: str = "miss", backend: str = "cpu") -> None:
        self.spec, self.version, self.ready = spec, version, True
        self.chain = SimpleNamespace(lost="", active=SimpleNamespace(name=backend))
        self.manifest = self.artifact = self.statistics = self.upgrade = self.observer = None
        self.ledger = Ledger()
        self.asked: list[InferRequest] = []
        self.calls: list[Call[InferResponse]] = []
        self.at_once: InferResponse | Exception | None = None
        self.refuses: Exception | None = None
        self.unseen: list[tuple[int, bool]] = []
        self.closed = self.abandoned = False
        self._deadlines = Deadlines()
        self._parameters = {"cache": cache, "backend": backend}

    def limit(self, request: InferRequest) -> float:
        limit = self.spec.limits.deadline_seconds
        return limit if request.timeout is None else min(limit, request.timeout)

    def submit(self, request: InferRequest, respond: Callable[[Any], None]) -> Call[InferResponse]:
        if self.refuses is not None:
            raise self.refuses
        self.asked.append(request)
        call: Call[InferResponse] = Call(self._deadlines, 1000.0, respond)
        self.calls.append(call)
        if self.at_once is not None:
            call.end(self.at_once)
        return call

    def answer(self, array: Any = ROWS) -> InferResponse:
        outputs = [Tensor(output.name, "FP32", array) for output in self.spec.outputs]
        return InferResponse(self.spec.name, self.version, outputs, "", dict(self._parameters))

    def settle(self) -> None: ...

    def admit_unseen(self, nbytes: int, *, urgent: bool) -> None:
        self.unseen.append((nbytes, urgent))
        if self.refuses is not None:
            raise self.refuses

    def abandon(self) -> None:
        self.abandoned = True

    async def close(self) -> None:
        self.closed = True


class Ledger:
    """What was counted."""

    def __init__(self) -> None:
        self.outcomes: list[str] = []

    def answered(self, protocol: str, _seconds: float, decode_seconds: float, encode_seconds: float) -> None:
        assert (protocol, decode_seconds, encode_seconds) == ("ensemble", 0.0, 0.0)
        self.outcomes.append("ok")

    def failed(self, protocol: str, outcome: str, _seconds: float) -> None:
        assert protocol == "ensemble"
        self.outcomes.append(outcome)


class Both:
    """The ensemble of a (x -> y) and b (in -> z), and what came back."""

    def __init__(self) -> None:
        self.a = Part(spec_of("a"), "3", "hit", "gpu")
        self.b = Part(spec_of("b", ("in",), ("z", "more")), "1", "miss", "cpu")
        vote_spec = spec_of("both", ("from_a", "from_b"), ("sum",)).model_copy(update={"limits": WHOLE.limits})
        self.vote = Part(vote_spec, "7", "bypass", "cpu")
        self.served: dict[str, Part] = {"a": self.a, "b": self.b}
        self.ensemble = Ensemble(WHOLE, cast(Pipeline, self.vote), self._find)
        self.outcomes: list[InferResponse | Exception] = []
        self.answered = asyncio.Event()

    def submit(self, **more: Any) -> Call[InferResponse]:
        request = InferRequest("both", [Tensor("x", "FP32", ROWS)], **more)
        return self.ensemble.submit(request, self._respond)

    def vote_is_asked(self) -> InferRequest:
        self.a.calls[-1].end(self.a.answer())
        self.b.calls[-1].end(self.b.answer(ROWS * 10))
        return self.vote.asked[-1]

    def closed(self) -> list[Part]:
        return [part for part in (self.a, self.b, self.vote) if part.closed]

    @property
    def outcome(self) -> Any:
        (outcome,) = self.outcomes
        return outcome

    def _respond(self, outcome: InferResponse | Exception) -> None:
        self.outcomes.append(outcome)
        self.answered.set()

    def _find(self, name: str) -> Any:
        if name not in self.served:
            raise NotFound(f"Request for unknown model: '{name}' is not found")
        return self.served[name]
