"""A swap and what it must not mix: requests that have begun, kept answers, models beside one another."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.integration.calls import PROTOCOLS, ask, row, until
from tests.integration.harness import Server, import_model, redis_server, serve
from tests.integration.onnx_models import slow_by_input
from tests.integration.scale_model import BIAS, WEIGHT, import_scale, rows
from tests.integration.version_clients import set_aliases

SOON = {"MODELYARD_RELOAD_SECONDS": "0.1"}


def served(server: Server) -> str:
    """The version that answers callers who name none."""
    return str(json.loads(server.get(f"/v2/models/{server.name}/versions/stable")[1])["versions"][0])


def loaded(server: Server) -> list[str]:
    """The versions that answer."""
    return list(json.loads(server.get(f"/v2/models/{server.name}")[1])["versions"])


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with two versions that take the milliseconds that their input says."""
    folder = tmp_path_factory.mktemp("slow")

    def edit(spec: dict[str, Any]) -> None:
        spec["cache"] = {"enabled": False}

    for version in ("1", "2"):
        import_model(folder, "slow", slow_by_input(), version=version, edit=edit)
    return folder


def test_what_is_in_flight_ends_on_the_version_it_began_on(slow: Path) -> None:
    """Also when that version is let go meanwhile: it takes nobody new, answers, and is closed."""
    set_aliases(slow / "slow", stable="1")
    # the model is quick on the zeros that it was warmed up with: it must not be taken for one that runs in the loop
    env = {"MODELYARD_LOADED_VERSIONS": "1", "MODELYARD_EXECUTORS": "4", "MODELYARD_INLINE_SECONDS": "0"}
    with serve(slow, "slow", {**SOON, **env}) as server, ThreadPoolExecutor(2) as threads:
        assert loaded(server) == ["1"]
        began = time.monotonic()
        long = [threads.submit(ask, server, {"x": row(4000.0 + n)}, p) for n, p in enumerate(PROTOCOLS)]
        until(lambda: server.metric("modelyard_in_flight_requests", model="slow") == 2, "both are in flight")
        set_aliases(slow / "slow", stable="2")
        until(lambda: served(server) == "2", "version 2 serves", 60)
        until(lambda: loaded(server) == ["2"], "version 1 is let go")
        for protocol in PROTOCOLS:
            answer = ask(server, {"x": row(1.0)}, protocol)
            assert (answer.version, float(answer.only[0, 0])) == ("2", 1.0)
        waited = time.monotonic() - began
        assert waited > 4 or not any(call.done() for call in long), "nobody waited for the ones before"
        for number, call in enumerate(long):
            answer = call.result(60)
            assert (answer.version, float(answer.only[0, 0])) == ("1", 4000.0 + number)
        until(lambda: server.metric("modelyard_model_ready", model="slow", version="1") == 0, "version 1 is closed")
        assert server.metric("modelyard_in_flight_requests", model="slow") == 0
        assert server.stop() == 0
        assert "Traceback" not in server.log()


@pytest.mark.parametrize("tier", ["memory", "redis"])
def test_kept_answers_are_those_of_their_version(tmp_path: Path, tier: str) -> None:
    """The same rows before a promote, after it, and after the rollback."""
    weights = {"1": WEIGHT, "2": WEIGHT * 10}
    for version, weight in weights.items():
        import_scale(tmp_path, weight, version)
    folder = tmp_path / "scale"
    (folder / "model.yaml").write_text((folder / "model.yaml").read_text().replace("- redis", f"- {tier}"))
    set_aliases(folder, stable="1")
    with redis_server() as redis:
        env = {
            **SOON,
            "MODELYARD_CACHE_FACTOR": "0",
            "MODELYARD_REDIS_URL": redis.url,
            "MODELYARD_REDIS_TIMEOUT_SECONDS": "2",
        }
        with serve(tmp_path, "scale", env) as server:
            answered(server, "1", weights, ["miss", "hit", "hit"])
            for version, other, first in (("2", "1", "miss"), ("1", "2", "hit"), ("2", "1", "hit")):
                set_aliases(folder, stable=version, previous=other)
                until(lambda version=version: served(server) == version, "the swap", 30)  # type: ignore[misc]  # mypy knows no such lambda
                answered(server, version, weights, [first, "hit", "hit"])
            assert server.metric("modelyard_cache_rows_total", model="scale", result=f"hit_{tier}") > 0


def answered(server: Server, version: str, weights: Mapping[str, Any], cache: Sequence[str]) -> None:
    """The same rows once for each word of `cache`, over both protocols in turn."""
    x = rows(0, 4)
    for number, word in enumerate(cache):
        if word == "hit" and number:
            # the fill of Redis is not waited for
            until(lambda: ask(server, {"x": x}).cache == "hit", "the rows are kept")
        answer = ask(server, {"x": x}, PROTOCOLS[number % 2])
        assert (answer.version, answer.cache) == (version, word)
        np.testing.assert_allclose(answer.only, x @ weights[version] + BIAS, rtol=1e-5, atol=1e-3)


def test_two_versions_of_one_artifact_share_their_answers_and_keep_their_names(tmp_path: Path) -> None:
    for version in ("1", "2"):
        import_scale(tmp_path, WEIGHT, version)
    folder = tmp_path / "scale"
    (folder / "model.yaml").write_text((folder / "model.yaml").read_text().replace("- redis", "- memory"))
    set_aliases(folder, stable="1")
    with serve(tmp_path, "scale", {**SOON, "MODELYARD_CACHE_FACTOR": "0"}) as server:
        x = rows(0, 4)
        assert (ask(server, {"x": x}).version, ask(server, {"x": x}).cache) == ("1", "hit")
        set_aliases(folder, stable="2", previous="1")
        until(lambda: served(server) == "2", "the swap", 30)
        answer = ask(server, {"x": x})
        assert (answer.version, answer.cache) == ("2", "hit")


def test_a_server_does_not_look_when_it_is_not_to(tmp_path: Path, slow: Path) -> None:
    shutil.copytree(slow, tmp_path, dirs_exist_ok=True)
    set_aliases(tmp_path / "slow", stable="1")
    with serve(tmp_path, "slow", {"MODELYARD_RELOAD_SECONDS": "0", "MODELYARD_ADMIN": "true"}) as server:
        set_aliases(tmp_path / "slow", stable="2", previous="1")
        time.sleep(1.5)
        assert served(server) == "1"
        reply = httpx.post(f"{server.url}/v2/repository/models/slow/load", timeout=60)
        assert (reply.status_code, served(server)) == (200, "2"), "a load follows the aliases"
