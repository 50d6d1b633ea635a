"""The same through our own server, as a user starts it, with the chain of backends forced to one.

    engine store (direct.py has filled it) -> modelyard serve -> ready: the forced backend is active
        -> answers over both faces compared -> closed loop of 1, 8, 32, 128 connections -> still the same backend?

Each connection sends one row at a time; the server makes the batches.
"""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from loadtests.bench.checks import METHOD
from loadtests.bench.core import HOST, Endpoint, Face, Server
from loadtests.bench.load import Job
from loadtests.bench.load import measure as measure_load
from loadtests.bench.observe import http_port, serving
from loadtests.bench.one_by_one import one_by_one
from loadtests.bench.ours import SERVICES, Modelyard
from loadtests.bench.payloads import Array, decode, http_request, message
from loadtests.gpu.catalog import SERVED
from loadtests.gpu.chain import engine_folder, forced
from loadtests.gpu.data import difference, read
from loadtests.gpu.direct import Plan, loaded
from loadtests.gpu.subject import Given, reason
from loadtests.gpu.taken import Figures, Taken

FACES: tuple[Face, ...] = ("oip-binary", "oip-grpc")
MOST_CHECKED = 32  # rows of a request whose answer is compared
ANSWER_SECONDS = 60.0


def measure(names: Sequence[str], given: Given, data: Path, plan: Plan, taken: Taken) -> None:
    """Our server with the backends of `names` and the model of `given`."""
    names = [name for name in names if _possible(name, given, data, taken)]
    for number in range(plan.rounds):
        for name in names[::-1] if number % 2 else list(names):
            try:
                _round(name, given, data, number, plan, taken)
            except Exception as error:  # one server's fault is not the end of the run
                taken.fail(name, given.model, reason(error))
                names.remove(name)


def _possible(name: str, given: Given, data: Path, taken: Taken) -> bool:
    """Whether the backend runs in process; if that was not seen yet, it is tried, and its engine is built."""
    subject = SERVED[name][2]
    tried = {(one["name"], one["model"]) for one in [*taken.loads, *taken.failures]}
    if (subject, given.model) not in tried:
        with loaded(subject, given, data, taken):
            pass
    why = taken.against(subject, given.model)
    if why:
        taken.fail(name, given.model, why)
    return not why


def _round(name: str, given: Given, data: Path, number: int, plan: Plan, taken: Taken) -> None:
    backend, precision, _ = SERVED[name]
    settings = {
        "MODELYARD_ENGINE_FOLDER": str(engine_folder(given.model, precision)),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(SERVICES), os.environ.get("PYTHONPATH", "")])),
    }
    recipe = Modelyard(name, settings, forced(backend, precision, plan.batches))
    with serving(recipe, given.model) as server:
        _require(server, backend)
        right = [_check(server, face, given, data, taken) for face in FACES]  # both, before it is judged
        if not all(right):
            raise RuntimeError("its answers are wrong")
        cells = [_cell(server, *way, slot, plan, taken) for slot, way in enumerate(_ways(plan))]
        _require(server, backend)  # until the end: figures of two backends in one are none
    taken.served += [{"round": number, **cell} for cell in cells if cell]


def _cell(server: Server, face: Face, connections: int, slot: int, plan: Plan, taken: Taken) -> Figures:
    """One measurement; nothing when nothing was answered."""
    name, model = server.name, server.model
    # the values are compared before: in fp16 the tolerance of the load generator does not hold
    way = (server.endpoints[face], model, connections, plan.seconds, plan.warm_seconds, slot)
    sample = measure_load(Job(*way, pid=server.pid, check=False))
    if not sample.requests:
        why = sample.first_error or f"no answer in {plan.seconds:g} s"
        taken.fail(name, model, f"{face}, {connections} connections: {why}")
        return {}
    where = {"server": name, "model": model, "face": face, "connections": connections}
    taken.say(
        f"{model:8} {name:28} {face:10} {connections:4} connections  p50 {sample.p50 * 1e3:8.2f} ms  "
        f"p99 {sample.p99 * 1e3:8.2f} ms  {sample.rate:10,.0f} rows/s  {sample.errors} errors"
    )
    return {**where, **asdict(sample), "rate": sample.rate}


def _ways(plan: Plan) -> Iterator[tuple[Face, int]]:
    for face in FACES:
        for connections in plan.batches:
            yield face, connections


def _require(server: Server, backend: str) -> None:
    """Raises RuntimeError when another backend answers than the one whose figures these will be."""
    config = _get(server, f"/v2/models/{server.model}/config")
    active = config["parameters"]["backend"]["string_value"]
    if active != backend:
        degraded = config["parameters"].get("degraded", {}).get("string_value", "")
        raise RuntimeError(f"it runs on {active}, not on {backend}: {degraded}".rstrip(": "))


def _get(server: Server, path: str) -> Mapping[str, Any]:
    connection = http.client.HTTPConnection(HOST, http_port(server), timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", path)
        document: Mapping[str, Any] = json.loads(connection.getresponse().read())
        return document
    finally:
        connection.close()


def _check(server: Server, face: Face, given: Given, data: Path, taken: Taken) -> bool:
    """Batches of every size over one face."""
    name = server.name
    inputs, expected = read(data)
    right = True
    for batch in (size for size in given.batches if size <= MOST_CHECKED):
        answer = _ask(server.endpoints[face], given.model, inputs[:batch])
        found = asdict(difference(answer, expected[:batch], SERVED[name][1]))
        right &= taken.check(name, given.model, batch, face, found)
    return right


def _ask(endpoint: Endpoint, model: str, values: Array) -> Array:
    if endpoint.face != "oip-grpc":
        with one_by_one(endpoint, model) as client:
            return client.ask(http_request(endpoint, model, values))[0]
    import grpc

    with grpc.insecure_channel(f"{endpoint.host}:{endpoint.port}") as channel:
        request = message(model, values, endpoint.model)
        return decode("oip-grpc", model, channel.unary_unary(METHOD)(request, timeout=ANSWER_SECONDS))
