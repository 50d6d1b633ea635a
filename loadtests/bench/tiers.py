"""One model three times in one process: with the memory tier, with the Redis tier, without a cache.

    x -> memory, redis, none -> their sum: an ensemble, so that one server loads all three; each is asked by its name

Two processes of the same server differ by up to a tenth in how fast they run the same model; what is compared here
differs in its cache alone.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx
import yaml
from onnx import TensorProto, helper

from loadtests.bench.core import Endpoint, Server
from loadtests.bench.models import INFO, IR, OPSET, ModelInfo, model_path
from loadtests.bench.observe import Metrics, by_label, metrics, places, serving
from loadtests.bench.ours import REPOSITORIES, Modelyard
from loadtests.bench.redis_server import redis_server
from modelyard.manifest import publish

TIERS = ("memory", "redis", "none")
_CACHES: dict[str, dict[str, Any]] = {
    "memory": {"tiers": ["memory"]},
    "redis": {"tiers": ["redis"]},
    "none": {"enabled": False},
}
EVIDENCE_SECONDS = "0.25"  # a second is the default: a decision takes less time here


@dataclass
class Tiers:
    """The running server."""

    server: Server

    @property
    def endpoints(self) -> list[Endpoint]:
        """One of each tier, in the order of TIERS."""
        asked = self.server.endpoints["oip-json"]
        return [replace(asked, path=f"/v2/models/{tier}/infer", model=tier) for tier in TIERS]

    def metrics(self, tier: str) -> Metrics:
        """What it says of one of the three."""
        return [sample for sample in metrics(self.server) if sample[1].get("model") == tier]

    def decided(self, tier: str) -> bool:
        """Has it decided whether this tier is worth asking?"""
        return by_label(self.metrics(tier), "modelyard_cache_lookup_cost_seconds", "tier").get(tier, 0.0) > 0


@contextmanager
def tiers(model: str) -> Iterator[Tiers]:
    """`model` with each tier, on one core; Redis has the other. Rows are not merged."""
    server_cores, client_cores = places()
    with redis_server(client_cores) as url:
        settings = {
            "MODELYARD_REDIS_URL": url,
            "MODELYARD_EXECUTORS": "1",
            "MODELYARD_CACHE_EVIDENCE_SECONDS": EVIDENCE_SECONDS,
        }
        with serving(_SideBySide("tiers", settings), model, server_cores) as server:
            yield Tiers(server)


class _SideBySide(Modelyard):
    """The recipe of an ensemble of the three, which has the model's name."""

    def _repository(self, model: str, onnx: Path) -> Path:
        folder = REPOSITORIES / f"{model}-{self.name}"
        shutil.rmtree(folder, ignore_errors=True)
        for tier in TIERS:
            _publish(folder, _spec(INFO[model], tier, _CACHES[tier]), onnx)
        info = INFO[model]
        parts = [{"model": tier, "inputs": {info.input: info.input}, "outputs": {info.output: tier}} for tier in TIERS]
        _publish(folder, {**_spec(info, model, _CACHES["none"]), "ensemble": parts}, _sum(info))
        return folder


def _spec(info: ModelInfo, name: str, cache: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "inputs": [{"name": info.input, "datatype": info.datatype, "shape": [-1, info.columns]}],
        "outputs": [{"name": info.output, "datatype": info.datatype, "shape": [-1, info.out_columns]}],
        "backends": [{"name": "onnxruntime-cpu"}],
        "batching": {"max_batch_size": 1},
        "cache": cache,
    }


def _publish(repository: Path, spec: dict[str, Any], artifact: Path) -> None:
    folder = repository / str(spec["name"])
    folder.mkdir(parents=True)
    (folder / "model.yaml").write_text(yaml.safe_dump(spec, sort_keys=False), encoding="utf-8")
    publish(folder, "1", artifact)


def _sum(info: ModelInfo) -> Path:
    """The ensemble's own file: the sum of what the three answer."""
    path = model_path(info.name).with_suffix(".sum.onnx")
    shape: list[str | int | None] = ["batch", info.out_columns]
    inputs = [helper.make_tensor_value_info(tier, TensorProto.FLOAT, shape) for tier in TIERS]
    output = helper.make_tensor_value_info(info.output, TensorProto.FLOAT, shape)
    graph = helper.make_graph([helper.make_node("Sum", list(TIERS), [info.output])], "sum", inputs, [output])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
    onnx.save(made, path)
    return path
