"""Promotes and rollbacks while clients ask over HTTP and gRPC: no question is lost, no answer is another version's."""

from __future__ import annotations

import json
import random
import shutil
import time
from pathlib import Path

import httpx
import pytest

from tests.integration.calls import until
from tests.integration.harness import serve, start
from tests.integration.test_versions import change_a_byte, index
from tests.integration.version_clients import (
    FOLLOWING,
    NAME,
    SCALES,
    HttpAsk,
    clients,
    heavy,
    import_versions,
    run,
    served,
    set_aliases,
    wait_served,
)

SOON = {"MODELYARD_RELOAD_SECONDS": "0.1"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with all versions, for copies."""
    return import_versions(tmp_path_factory.mktemp("made"))


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """The model's folder in a repository of the test's own."""
    shutil.copytree(made, tmp_path / "models" / NAME)
    return tmp_path / "models" / NAME


@pytest.mark.parametrize("workers", [1, 2])
def test_promote_and_rollback_by_command(folder: Path, workers: int) -> None:
    run(folder, "promote", NAME, "1")
    with serve(folder.parent, NAME, SOON, workers) as server, clients(server, pinned=["1", "2"]) as load:
        load.go_on()
        assert served(server) == "1"
        run(folder, "promote", NAME, "2")
        wait_served(server, "2")
        load.go_on()
        run(folder, "rollback", NAME)
        wait_served(server, "1")
        load.go_on()
        load.check()
    load.check()
    for client in FOLLOWING:
        turns = load.turns(client)
        assert set(turns) == {"1", "2"}, client
        assert workers > 1 or turns == ["1", "2", "1"], f"{client}: one process swaps once for each command"
    assert load.turns("HTTP 2") == ["2"]


def test_many_promotes_in_a_row(folder: Path) -> None:
    """Also faster than they are followed: then the last one counts."""
    set_aliases(folder, stable="1")
    with serve(folder.parent, NAME, SOON) as server, clients(server) as load:
        before = "1"
        for version in "2312313":
            set_aliases(folder, stable=version, previous=before)
            wait_served(server, version)
            load.go_on(5)
            before = version
        swaps = server.metric("modelyard_model_swaps_total", model=NAME)
        assert swaps == 7
        for version in [*"12" * 20, "1"]:
            set_aliases(folder, stable=version, previous="3")
        wait_served(server, "1")
        load.go_on(5)
        assert server.metric("modelyard_model_default", model=NAME, version="1") == 1
        assert server.metric("modelyard_model_default", model=NAME) == 1, "only one is the default"
        load.check()
    for client in FOLLOWING:
        assert "".join(load.turns(client)).startswith("12312313"), client


def test_a_broken_promote(folder: Path) -> None:
    kept = (folder / "versions" / "2" / "model.onnx").read_bytes()
    change_a_byte(folder / "versions" / "2")
    set_aliases(folder, stable="1")
    with serve(folder.parent, NAME, SOON) as server, clients(server, pinned=["1", "3"]) as load:
        load.go_on()
        failures = server.metric("modelyard_model_load_failures_total", model=NAME)
        assert failures == 1, "at the start"
        set_aliases(folder, stable="2", previous="1")
        until(lambda: server.metric("modelyard_model_load_failures_total", model=NAME) == 2, "it was tried", 30)
        load.go_on()
        for protocol in ("http", "grpc"):
            state, reason = index(server, protocol)["2"]
            assert state == "UNAVAILABLE"
            assert "sha256" in reason
        assert served(server) == "1"
        status, body = server.get(f"/v2/models/{NAME}/versions/2/ready")
        assert (status, server.status("/v2/health/ready")) == (503, 200), body
        assert "version 2 is refused" in server.log()
        time.sleep(0.5)
        assert server.metric("modelyard_model_load_failures_total", model=NAME) == 2, "not again and again"
        load.check()
        assert {turn for client in FOLLOWING for turn in load.turns(client)} == {"1"}
        (folder / "versions" / "2" / "model.onnx").write_bytes(kept)
        wait_served(server, "2")
        load.go_on()
    load.check()


def test_a_start_with_a_broken_stable_version(folder: Path) -> None:
    set_aliases(folder, stable="3", previous="1")
    change_a_byte(folder / "versions" / "3")
    with serve(folder.parent, NAME) as server, clients(server, pinned=["2"]) as load:
        assert served(server) == "1"
        load.go_on()
        assert "version 3 is promoted and refused: version 1 is served" in server.log()
        assert index(server, "http")["3"][0] == "UNAVAILABLE"
    load.check()


def test_killed_in_the_middle_and_started_again(folder: Path) -> None:
    """At any moment of a swap: what stands in the file is served the next time."""
    dice = random.Random(5)
    before = "1"
    set_aliases(folder, stable=before)
    for version in "2312":
        server = start(folder.parent, NAME, folder.parent / "server.log", env=SOON)
        try:
            server.wait_ready()
            assert served(server) == before
            with clients(server) as load:
                load.go_on(3)
                set_aliases(folder, stable=version, previous=before)
                time.sleep(dice.uniform(0, 0.4))
                server.process.kill()
            assert not [text for one in load.loads for text in one.lost if "says" in text], "no wrong answer before"
        finally:
            server.stop()
        before = version


def test_the_candidate_is_addressed_by_its_word(folder: Path) -> None:
    run(folder, "promote", NAME, "1")
    with serve(folder.parent, NAME, SOON) as server:
        assert served(server, "candidate") == ""
        assert server.status(f"/v2/models/{NAME}/versions/candidate") == 404
        run(folder, "promote", NAME, "3", "--candidate")
        until(lambda: served(server, "candidate") == "3", "the candidate is loaded", 30)
        with clients(server) as load:
            for ask in (HttpAsk(server, "candidate"), HttpAsk(server, "3")):
                assert ask(1.5) == ("3", 1.5 * SCALES["3"])
                ask.close()
            load.go_on()
            assert load.turns("gRPC") == ["1"]
            run(folder, "promote", NAME, "candidate")
            wait_served(server, "3")
            load.go_on()
        load.check()
        assert server.status(f"/v2/models/{NAME}/versions/candidate") == 404
        document = json.loads(server.get(f"/v2/models/{NAME}")[1])
        assert document["versions"] == ["1", "2", "3"]


def test_promotes_loads_and_unloads_at_once(folder: Path) -> None:
    """An unloaded model says so, with 503; nothing else goes wrong, and in the end what is promoted is served."""
    set_aliases(folder, stable="1")
    with serve(folder.parent, NAME, {**SOON, "MODELYARD_ADMIN": "true"}) as server, clients(server) as load:
        load.go_on()
        for version in "2313":
            set_aliases(folder, stable=version, previous="1" if version != "1" else "3")
            for change in ("load", "unload", "load"):
                reply = httpx.post(f"{server.url}/v2/repository/models/{NAME}/{change}", timeout=60)
                assert reply.status_code == 200, reply.text
            load.go_on(5)
        wait_served(server, "3")
    for one in load.loads:
        assert all("not loaded" in text for text in one.lost), one.lost[:3]
        assert one.answered


def test_memory_is_bounded(tmp_path: Path) -> None:
    """Thirty swaps, each of which loads a version of 4 MB and lets one go."""
    folder = import_versions(tmp_path, heavy)
    set_aliases(folder, stable="1")
    env = {**SOON, "MODELYARD_LOADED_VERSIONS": "1"}
    sizes = []
    with serve(tmp_path, NAME, env) as server, clients(server) as load:
        order = "231" * 10
        for number, version in enumerate(order):
            set_aliases(folder, stable=version, previous="123"["123".index(version) - 1])
            wait_served(server, version)
            load.go_on(2)
            assert len(json.loads(server.get(f"/v2/models/{NAME}")[1])["versions"]) <= 3
            if number >= 8:
                sizes.append(server.memory_bytes())
        load.check()
        until(lambda: len(json.loads(server.get(f"/v2/models/{NAME}")[1])["versions"]) == 2, "the rest is gone")
        assert server.get(f"/v2/models/{NAME}/versions/2")[0] == 404
        assert b"on disk, but not loaded" in server.get(f"/v2/models/{NAME}/versions/2")[1]
    assert min(sizes[-5:]) - max(sizes[:5]) < 40e6, sizes
