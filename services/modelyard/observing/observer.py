"""One version's Observer, and Observing, which has what all of them share."""

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from modelyard.drift.make import prediction_of
from modelyard.drift.reference import Reference, answers_of
from modelyard.drift_metrics import feedback_by_result
from modelyard.errors import InvalidInput
from modelyard.observing.drift_watch import DriftWatch, series_of
from modelyard.observing.events import FEEDBACK, REFUSED, REQUEST, RESPONSE, Entry, copies_of, new_id
from modelyard.observing.payload_log import PayloadLog
from modelyard.observing.predictions import Judged, Predictions
from modelyard.observing.sinks import sink_of
from modelyard.repository import LoadedVersion
from modelyard.settings import Settings
from modelyard.spec import ModelSpec
from modelyard.tensors import InferRequest, InferResponse

log = logging.getLogger("modelyard.observing")

Watching = Callable[[], DriftWatch | None]

MOST_SERIES = 2000
"""Of a process. Drift has what the rest of it leaves."""
OF_PROCESS, OF_MODEL, OF_VERSION = 150, 150, 77
"""Series that are there whether drift is watched or not."""
SILENT_SECONDS = 60.0
"""After a line about an answer that could not be observed: the same fault may come with every request."""
MEMBER = "ensemble"
"""The protocol of requests that an ensemble asks of its members: whoever asked the ensemble is noted there."""


class Observing:
    """What all observers of a process share."""

    def __init__(self, settings: Settings, models: int, folder: Path | None = None) -> None:
        """`models`: how many there are, members too. `folder`: of the workers.

        Raises ConfigurationError for a payload log that cannot be written.
        """
        self._drift = settings.drift
        versions = models * settings.loaded_versions
        self._room = MOST_SERIES - OF_PROCESS - models * OF_MODEL - versions * OF_VERSION
        self._share = self._room // versions
        self._series: dict[tuple[str, str], int] = {}
        self._labelled: set[str] = set()
        self._observers: list[Observer] = []
        most = settings.feedback_requests
        self._predictions = Predictions(most, folder / "answers.sqlite" if folder else None) if most else None
        sink = sink_of(settings.payload_log, settings.payload_bytes)
        source = f"http://{socket.gethostname()}:{settings.http_port}/"
        namespace = os.environ.get("POD_NAMESPACE", "default")
        self._payloads = PayloadLog(sink, settings.payload_sample, source, namespace) if sink else None

    def of(self, loaded: LoadedVersion) -> "Observer | None":
        """The observer of a version; None where there is nothing to observe."""
        spec, version = loaded.public, loaded.version
        predictions = self._predictions
        found = prediction_of(spec) if predictions else None
        if found is None or found[1] == "value":
            predictions = None
        else:
            self._labelled.add(spec.name)
            feedback_by_result(spec.name, version)
        watching = self._watching(loaded)
        if watching is None and predictions is None and self._payloads is None:
            return None
        observer = Observer(spec, version, watching, predictions, self._payloads, self)
        self._observers.append(observer)
        return observer

    def settle(self) -> None:
        """Now and then, and before anybody looks."""
        for observer in self._observers:
            observer.settle()
        if self._predictions is not None:
            self._predictions.settle()
        if self._payloads is not None:
            self._payloads.settle()

    async def feedback(self, model: str, version: str, tenant: str, request_id: str, truth: list[int]) -> Judged:
        """Count what the true values make of an answer. `model`, `version`: whom a value counts for that fits nothing.

        Raises NotFound for an unknown id, InvalidInput for a model whose answers are no classes.
        """
        if self._predictions is None:
            raise InvalidInput("feedback is off: MODELYARD_FEEDBACK_REQUESTS is 0", "value")
        if model not in self._labelled:
            raise InvalidInput(f"'{model}' answers with no classes: nothing can be right or wrong about it", "value")
        try:
            judged = await self._predictions.judge(tenant, request_id, truth)
        except InvalidInput:
            raise
        except Exception:
            feedback_by_result(model, version)["unknown"].inc()
            raise
        if not judged.repeated:
            results = feedback_by_result(judged.model, judged.version)
            results["correct"].inc(judged.correct)
            results["wrong"].inc(len(judged.answers) - judged.correct)
            if self._payloads is not None:
                more = {"request_id": request_id, "value": judged.truth, "predicted": judged.answers}
                self._payloads.add(Entry(FEEDBACK, request_id, judged.model, judged.version, "http", more=more))
        return judged

    def let_go(self, observer: "Observer", model: str, version: str) -> None:
        self._observers.remove(observer)
        self._series.pop((model, version), None)

    async def close(self) -> None:
        if self._payloads is not None:
            await asyncio.to_thread(self._payloads.close)
            self._payloads.settle()
        if self._predictions is not None:
            await asyncio.to_thread(self._predictions.close)

    def _watching(self, loaded: LoadedVersion) -> Watching | None:
        """The version's DriftWatch, for its first answer.

        Made now where every version that may be loaded would find room for as much; else when it is asked for, so that
        the room is for the versions that are in use.
        """
        spec, reference = loaded.public, loaded.reference
        if not (self._drift and spec.drift.enabled and reference):
            return None
        series = series_of(reference)
        if series > self._share:
            return partial(self._made, spec, loaded.version, reference, series)
        watch = self._made(spec, loaded.version, reference, series)
        return (lambda: watch) if watch else None

    def _made(self, spec: ModelSpec, version: str, reference: Reference, series: int) -> DriftWatch | None:
        if sum(self._series.values()) + series > self._room:
            log.warning("%s version %s: drift is not watched: %d series are enough", spec.name, version, MOST_SERIES)
            return None
        try:
            watch = DriftWatch(spec, version, reference)
        except Exception as error:
            log.warning("%s version %s: drift is not watched: %s", spec.name, version, error)
            return None
        self._series[spec.name, version] = series
        return watch


class Observer:
    """Of one version. Called in the event loop, when the answer is on its way; it raises nothing."""

    def __init__(
        self,
        spec: ModelSpec,
        version: str,
        watching: Watching | None,
        predictions: Predictions | None,
        payloads: PayloadLog | None,
        observing: Observing,
    ) -> None:
        self._spec, self._version = spec, version
        self._watching, self._predictions, self._payloads = watching, predictions, payloads
        self._watch: DriftWatch | None = None
        self._observing = observing
        self._silent_until = 0.0
        found = prediction_of(spec)
        self._output, self._kind = (found[0].name, found[1]) if found else ("", "label")
        hidden = spec.drift.redact
        tensors = (*spec.inputs, *spec.outputs)
        self._redacted = frozenset(hidden if hidden is not None else [t.name for t in tensors if t.datatype == "BYTES"])

    def answered(self, request: InferRequest, response: InferResponse, tenant: str) -> None:
        """`request` was answered with `response`."""
        try:
            if self._watching is not None:
                self._watch, self._watching = self._watching(), None
            if self._watch is not None:
                self._watch.take(request, response)
            if request.id and self._predictions is not None:
                self._remember(request, response, tenant)
            if self._payloads is not None and request.protocol != MEMBER and self._payloads.wanted():
                self._log(request, response)
        except Exception as error:  # a fault of ours is none of the request's, and the next one may be fine
            self._missed(error)

    def refused(self, protocol: str, reason: str) -> None:
        """A request was refused for what it carries."""
        if self._payloads is not None and self._payloads.wanted():
            self._payloads.add(
                Entry(REFUSED, new_id(), self._spec.name, self._version, protocol, more={"reason": reason})
            )

    def settle(self) -> None:
        try:
            if self._watch is not None:
                self._watch.settle()
        except Exception as error:  # what is left unsettled would pile up
            log.error("%s version %s: drift is watched no more", self._spec.name, self._version, exc_info=error)
            self._watch = None

    def close(self) -> None:
        self.settle()
        self._observing.let_go(self, self._spec.name, self._version)

    def _missed(self, error: Exception) -> None:
        now = time.monotonic()
        if now >= self._silent_until:
            self._silent_until = now + SILENT_SECONDS
            log.error("%s version %s: an answer was not observed", self._spec.name, self._version, exc_info=error)

    def _remember(self, request: InferRequest, response: InferResponse, tenant: str) -> None:
        for tensor in response.outputs:
            if tensor.name == self._output and self._predictions is not None:
                array = tensor.array if self._spec.batched else tensor.array[None]
                answers, _ = answers_of(self._kind, array)
                self._predictions.remember(tenant, request.id, self._spec.name, self._version, answers.tolist())

    def _log(self, request: InferRequest, response: InferResponse) -> None:
        if self._payloads is None:
            return
        known = request.id or new_id()
        about = (known, self._spec.name, self._version, request.protocol)
        self._payloads.add(Entry(REQUEST, *about, copies_of(request.inputs, self._redacted)))
        parameters = {"parameters": dict(response.parameters)}
        self._payloads.add(Entry(RESPONSE, *about, copies_of(response.outputs, self._redacted), parameters))
