"""The path of one version of an ensemble: its members side by side, then its own file (the vote) on their outputs.

Ensemble.submit           in the event loop, by callbacks, as Pipeline.submit
    check_inputs          refuse what the ensemble cannot take
    Pipeline.submit       of each member's default version, looked up now: a swap is followed; every member has its own
                          admission, cache, batcher and metrics
    Pipeline.submit       of the vote, when all members have answered
    respond               now or later, once: what the vote says, or the first failure, which cancels the rest
"""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TypeAlias

from modelyard import members, metrics
from modelyard.auth import ANONYMOUS
from modelyard.backends.base import DeviceLost
from modelyard.call import Call
from modelyard.deadlines import Deadlines
from modelyard.errors import BackendError, ConfigurationError, InvalidInput, ModelNotReady, ModelyardError, NotFound
from modelyard.failures import as_answer
from modelyard.observing.observer import Observer
from modelyard.pipeline import Pipeline, Respond, Shared
from modelyard.repository import LoadedVersion
from modelyard.spec import ModelSpec
from modelyard.tensors import InferRequest, InferResponse, Tensor
from modelyard.validate import check_inputs, check_outputs

log = logging.getLogger("modelyard.ensemble")

Target: TypeAlias = "Pipeline | Ensemble"
"""What answers the requests to one version of a model."""
Find: TypeAlias = Callable[[str], Target]
"""A model's default version, as it is now. Raises NotFound or ModelNotReady."""

PROTOCOL = "ensemble"
"""Over which a member was asked, in its metrics."""


def build(loaded: LoadedVersion, shared: Shared, find: Find) -> Target:
    """The path of a loaded version: that of its own file, and around it the ensemble's where model.yaml has members."""
    own = Pipeline(loaded, shared)
    target = Ensemble(loaded.public, own, find) if loaded.public.ensemble else own
    target.observer = shared.observing.of(loaded) if shared.observing else None
    return target


class Ensemble:
    """To the dataplane the same as a Pipeline."""

    def __init__(self, spec: ModelSpec, vote: Pipeline, find: Find) -> None:
        self.spec = spec
        self.vote = vote
        self.version = vote.version
        self.manifest = vote.manifest
        self.artifact = vote.artifact
        self.chain = vote.chain
        self.statistics = vote.statistics
        self.ledger = vote.ledger
        self.upgrade = vote.upgrade
        self.observer: Observer | None = None
        self._find = find
        self._places = {tensor.name: place for place, tensor in enumerate(spec.inputs)}
        self._fitting: list[ModelSpec | None] = [None] * len(spec.ensemble)
        """The spec with which each member was last seen to fit."""
        self._deadlines = Deadlines()
        self._in_flight = metrics.of_model(spec.name, self.version).in_flight
        self._ready = metrics.model_ready.labels(spec.name, self.version)
        self._closed = False

    @property
    def ready(self) -> bool:
        try:
            return self.vote.ready and all(self.member(place).ready for place in range(len(self.spec.ensemble)))
        except ModelNotReady:
            return False

    def submit(self, request: InferRequest, respond: Respond) -> Call[InferResponse]:
        """Answer a request by calling `respond` once, now or later. Raises ModelyardErrors for what is refused."""
        inputs, _ = check_inputs(self.spec, request.inputs)
        if request.outputs:
            check_outputs(self.spec, request.outputs)
        call: Call[InferResponse] = Call(self._deadlines, self.vote.limit(request), respond)
        _Round(self, request, call).begin(inputs)
        return call

    def member(self, place: int) -> Target:
        """The pipeline of a member as it is now. Raises ModelNotReady when there is none, or none that fits."""
        member = self.spec.ensemble[place]
        try:
            target = self._find(member.model)
        except (NotFound, ModelNotReady) as error:
            raise ModelNotReady(f"'{self.spec.name}' is not ready: {error}") from None
        if target.spec is not self._fitting[place]:
            self._check(place, target)
            self._fitting[place] = target.spec
        return target

    def request_of(self, place: int, target: Target, inputs: Sequence[Tensor], request: InferRequest) -> InferRequest:
        """What a member is asked; as much of what it gives as the vote wants."""
        member = self.spec.ensemble[place]
        tensors = [_named(name, inputs[self._places[own]]) for name, own in member.inputs.items()]
        every = len(member.outputs) == len(target.spec.outputs)  # asked as everybody asks: the rows share their key
        return InferRequest(
            member.model,
            tensors,
            outputs=() if every else tuple(member.outputs),
            parameters=request.parameters,
            priority=request.priority,
            cached=request.cached,
            protocol=PROTOCOL,
        )

    def admit_unseen(self, nbytes: int, *, urgent: bool = True) -> None:
        """Refuse a request before it is decoded when a member or the vote would. Raises ModelyardErrors."""
        for place in range(len(self.spec.ensemble)):
            self.member(place).admit_unseen(nbytes, urgent=urgent)
        self.vote.admit_unseen(nbytes, urgent=urgent)

    def settle(self) -> None:
        """As Pipeline.settle; open are the whole's requests, and it is as ready as the least of its parts."""
        self.vote.settle()
        self._in_flight.set(len(self._deadlines))
        self._ready.set(self.ready and not self._closed)

    def abandon(self) -> None:
        """Nothing can run any more: what is open is answered so."""
        self._deadlines.end_all(as_answer(DeviceLost(self.chain.lost), self.spec.name, self.version))
        self.vote.abandon()

    async def close(self) -> None:
        """Answer what is in flight, then let go of the vote; the members are somebody else's."""
        await self._deadlines.empty()
        self._closed = True
        if self.observer is not None:
            self.observer.close()
        await self.vote.close()

    def _check(self, place: int, target: Target) -> None:
        """Hold a member that was not seen before to what the vote takes. Raises ModelNotReady."""
        member = self.spec.ensemble[place]
        wanted = {tensor.name: (tensor.datatype, tensor.shape) for tensor in self.vote.spec.inputs}
        try:
            given = members.member_outputs(self.spec, member, target.spec)
            for tensor in given:
                if wanted[tensor.name] != (tensor.datatype, tensor.shape):
                    raise ConfigurationError(
                        f"'{tensor.name}' comes as {tensor.datatype} {list(tensor.shape)} from '{member.model}', "
                        f"and {wanted[tensor.name][0]} {list(wanted[tensor.name][1])} is wanted"
                    )
        except ConfigurationError as error:
            version = f"version {target.version} of '{member.model}'"
            raise ModelNotReady(f"'{self.spec.name}' is not ready: {version} does not fit: {error}") from None


class _Round:
    """One request to an ensemble, until it is answered."""

    __slots__ = ("_answers", "_call", "_ensemble", "_open", "_request", "_started", "_waiting")

    def __init__(self, ensemble: Ensemble, request: InferRequest, call: Call[InferResponse]) -> None:
        self._ensemble, self._request, self._call = ensemble, request, call
        self._started = time.perf_counter()
        self._waiting = len(ensemble.spec.ensemble)
        self._answers: list[InferResponse | None] = [None] * self._waiting
        self._open: list[Call[InferResponse]] = []
        """What is under way. Emptied at the end: each leads back here, and memory must not wait for the collector."""

    def begin(self, inputs: Sequence[Tensor]) -> None:
        self._call.left = self.leave
        try:
            targets = [self._ensemble.member(place) for place in range(self._waiting)]
            for place, target in enumerate(targets):
                if not self._call.open:
                    return
                self._ask(place, target, self._ensemble.request_of(place, target, inputs, self._request))
        except Exception as error:
            self._fail(error)

    def leave(self) -> None:
        """Nobody waits any more: neither need the parts."""
        under_way, self._open = self._open, []
        for part in under_way:
            part.cancel()

    def _ask(self, place: int, target: Target, request: InferRequest) -> None:
        """A member's part, counted there as every request is."""
        started = time.perf_counter()
        request.timeout = self._left()

        def answered(outcome: InferResponse | Exception) -> None:
            seconds = time.perf_counter() - started
            if isinstance(outcome, ModelyardError):
                target.ledger.failed(PROTOCOL, outcome.outcome, seconds)
                self._fail(outcome.of(f"member '{request.model_name}'"))
            elif isinstance(outcome, Exception):
                target.ledger.failed(PROTOCOL, "error", seconds)
                self._fail(outcome)
            else:
                target.ledger.answered(PROTOCOL, seconds, 0.0, 0.0)
                self._collect(place, outcome)
                if target.observer is not None:
                    target.observer.answered(request, outcome, ANONYMOUS)

        try:
            self._keep(target.submit(request, answered))
        except Exception as error:
            answered(error)

    def _collect(self, place: int, answer: InferResponse) -> None:
        if not self._call.open:
            return
        self._answers[place] = answer
        self._waiting -= 1
        if not self._waiting:
            try:
                self._vote([answer for answer in self._answers if answer is not None])
            except Exception as error:
                self._fail(error)

    def _vote(self, answers: list[InferResponse]) -> None:
        spec, request = self._ensemble.spec, self._request
        inputs: list[Tensor] = []
        for member, answer in zip(spec.ensemble, answers, strict=True):
            given = {tensor.name: tensor for tensor in answer.outputs}
            inputs += [_named(own, given[name]) for name, own in member.outputs.items()]
        asked = InferRequest(
            spec.name,
            inputs,
            id=request.id,
            outputs=request.outputs,
            parameters=request.parameters,
            timeout=self._left(),
            priority=request.priority,
            cached=request.cached,
            protocol=PROTOCOL,
        )
        self._keep(self._ensemble.vote.submit(asked, partial(self._voted, answers)))

    def _voted(self, answers: list[InferResponse], outcome: InferResponse | Exception) -> None:
        if isinstance(outcome, Exception):
            self._fail(outcome)
            return
        parts = [answer.parameters for answer in answers]
        backends = [*(part["backend"] for part in parts), outcome.parameters["backend"]]
        outcome.parameters = {
            "cache": cache_word(str(part["cache"]) for part in parts),
            "backend": ",".join(dict.fromkeys(map(str, backends))),
            "members": ",".join(f"{answer.model_name}:{answer.model_version}" for answer in answers),
        }
        self._open.clear()
        self._call.end(outcome)

    def _fail(self, error: Exception) -> None:
        """End the whole, and what is still under way for it."""
        if not self._call.open:
            return
        name = self._ensemble.spec.name
        if isinstance(error, InvalidInput) and not self._waiting:
            # the caller's input was good: the members and the vote do not fit
            log.error("%s version %s failed: %s", name, self._ensemble.version, error)
            error = BackendError(name)
        self._call.end(as_answer(error, name, self._ensemble.version))
        self.leave()

    def _keep(self, part: Call[InferResponse]) -> None:
        """Remember what is under way, to cancel it with the whole."""
        self._open.append(part)
        if not self._call.open:
            self.leave()

    def _left(self) -> float:
        """Seconds until the whole's deadline."""
        return self._call.limit - (time.perf_counter() - self._started)


def cache_word(words: Iterable[str]) -> str:
    """One word for the whole, of those of its members: what they all say, or `partial` where some rows were known."""
    kinds = set(words)
    if len(kinds) == 1:
        return kinds.pop()
    if kinds <= {"hit", "join"}:
        return "join"
    return "miss" if kinds <= {"miss", "bypass"} else "partial"


def _named(name: str, tensor: Tensor) -> Tensor:
    return tensor if tensor.name == name else Tensor(name, tensor.datatype, tensor.array)
