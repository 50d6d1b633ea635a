"""/metrics: what stands there from the start, that it moves as it should, and that strangers cannot make it grow."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tritonclient.utils import InferenceServerException

from tests.integration.calls import PROTOCOLS, ask, connect, row, settled, try_all, until
from tests.integration.harness import Server, import_model, serve
from tests.integration.onnx_models import gather_table

NAME = "counted"
OUTCOMES = ("ok", "client_error", "error", "timeout", "shed", "cancelled")
STRANGERS = 1000
MOST_SERIES = 2000
AVAILABILITY = 0.95
WRITTEN_DOWN = {f"modelyard_{what}_ratio" for what in ("slo_objective", "feature_reference", "prediction_reference")}
"""Shares that stand in model.yaml or in a version. One that is measured is two counters, which can be added up."""

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(server: Server) -> Samples:
    """Every sample of the exposition, as Prometheus's own parser reads it."""
    status, body = server.get("/metrics")
    assert status == 200
    families = text_string_to_metric_families(body.decode())
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def value(found: Samples, name: str, **labels: str) -> float:
    """The sum of the samples called `modelyard_<name>` with these labels; there is at least one."""
    values = [v for (n, own), v in found.items() if n == f"modelyard_{name}" and labels.items() <= dict(own).items()]
    assert values, f"no sample {name} {labels}"
    return sum(values)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """index -> (index, 10 index); an index above 99 fails in the model."""
    folder = tmp_path_factory.mktemp("repository")
    import_model(
        folder, NAME, gather_table(100), edit=lambda spec: spec.update(objectives={"availability": AVAILABILITY})
    )
    with serve(folder, NAME) as running:
        yield running


@pytest.fixture(scope="module", autouse=True)
def at_start(server: Server) -> Samples:
    """The samples before the first request."""
    return samples(server)


def index(number: int) -> dict[str, np.ndarray]:
    """A question to the model."""
    return {"index": np.array([[number]], dtype=np.int64)}


ZERO_AT_START = [
    *[("requests_total", {"protocol": p, "outcome": o, "version": "1"}) for p in PROTOCOLS for o in OUTCOMES],
    *[("request_duration_seconds_count", {"protocol": p, "version": "1"}) for p in PROTOCOLS],
    *[("stage_duration_seconds_count", {"stage": s}) for s in ("decode", "cache", "queue", "infer", "encode")],
    *[("shed_total", {"reason": r}) for r in ("queue_full", "deadline", "quota")],
    *[("cache_rows_total", {"result": r}) for r in ("hit_memory", "hit_redis", "join", "miss", "bypass", "corrupt")],
    ("in_flight_requests", {}),
    ("queue_rows", {}),
    ("batch_rows_count", {}),
    ("batch_rows_sum", {}),
    ("input_invalid_total", {}),
]


@pytest.mark.parametrize(("name", "labels"), ZERO_AT_START, ids=str)
def test_a_series_stands_at_zero_before_the_first_request(at_start: Samples, name: str, labels: dict[str, str]) -> None:
    assert value(at_start, name, model=NAME, **labels) == 0


def test_what_else_stands_there_from_the_start(at_start: Samples) -> None:
    assert value(at_start, "cache_errors_total") == 0
    assert value(at_start, "cache_operation_duration_seconds_count") == 0
    assert value(at_start, "cache_evictions_total") == 0
    assert value(at_start, "cache_bytes") == 0
    assert value(at_start, "cache_up") == 0, "no Redis was configured"
    assert value(at_start, "backend_active", model=NAME, backend="onnxruntime-cpu") == 1
    assert value(at_start, "backend_fallbacks_total", model=NAME) >= 0
    assert value(at_start, "model_info", model=NAME, version="1", backend="onnxruntime-cpu") == 1
    assert value(at_start, "model_ready", model=NAME, version="1") == 1
    assert value(at_start, "model_load_duration_seconds_count", model=NAME) == 1
    assert value(at_start, "slo_objective_ratio", model=NAME, objective="availability") == AVAILABILITY
    assert value(at_start, "slo_objective_ratio", model=NAME, objective="latency") == 0.99
    assert value(at_start, "slo_latency_threshold_seconds", model=NAME) == 0.25
    edges = {
        "batch_rows_bucket": ["1.0", "2.0", "4.0", "8.0", "16.0", "32.0", "64.0", "128.0", "+Inf"],
        "request_duration_seconds_bucket": ["0.001", "0.25", "10.0", "+Inf"],
        "stage_duration_seconds_bucket": ["0.0001", "5.0", "+Inf"],
    }
    for name, bounds in edges.items():
        for bound in bounds:
            value(at_start, name, le=bound)


def test_names_and_labels_are_well_formed(at_start: Samples) -> None:
    names = {name for name, _ in at_start if name.startswith("modelyard_")}
    assert names
    assert {name for name in names if name.endswith("_ratio")} <= WRITTEN_DOWN
    labels: dict[tuple[str, str], set[str]] = {}
    for name, own in at_start:
        for key, text in own:
            if key != "le":
                labels.setdefault((name, key), set()).add(text)
    assert {key: found for key, found in labels.items() if len(found) > 10} == {}
    assert len(at_start) <= MOST_SERIES


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_counts_move_by_protocol_and_outcome(server: Server, protocol: str) -> None:
    first = 10 if protocol == "http" else 50
    before = samples(server)
    for number in range(first, first + 4):
        np.testing.assert_array_equal(ask(server, index(number), protocol).only, row(number, 10 * number))
    ask(server, index(first), protocol)
    for inputs in (index(10_000), {"index": np.array([[1.5]], dtype=np.float32)}, {"other": row(1)}):
        with pytest.raises(InferenceServerException):
            ask(server, inputs, protocol)
    after = samples(server)

    def moved(name: str, **labels: str) -> float:
        return value(after, name, model=NAME, **labels) - value(before, name, model=NAME, **labels)

    outcomes = {outcome: moved("requests_total", protocol=protocol, outcome=outcome) for outcome in OUTCOMES}
    assert outcomes == {"ok": 5, "client_error": 2, "error": 1, "timeout": 0, "shed": 0, "cancelled": 0}
    assert moved("requests_total") == 8, "the other protocol did not move"
    assert moved("request_duration_seconds_count", protocol=protocol) >= 6
    assert moved("input_invalid_total") == 2
    assert moved("cache_rows_total", result="miss") >= 4
    assert moved("cache_rows_total", result="hit_memory") == 1
    assert moved("batch_rows_sum") >= 4
    for stage in ("decode", "cache", "queue", "infer", "encode"):
        assert moved("stage_duration_seconds_count", stage=stage) > 0, stage
    assert value(after, "cache_bytes") > value(before, "cache_bytes")
    assert value(after, "in_flight_requests") == 0
    assert value(after, "queue_rows") == 0


def test_strangers_add_no_series(server: Server) -> None:
    """Unknown paths, models, versions and methods: the first few may make a series, a thousand more may not."""
    ask(server, index(1))
    knock(server, 10)
    before = set(samples(server))
    knock(server, STRANGERS)
    assert set(samples(server)) - before == set()
    assert len(before) <= MOST_SERIES


def knock(server: Server, count: int) -> None:
    """`count` requests for what does not exist, over HTTP and gRPC, each with names of its own."""
    kinds = (
        ("GET", "/{}"),
        ("GET", "/{}/{}"),
        ("POST", "/v2/models/{}/infer"),
        ("POST", f"/v2/models/{NAME}/versions/{{}}/infer"),
        ("GET", "/v2/models/{}/ready"),
        ("GET", "/v2/{}"),
        ("DELETE", "/v2/models/{}"),
        ("POST", "/{}"),
    )
    with httpx.Client(base_url=server.url, timeout=10) as client:
        for number in range(count * 4 // 5):
            method, path = kinds[number % len(kinds)]
            reply = client.request(method, path.format(secrets.token_hex(8), secrets.token_hex(8)))
            assert reply.status_code in (400, 404, 405), (method, path, reply.status_code)

    async def over_grpc() -> None:
        async with connect(server, "grpc") as client:
            client.model = secrets.token_hex(8)
            calls = [client.infer(index(1), version=secrets.token_hex(4)) for _ in range(count // 5)]
            for result in await settled(calls):
                assert isinstance(result, InferenceServerException), result
                assert result.status() == "StatusCode.NOT_FOUND"

    asyncio.run(over_grpc())


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_is_shed_is_counted(busy: Server, protocol: str) -> None:
    """`busy` runs one row at a time and accepts a wait of 0.5 s: of 40 rows of 50 ms it must refuse some."""
    for number in range(12):
        ask(busy, {"x": row(50 - number / 64)}, protocol)  # from these the server learns what a row costs
    before = samples(busy)
    results = try_all(busy, [{"x": row(50 + number / 64)} for number in range(40)], protocol)
    refusals = [result for result in results if isinstance(result, BaseException)]
    unavailable = "503" if protocol == "http" else "StatusCode.UNAVAILABLE"
    assert refusals
    for refusal in refusals:
        assert isinstance(refusal, InferenceServerException), refusal
        assert refusal.status() == unavailable
    after = samples(busy)
    shed = value(after, "shed_total", reason="queue_full") - value(before, "shed_total", reason="queue_full")
    assert shed == len(refusals)
    labels = {"protocol": protocol, "outcome": "shed"}
    assert value(after, "requests_total", **labels) - value(before, "requests_total", **labels) == len(refusals)
    until(lambda: busy.metric("modelyard_in_flight_requests") == 0, "nothing is in flight")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_deadline_that_passes_is_counted(busy: Server, protocol: str) -> None:
    def timeouts() -> float:
        return busy.metric("modelyard_requests_total", protocol=protocol, outcome="timeout")

    ask(busy, {"x": row(1)}, protocol)  # what an earlier test left running is over
    before = timeouts()
    with pytest.raises(InferenceServerException) as refusal:
        ask(busy, {"x": row(400)}, protocol, timeout=100_000)
    assert refusal.value.status() == ("504" if protocol == "http" else "StatusCode.DEADLINE_EXCEEDED")
    assert timeouts() == before + 1


def test_probes_and_metrics_answer_under_load(busy: Server) -> None:
    """While the only executor is busy and the queue refuses, none of them waits for the model."""

    async def body() -> None:
        async with connect(busy, "http") as client, httpx.AsyncClient(base_url=busy.url, timeout=10) as probe:

            async def keep_asking(number: int) -> None:
                while True:
                    await settled([client.infer({"x": row(150 + number / 64)})])

            load = [asyncio.create_task(keep_asking(number)) for number in range(20)]
            for path in ("/livez", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready") * 3:
                reply = await probe.get(path)
                assert reply.status_code == 200, path
                assert reply.elapsed.total_seconds() < 2, path
            for task in load:
                task.cancel()
            await asyncio.gather(*load, return_exceptions=True)

    asyncio.run(body())
