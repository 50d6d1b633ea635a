"""deploy/k8s/canary.sh, with the real kubectl before a simulated cluster that has routes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.fakes.cluster.state import NEVER, Image
from tests.integration.deploy_cluster import CANARY, DIGESTS, ONE, QUICK, SCRIPTS, SERVER, TWO, Scene, scene
from tests.tools.kubectl import command

WATCHED = ("--watch", "4", "--timeout", "20")
FAILED, NOTHING, LATE, MISSING = 1, 3, 4, 8
ROUTES = ("digits", "digits-grpc")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Scene]:
    with scene(tmp_path) as found:
        found.add_canary()
        yield found


def replicas(cluster: Scene) -> int:
    return int(cluster.cluster.deployments[CANARY]["spec"]["replicas"])


def test_start_another_step_and_promote(cluster: Scene) -> None:
    started = cluster.run("canary.sh", "start", "digits", TWO, "10", *WATCHED)
    assert started.code == 0, started
    assert (cluster.image(CANARY), cluster.image(), replicas(cluster)) == (TWO, ONE, 1)
    for route in ROUTES:
        assert cluster.weights(route) == {SERVER: 90, CANARY: 10}
    step = cluster.run("canary.sh", "start", "digits", TWO, "50", *QUICK, "--replicas", "2")
    assert (step.code, cluster.weights()[CANARY], replicas(cluster)) == (0, 50, 2), step
    promoted = cluster.run("canary.sh", "promote", "digits", *QUICK)
    assert promoted.code == 0, promoted
    assert (cluster.image(), cluster.weights(), replicas(cluster)) == (TWO, {SERVER: 100, CANARY: 0}, 0)
    again = cluster.run("canary.sh", "promote", "digits", *QUICK)
    assert (again.code, cluster.changes, "nothing to do" in again.out) == (0, [], True), again


def test_abort_takes_the_traffic_then_the_pods_and_may_be_repeated(cluster: Scene) -> None:
    assert cluster.run("canary.sh", "start", "digits", TWO, "25", *QUICK).code == 0
    done = cluster.run("canary.sh", "abort", "digits")
    assert (done.code, cluster.weights(), replicas(cluster)) == (0, {SERVER: 100, CANARY: 0}, 0), done
    assert [("patch" in call, "scale" in call) for call in cluster.changes] == [(True, False)] * 2 + [(False, True)]
    again = cluster.run("canary.sh", "abort", "digits")
    assert (again.code, cluster.changes) == (0, []), again


@pytest.mark.parametrize(
    ("image", "code", "words"),
    [
        pytest.param(Image("2", DIGESTS["2"], errors=0.2), FAILED, "failed", id="errors"),
        pytest.param(Image("2", DIGESTS["2"], answer=2.0), FAILED, "golden", id="wrong answers"),
        pytest.param(Image("2", DIGESTS["2"], unready_after=2.0), FAILED, "ready", id="not ready any more"),
        pytest.param(Image("2", DIGESTS["2"], ready_seconds=NEVER), LATE, "not ready", id="never ready"),
    ],
)
def test_a_canary_that_is_worse_is_taken_away(cluster: Scene, image: Image, code: int, words: str) -> None:
    cluster.cluster.images[TWO] = image
    done = cluster.run("canary.sh", "start", "digits", TWO, "10", "--watch", "12", "--timeout", "4")
    assert (done.code, words in done.err, "serves everything" in done.err) == (code, True, True), done
    assert (cluster.weights(), replicas(cluster), cluster.image()) == ({SERVER: 100, CANARY: 0}, 0, ONE)


def test_a_promoted_version_that_fails_takes_the_canary_with_it(cluster: Scene) -> None:
    assert cluster.run("canary.sh", "start", "digits", TWO, "10", *QUICK).code == 0
    cluster.cluster.images[TWO].errors = 0.5
    done = cluster.run("canary.sh", "promote", "digits", TWO, *WATCHED)
    assert (done.code, cluster.image(), cluster.weights()[CANARY], replicas(cluster)) == (FAILED, ONE, 0, 0), done


def test_dry_run_changes_nothing(cluster: Scene) -> None:
    done = cluster.run("canary.sh", "start", "digits", TWO, "10", "--dry-run")
    assert (done.code, cluster.changes, "would run: " in done.out) == (0, [], True), done
    assert '"value":90' in done.out


def test_on_what_the_production_overlay_brings(cluster: Scene) -> None:
    """Names, labels and routes as they are rendered."""
    done = subprocess.run([*command(), SCRIPTS / "overlays" / "production"], capture_output=True, text=True, check=True)
    kept = {"Deployment", "HTTPRoute", "GRPCRoute"}
    objects = [one for one in yaml.load_all(done.stdout, Loader=yaml.CSafeLoader) if one["kind"] in kept]
    own = [one for one in objects if one["metadata"]["labels"]["app.kubernetes.io/name"] == "digits"]
    image = f"registry.example.com/{ONE}"
    cluster.cluster.images |= {image: Image("1", DIGESTS["1"]), f"{image}.1": Image("2", DIGESTS["2"])}
    for name in (SERVER, CANARY):
        del cluster.cluster.deployments[name]
    cluster.cluster.pods.clear()
    cluster.cluster.replica_sets.clear()
    cluster.cluster.routes.clear()
    for one in own:
        cluster.cluster.adopt(one)
    started = cluster.run("canary.sh", "start", "digits", f"{image}.1", "20", *QUICK)
    assert (started.code, cluster.weights("digits")) == (0, {SERVER: 80, CANARY: 20}), started
    assert cluster.weights("digits-grpc") == {SERVER: 80, CANARY: 20}
    promoted = cluster.run("canary.sh", "promote", "digits", *QUICK)
    assert (promoted.code, cluster.image(), replicas(cluster)) == (0, f"{image}.1", 0), promoted


def test_only_rules_that_split_the_traffic_are_set(cluster: Scene) -> None:
    """Not a route inside the cluster, not one between other services, not another rule of the same route."""
    alone = {"backendRefs": [{"name": SERVER, "port": 80}]}
    mixed = {
        "backendRefs": [{"name": "wine-server", "port": 80, "weight": 30}, {"name": SERVER, "port": 80, "weight": 70}]
    }
    foreign = {"digits": alone, "inside": alone, "mixed": mixed}
    for name, rule in foreign.items():
        about = cluster.cluster.routes["digits"] | {"metadata": {"name": name}, "spec": {"rules": []}}
        cluster.cluster.routes.setdefault(name, about)["spec"]["rules"].append(json.loads(json.dumps(rule)))
    assert cluster.run("canary.sh", "start", "digits", TWO, "100", *QUICK).code == 0
    assert cluster.weights() == {SERVER: 0, CANARY: 100}
    assert {name: cluster.cluster.routes[name]["spec"]["rules"][-1] for name in foreign} == foreign
    assert cluster.run("canary.sh", "abort", "digits").code == 0
    assert cluster.weights() == {SERVER: 100, CANARY: 0}
    assert {name: cluster.cluster.routes[name]["spec"]["rules"][-1] for name in foreign} == foreign


def test_a_weight_that_is_not_said_is_1(cluster: Scene) -> None:
    """An abort has something to do there."""
    for route in cluster.cluster.routes.values():
        for ref in route["spec"]["rules"][0]["backendRefs"]:
            ref.pop("weight", None)
    done = cluster.run("canary.sh", "abort", "digits")
    assert (done.code, cluster.weights()) == (0, {SERVER: 100, CANARY: 0}), done


def test_nothing_to_promote(cluster: Scene) -> None:
    cluster.cluster.deploy(CANARY, TWO, 0)
    done = cluster.run("canary.sh", "promote", "digits")
    assert (done.code, cluster.changes) == (NOTHING, []), done


def test_another_image_than_the_canarys_is_not_promoted(cluster: Scene) -> None:
    assert cluster.run("canary.sh", "start", "digits", TWO, "10", *QUICK).code == 0
    done = cluster.run("canary.sh", "promote", "digits", "modelyard-digits:0.9.0")
    assert (done.code, cluster.changes) == (NOTHING, []), done


@pytest.mark.parametrize("absent", ["route", "backend", "canary", "right"])
def test_without_what_a_canary_needs_it_is_refused(cluster: Scene, absent: str) -> None:
    if absent == "route":
        cluster.cluster.routes = {}
    elif absent == "backend":
        for route in cluster.cluster.routes.values():
            route["spec"]["rules"][0]["backendRefs"].pop()
    elif absent == "canary":
        del cluster.cluster.deployments[CANARY]
    else:
        cluster.cluster.denied = {"list httproutes"}
    done = cluster.run("canary.sh", "start", "digits", TWO, "10", *QUICK)
    assert (done.code, cluster.changes) == (MISSING, []), done
    assert "next: " in done.err
