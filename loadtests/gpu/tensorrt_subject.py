"""TensorRT through our own backend: built by the product's own path into an engine store, run in its lanes.

empty store -> ensure: cold build -> ensure again: build with the timing cache -> TensorRtBackend -> warm
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

from loadtests.bench.payloads import Array
from loadtests.gpu.chain import edited, engine_folder, forced
from loadtests.gpu.subject import Given, Loaded
from modelyard.backends.base import BackendUnavailable
from modelyard.manifest import list_versions, read_manifest
from modelyard.spec import Precision

STORE_BYTES = 16 * 2**30


class TensorRt:
    """An engine with one profile for each batch size that is measured."""

    def __init__(self, precision: Precision) -> None:
        self.precision = precision
        self._backend: Any = None

    def why_not(self) -> str:
        """What the probe of the backend says."""
        from modelyard.backends.engine import maker

        try:
            maker.probe()
        except BackendUnavailable as error:
            return str(error)
        return ""

    def load(self, given: Given) -> Loaded:
        """Build twice, load, warm."""
        from modelyard.backends.engine import maker
        from modelyard.backends.engine.store import EngineStore
        from modelyard.backends.tensorrt import TensorRtBackend

        device, version = maker.probe(), _version(given.repository / given.model)
        spec = edited(given.repository / given.model, forced("tensorrt", self.precision, given.batches))
        manifest, store = read_manifest(version), EngineStore(engine_folder(given.model, self.precision), STORE_BYTES)
        wanted = (store, version / manifest.artifact, manifest.digest, spec, spec.backends[0], device)
        build, plan, began = {}, b"", time.perf_counter()
        for kind, again in (("cold", False), ("cached", True)):
            plan = maker.ensure(*wanted, progress=_silent, stop=threading.Event(), again=again)
            build[kind] = store.entries()[0].about.seconds
        building = time.perf_counter() - began
        self._backend, self._output = TensorRtBackend(plan, spec, spec.backends[0]), [given.info.output]
        self._backend.warm()
        versions = {"tensorrt": device.tensorrt, "CUDA of the driver": device.driver, "CUDA runtime": device.cuda}
        return Loaded(build, building, versions)

    def run(self, batch: Array) -> Array:
        """One batch in one lane."""
        (result,) = self._backend.infer([batch], self._output)
        answer: Array = result
        return answer

    def close(self) -> None:
        """Free lanes and engine."""
        if self._backend is not None:
            self._backend.close()


def _version(folder: Path) -> Path:
    return folder / "versions" / list_versions(folder)[-1]


def _silent(_: object) -> None:
    """Nobody watches."""
