"""Paths: every known one finds its handler, every other one nothing, and none breaks anything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.protocol import rest_routes
from modelyard.protocol.rest_routes import ANY, OPEN_PATHS, Route, owns, parse_path

SEGMENTS = [b"v2", b"models", b"", b"m", b"versions", b"infer", b"ready", b"stats", b"repository", b"load", b"trace"]
SEGMENTS += [b"%2e%2e", b"..", b"%00", b"%", b"%ff"]
PATHS = st.lists(st.sampled_from(SEGMENTS), max_size=8).map(b"/".join)


@given(st.one_of(st.binary(max_size=80), PATHS, PATHS.map(lambda path: b"/" + path)))
def test_no_path_breaks_anything(path: bytes) -> None:
    route = parse_path(path)
    assert route is None or isinstance(route, Route)


@pytest.mark.parametrize(
    ("path", "route"),
    [
        (b"/v2", Route("server", "GET")),
        (b"/v2/", Route("server", "GET")),
        (b"/v2/health/live", Route("live", "GET")),
        (b"/v2/health/ready", Route("ready", "GET")),
        (b"/v2/models/m", Route("model", "GET", "m")),
        (b"/v2/models/m/infer", Route("infer", "POST", "m")),
        (b"/v2/models/m/ready", Route("model_ready", "GET", "m")),
        (b"/v2/models/m/config", Route("config", "GET", "m")),
        (b"/v2/models/m/stats", Route("stats", "GET", "m")),
        (b"/v2/models/stats", Route("stats", "GET")),
        (b"/v2/models/m/versions/3", Route("model", "GET", "m", "3")),
        (b"/v2/models/m/versions/3/infer", Route("infer", "POST", "m", "3")),
        (b"/v2/repository/index", Route("index", "POST")),
        (b"/v2/repository/models/m/load", Route("load", "POST", "m")),
        (b"/v2/repository/models/m/unload", Route("unload", "POST", "m")),
        (b"/v2/systemsharedmemory/status", Route("unsupported", ANY)),
        (b"/v2/models/m/generate", Route("unsupported", ANY, "m")),
        (b"/v2/models/m%20n/infer", Route("infer", "POST", "m n")),
        (b"/livez", Route("live", "GET")),
        (b"/metrics", Route("metrics", "GET")),
        (b"/drain", Route("drain", "GET")),
    ],
)
def test_known_paths(path: bytes, route: Route) -> None:
    assert parse_path(path) == route
    assert owns(path)


@pytest.mark.parametrize(
    "path",
    [b"", b"/", b"/v3", b"/v2/models/m/", b"/v2/models/m/infer/", b"/v2/models/m/versions//infer", b"/v2//models/m",
     b"/v2/models/m/../x/infer", b"/v2/models/m/versions/1/2", b"/v2/models/\xff", b"/V2/models/m"],
)  # fmt: skip
def test_unknown_paths(path: bytes) -> None:
    assert parse_path(path) is None


@pytest.mark.parametrize("name", [b"..%2f..%2fetc", b"%2e%2e", b"a%5cb", b"a%00b"])
def test_an_encoded_name_stays_one_name(name: bytes) -> None:
    route = parse_path(b"/v2/models/" + name + b"/infer")
    assert route is not None
    assert route.handler == "infer"


def test_a_name_is_decoded_once() -> None:
    route = parse_path(b"/v2/models/%252e%252e/infer")
    assert route is not None
    assert route.model == "%2e%2e"


def test_open_paths_are_health_metrics_and_the_drain_only() -> None:
    handlers = {route.handler for path in OPEN_PATHS if (route := parse_path(path))}
    assert handlers == {"live", "ready", "metrics", "drain"}
    assert not owns(b"/classify")
    assert not owns(b"/v2x")


def test_a_long_path_is_parsed_but_not_kept() -> None:
    before = rest_routes._parse_short.cache_info().currsize
    name = "m" * 5000
    assert parse_path(f"/v2/models/{name}/infer".encode()) == Route("infer", "POST", name)
    assert rest_routes._parse_short.cache_info().currsize == before
