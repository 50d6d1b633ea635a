"""Versions that answer visibly otherwise, and clients that hold every answer to the version that it names.

Version V of `scaled` gives y = SCALES[V] * x. A client asks without end for rows whose answers it knows; one that is
refused, wrong, or labelled with another version than the one whose answer it carries is kept in `lost`.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tritonclient.grpc as triton_grpc
from onnx import helper

from tests.integration.calls import until
from tests.integration.harness import Server, import_model, modelyard
from tests.integration.load_clients import TIMEOUT, Load
from tests.integration.onnx_models import affine, build, value

NAME = "scaled"
SCALES = {"1": 2.0, "2": 3.0, "3": 5.0}
WEIGHTS = 1_000_000
"""Floats of a heavy version that add nothing but their size: 4 MB."""


def scaled(scale: float) -> onnx.ModelProto:
    """x FP32 [-1, 1] -> y = scale * x."""
    return affine(np.array([[scale]], np.float32), np.zeros(1, np.float32))


def heavy(scale: float) -> onnx.ModelProto:
    """The same, with many weights: one of them, a zero, is added."""
    nodes = [
        helper.make_node("Mul", ["x", "scale"], ["scaled"]),
        helper.make_node("Mul", ["x", "zero"], ["place"]),
        helper.make_node("Cast", ["place"], ["index"], to=onnx.TensorProto.INT64),
        helper.make_node("Gather", ["weights", "index"], ["nothing"]),
        helper.make_node("Add", ["scaled", "nothing"], ["y"]),
    ]
    constants = {
        "scale": np.array([scale], np.float32),
        "zero": np.zeros(1, np.float32),
        "weights": np.zeros(WEIGHTS, np.float32),
    }
    return build(nodes, [value("x", "FP32", (-1, 1))], [value("y", "FP32", (-1, 1))], constants)


def import_versions(repository: Path, make: Callable[[float], onnx.ModelProto] = scaled) -> Path:
    """All versions of SCALES; the folder of the model. Requests of one row, a short look at each."""

    def edit(spec: dict[str, Any]) -> None:
        spec["batching"]["max_batch_size"] = 8

    for version, scale in SCALES.items():
        import_model(repository, NAME, make(scale), version=version, edit=edit)
    return repository / NAME


def set_aliases(folder: Path, **aliases: str) -> None:
    """Write aliases.json as the commands do, without their checks."""
    draft = folder / ".aliases.draft"
    draft.write_text(json.dumps({"format": 1, **aliases}))
    draft.replace(folder / "aliases.json")


def run(folder: Path, *command: str) -> None:
    """A command of the library on the repository of `folder`; it must succeed."""
    done = modelyard(*command, "--repository", folder.parent)
    assert done.code == 0, f"{command}: {done.out}\n{done.err}"


def served(server: Server, version: str = "stable") -> str:
    """The version that answers for `version`; empty when none does."""
    status, body = server.get(f"/v2/models/{NAME}/versions/{version}")
    return str(json.loads(body)["versions"][0]) if status == 200 else ""


def wait_served(server: Server, version: str, seconds: float = 30.0) -> None:
    """Return when `version` is served; for several workers, when a good number of new connections find it."""
    until(lambda: all(served(server) == version for _ in range(10)), f"version {version} serves", seconds)


Ask = Callable[[float], tuple[str, float]]
"""A number to the version that answered, and its answer."""


class HttpAsk:
    """JSON over HTTP, to any version; `keep` False opens a connection for every request."""

    def __init__(self, server: Server, version: str = "", *, keep: bool = True) -> None:
        place = f"/versions/{version}" if version else ""
        self._path = f"/v2/models/{server.name}{place}/infer"
        self._connection = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=TIMEOUT)
        self._keep = keep

    def __call__(self, number: float) -> tuple[str, float]:
        tensor = {"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [number]}
        self._connection.request("POST", self._path, json.dumps({"inputs": [tensor]}))
        response = self._connection.getresponse()
        text = response.read()
        if not self._keep:
            self._connection.close()
        if response.status != http.client.OK:
            raise RuntimeError(f"{response.status} {text[:300]!r}")
        document = json.loads(text)
        return document["model_version"], float(document["outputs"][0]["data"][0])

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class GrpcAsk:
    """gRPC on a channel of its own, to any version."""

    def __init__(self, server: Server, version: str = "") -> None:
        self._name, self._version = server.name, version
        own = [("grpc.use_local_subchannel_pool", 1)]
        self._client = triton_grpc.InferenceServerClient(server.grpc, channel_args=own)

    def __call__(self, number: float) -> tuple[str, float]:
        tensor = triton_grpc.InferInput("x", [1, 1], "FP32")
        tensor.set_data_from_numpy(np.array([[number]], dtype=np.float32))
        result = self._client.infer(self._name, [tensor], self._version, client_timeout=TIMEOUT)
        return str(result.get_response().model_version), float(result.as_numpy("y")[0, 0])

    def close(self) -> None:
        """Close the channel."""
        self._client.close()


@dataclass
class Checked:
    """To a Load a sender that echoes: it gives the number back when the answer is that of the version it names."""

    ask: Any
    only: str = ""
    """The only version that may answer; empty: any."""
    versions: list[str] = field(default_factory=list)
    """That answered, in order."""

    def __call__(self, number: float) -> float:
        version, answer = self.ask(number)
        right = np.float32(answer) == np.float32(SCALES[version] * number)  # JSON carries a float32's shortest text
        if not right or (self.only and version != self.only):
            raise AssertionError(f"asked {number}, version {version} (of {self.only or 'any'}) says {answer}")
        self.versions.append(version)
        return number

    def close(self) -> None:
        """Close the connection."""
        self.ask.close()


@dataclass
class Clients:
    """All that ask at once."""

    loads: Sequence[Load]
    checked: Mapping[str, Checked]

    def go_on(self, more: int = 20) -> None:
        """Return when every client has got `more` answers from now on."""
        wanted = [load.answered + more for load in self.loads]
        until(
            lambda: all(load.answered >= least or load.lost for load, least in zip(self.loads, wanted, strict=True)),
            "the load runs",
            60,
        )

    def check(self) -> None:
        """Every question of every client was answered right."""
        lost = [text for load in self.loads for text in load.lost[:3]]
        assert lost == [], "\n".join(lost)
        idle = [load.name for load in self.loads if not load.answered]
        assert idle == [], idle

    def turns(self, client: str) -> list[str]:
        """The versions that answered a client, in order, each as often as it came anew."""
        return [version for version, _ in groupby(self.checked[client].versions)]


FOLLOWING = ("HTTP keep-alive", "HTTP anew", "HTTP stable", "gRPC", "gRPC stable")
"""Clients that follow a promote."""


@contextmanager
def clients(server: Server, pinned: Sequence[str] = ()) -> Iterator[Clients]:
    """A client of every kind; for each version in `pinned` one that addresses it, over each protocol."""
    asks: dict[str, Checked] = {
        "HTTP keep-alive": Checked(HttpAsk(server)),
        "HTTP anew": Checked(HttpAsk(server, keep=False)),
        "HTTP stable": Checked(HttpAsk(server, "stable")),
        "gRPC": Checked(GrpcAsk(server)),
        "gRPC stable": Checked(GrpcAsk(server, "stable")),
    }
    for version in pinned:
        asks[f"HTTP {version}"] = Checked(HttpAsk(server, version), version)
        asks[f"gRPC {version}"] = Checked(GrpcAsk(server, version), version)
    loads = [Load(name, checked, 1.0, 512) for name, checked in asks.items()]
    for load in loads:
        load.start()
    try:
        yield Clients(loads, asks)
    finally:
        for load in loads:
            load.stop()
