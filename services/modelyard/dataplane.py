"""What both protocols call: live, ready, metadata, infer, statistics, repository. It knows no wire.

A face converts, calls one of these, and converts back. Every method raises ModelyardErrors only, except `infer`, which
may also raise whatever went wrong inside: the faces turn that into 'internal error' and a request id.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

from modelyard import __version__, describe, exposition, meters, metrics
from modelyard.admission import Quota
from modelyard.auth import ANONYMOUS, Keys, current_tenant
from modelyard.call import Call, settle
from modelyard.ensemble import Target
from modelyard.errors import ConfigurationError, InvalidInput, ModelNotReady, ModelyardError, NotFound, PermissionDenied
from modelyard.manifest import version_order
from modelyard.observing.predictions import Judged
from modelyard.pipeline import Shared
from modelyard.reload import Loader
from modelyard.repository import LoadedModel
from modelyard.served import IndexEntry, ServedModel, State
from modelyard.tensors import InferRequest, InferResponse

__all__ = ["EXTENSIONS", "SERVER_NAME", "SERVER_VERSION", "DataPlane", "Target"]

log = logging.getLogger("modelyard.dataplane")

T = TypeVar("T")
SERVER_NAME = "modelyard"
SERVER_VERSION = __version__
EXTENSIONS = (
    "binary_tensor_data",
    "model_configuration",
    "model_repository",
    "parameters",
    "schedule_policy",
    "statistics",
)


class DataPlane:
    def __init__(self, models: Sequence[LoadedModel], shared: Shared) -> None:
        settings = shared.settings
        self._shared = shared
        self._keys = Keys(settings.api_keys.get_secret_value())
        self._quota = Quota(settings.tenant_requests_per_second)
        self._models = {model.spec.name: ServedModel(model) for model in models}
        self.state = State.STARTING
        self._loader = Loader(list(self._models.values()), shared, self.pipeline)

    # --- health and metadata --------------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Serving, and every model answers on a sufficient backend."""
        return self.state is State.SERVING and all(
            served.pipelines and served.pipelines[served.default].ready for served in self._models.values()
        )

    @property
    def lost(self) -> str:
        """Why this process has to end and start again; empty while all is well."""
        return next((pipeline.chain.lost for pipeline in self._pipelines() if pipeline.chain.lost), "")

    def abandon(self) -> None:
        """Answer all that is open: this process cannot."""
        for pipeline in self._pipelines():
            pipeline.abandon()

    def start(self) -> None:
        """Have the engines prepared that versions ask for; follow what is promoted and rolled back from now on."""
        self._loader.start()

    def model_ready(self, name: str, version: str = "") -> bool:
        """Raises NotFound for an unknown model or version."""
        try:
            return self.state is State.SERVING and self.pipeline(name, version).ready
        except ModelNotReady:
            return False

    def pipeline(self, name: str, version: str = "") -> Target:
        """The path of a version; the default one for an empty version. Raises NotFound or ModelNotReady.

        Looked up by a face before it decodes, and handed back with the request, with nothing awaited in between: what
        is let go is drained, and then takes nobody any more. `stable` and `candidate` stand for versions.
        """
        served = self._served(name)
        return served.pipelines.get(version or served.default) or served.find(version)

    def versions(self, name: str) -> list[str]:
        return sorted(self._served(name).pipelines, key=version_order)

    def metadata(self, name: str, version: str = "") -> describe.Document:
        pipeline = self.pipeline(name, version)
        return describe.metadata(
            pipeline.spec, [pipeline.version] if version else self.versions(name), pipeline.chain.active.name
        )

    def config(self, name: str, version: str = "") -> describe.Document:
        pipeline = self.pipeline(name, version)
        chain = pipeline.chain
        about = (pipeline.version, pipeline.manifest.digest)
        return describe.config(pipeline.spec, *about, chain.active.name, chain.active.precision, chain.degraded)

    def statistics(self, name: str = "", version: str = "") -> describe.Document:
        """Of one version, of all versions of a model, or of everything."""
        self.settle()
        names = [name] if name else list(self._models)
        versions = [(n, v) for n in names for v in ([version] if version else self.versions(n))]
        return {"model_stats": [describe.statistics(self.pipeline(n, v).statistics) for n, v in versions]}

    def sole_input(self, name: str, version: str = "") -> tuple[str, str, list[int]]:
        """Name, datatype and one row's shape of the only input, for a request that says none of it.

        Raises InvalidInput for a model with several inputs.
        """
        spec = self.pipeline(name, version).spec
        if len(spec.inputs) != 1:
            raise InvalidInput(f"a raw request needs a model with one input, '{name}' has {len(spec.inputs)}", "name")
        wanted = spec.inputs[0]
        shape = [1 if spec.batched and axis == 0 else size for axis, size in enumerate(wanted.shape)]
        return wanted.name, wanted.datatype, shape

    async def metrics(self) -> tuple[str, bytes]:
        """Content type and text of the metrics."""
        self.settle()
        return exposition.CONTENT_TYPE, await asyncio.to_thread(exposition.exposition)

    # --- inference ------------------------------------------------------------------------------------------------

    @property
    def asks_for_keys(self) -> bool:
        return bool(self._keys)

    def authenticate(self, authorization: str | None) -> str:
        """The tenant behind an Authorization value. Raises Unauthenticated or PermissionDenied."""
        if not self._keys:
            return ANONYMOUS
        tenant = self._keys.tenant(authorization)
        current_tenant.set(tenant)
        return tenant

    def submit(
        self,
        pipeline: Target,
        request: InferRequest,
        tenant: str,
        encode: Callable[[InferResponse], T],
        respond: Callable[[T | Exception], None],
        decode_seconds: float = 0.0,
    ) -> Call[InferResponse] | None:
        """Answer a request by calling `respond` once, with what `encode` makes of it or with an error; count it.

        Returns how to cancel it, which changes nothing when it has been answered already; None when it was refused.
        """
        started = time.perf_counter()

        def answered(outcome: InferResponse | Exception) -> None:
            if isinstance(outcome, Exception):
                self._count_failure(pipeline, request.protocol, outcome, time.perf_counter() - started)
                respond(outcome)
                return
            encoding = time.perf_counter()
            try:
                encoded = encode(outcome)
            except Exception as error:
                self._count_failure(pipeline, request.protocol, error, encoding - started)
                respond(error)
                return
            ended = time.perf_counter()
            pipeline.ledger.answered(request.protocol, ended - started, decode_seconds, ended - encoding)
            respond(encoded)
            if (observer := pipeline.observer) is not None:  # the answer is on its way
                observer.answered(request, outcome, tenant)

        try:
            if not request.part:
                self._quota.take(tenant, request.model_name)
            return pipeline.submit(request, answered)
        except Exception as error:
            answered(error)
            return None

    async def infer(
        self,
        pipeline: Target,
        request: InferRequest,
        tenant: str,
        encode: Callable[[InferResponse], T],
        decode_seconds: float = 0.0,
    ) -> T:
        """As `submit`, awaited."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        call = self.submit(pipeline, request, tenant, encode, partial(settle, future), decode_seconds)
        try:
            return await future
        finally:
            if call is not None:
                call.cancel()  # nothing happens to a call that has ended

    @staticmethod
    def _count_failure(pipeline: Target, protocol: str, error: Exception, seconds: float) -> None:
        if isinstance(error, InvalidInput):
            _count_invalid(pipeline, protocol, error)
        pipeline.ledger.failed(protocol, error.outcome if isinstance(error, ModelyardError) else "error", seconds)

    def settle(self) -> None:
        """Now and then, and before anybody looks: what the hot path noted becomes metrics and statistics."""
        for pipeline in self._pipelines():
            pipeline.settle()
        if self._shared.observing is not None:
            self._shared.observing.settle()
        meters.flush()

    def refused(self, model: str, error: ModelyardError, protocol: str) -> None:
        """Count a request that could not even be decoded, when it named a model that is served."""
        served = self._models.get(model)
        if served and served.pipelines:
            pipeline = served.pipelines[served.default]
            if isinstance(error, InvalidInput):
                _count_invalid(pipeline, protocol, error)
            pipeline.ledger.failed(protocol, error.outcome, 0.0)

    async def feedback(self, request_id: str, truth: list[int], tenant: str) -> Judged:
        """Count what the true values make of an answer. Raises NotFound, InvalidInput and ModelNotReady."""
        if self._shared.observing is None:
            raise NotFound("feedback is not taken here")
        name = next(iter(self._models))  # the model that this process is named after comes first
        version = self.pipeline(name).version
        return await self._shared.observing.feedback(name, version, tenant, request_id, truth)

    # --- repository extension -------------------------------------------------------------------------------------

    def index(self, *, ready_only: bool = False) -> list[IndexEntry]:
        """Every version of every model, served or not."""
        return [entry for served in self._models.values() for entry in served.index(ready_only=ready_only)]

    async def load(self, name: str) -> None:
        """Serve what is promoted, and what is new on disk. Raises PermissionDenied unless MODELYARD_ADMIN is set."""
        served = self._administered(name)
        try:
            await self._loader.load(served)
        except ConfigurationError as error:
            raise InvalidInput(describe.without_folders(str(error))) from None

    async def unload(self, name: str) -> None:
        """Stop serving a model; what is in flight is still answered."""
        await self._loader.unload(self._administered(name))

    async def close(self, seconds: float) -> None:
        """Answer what is in flight, then let go of everything; what is not done in these seconds is left to itself."""
        await self._loader.close(seconds)
        if self._shared.observing is not None:
            await self._shared.observing.close()

    def _pipelines(self) -> Iterator[Target]:
        for served in self._models.values():
            yield from served.pipelines.values()
        yield from self._loader.leaving

    def _served(self, name: str) -> ServedModel:
        served = self._models.get(name)
        if served is None:
            raise NotFound(f"Request for unknown model: '{name[:80]}' is not found")
        return served

    def _administered(self, name: str) -> ServedModel:
        if not self._shared.settings.admin:
            raise PermissionDenied("load and unload are off; MODELYARD_ADMIN opens them")
        return self._served(name)


def _count_invalid(pipeline: Target, protocol: str, error: InvalidInput) -> None:
    metrics.input_invalid.labels(pipeline.spec.name, error.reason).inc()
    if pipeline.observer is not None:
        pipeline.observer.refused(protocol, error.reason)
