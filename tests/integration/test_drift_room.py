"""How many series there are: drift has what the rest of a process leaves of its 2,000."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from modelyard.observing.drift_watch import series_of
from modelyard.observing.observer import OF_MODEL, OF_PROCESS, OF_VERSION
from tests.integration.calls import PROTOCOLS, ask, until
from tests.integration.drift_model import NAME, make, reference, rows
from tests.integration.harness import Server, serve

VERSIONS = ("1", "2", "3")
MANY = {"MODELYARD_LOADED_VERSIONS": "19"}
"""So many that there is room for the drift of two of them."""
OBSERVED = "modelyard_feature_observations_total"


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first of three versions that are the same but for their names."""
    version = make(tmp_path_factory.mktemp("models"))
    for name in VERSIONS[1:]:
        copy = version.parent / name
        shutil.copytree(version, copy)
        manifest = (copy / "manifest.json").read_text().replace('"version": "1"', f'"version": "{name}"')
        (copy / "manifest.json").write_text(manifest)
    return version


@pytest.fixture
def server(first: Path) -> Iterator[Server]:
    with serve(first.parents[2], NAME, env=MANY) as running:
        yield running


def infer(server: Server, version: str) -> int:
    body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 3], "data": rows(2, seed=3).tolist()}]}
    return httpx.post(f"{server.url}/v2/models/{NAME}/versions/{version}/infer", json=body).status_code


def test_the_versions_that_are_asked_first_are_watched(server: Server) -> None:
    assert not [key for key in server.metrics() if key.startswith(OBSERVED)]
    for version in ("2", "3", "1"):
        assert infer(server, version) == 200
    until(lambda: server.metric(OBSERVED, version="3", feature="first") == 2, "the second that was asked is watched")
    assert server.metric(OBSERVED, version="2", feature="first") == 2
    assert not [key for key in server.metrics() if key.startswith(OBSERVED) and 'version="1"' in key]
    assert f"{NAME} version 1: drift is not watched: 2000 series are enough" in server.log()


def test_the_others_are_as_many_as_is_reckoned(first: Path) -> None:
    with serve(first.parents[2], NAME) as server:
        for version in VERSIONS:
            assert infer(server, version) == 200
        for protocol in PROTOCOLS:
            ask(server, {"x": rows(1, seed=1)}, protocol)
        keys = list(server.metrics())
    about = [key for key in keys if f'model="{NAME}"' in key]
    versions = [key for key in about if 'version="' in key]
    assert len(versions) <= len(VERSIONS) * (OF_VERSION + series_of(reference(first)))
    assert len(about) - len(versions) <= OF_MODEL
    assert len(keys) - len(about) <= OF_PROCESS
    assert 'version="1"' in "".join(versions)
    assert 'protocol="ensemble"' not in "".join(versions), "it is no member"
