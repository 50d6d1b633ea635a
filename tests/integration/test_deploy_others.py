"""Others at the same time: what they change is left alone, and a reader who goes away ends nothing."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fakes.cluster.state import NEVER, Image
from tests.integration.calls import until
from tests.integration.deploy_cluster import CANARY, DIGESTS, ONE, SCRIPTS, SERVER, TWO, Scene, scene

FAILED, MISSING = 1, 8
THREE = "modelyard-digits:0.3.0"
SERVED = "modelyard.dev/served"
WATCHED = ("--watch", "3", "--timeout", "20")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Scene]:
    with scene(tmp_path) as found:
        found.cluster.images[THREE] = Image("3", DIGESTS["3"])
        found.add_canary()
        yield found


def meanwhile(process: subprocess.Popen[str], change: Callable[[], object]) -> tuple[int, str]:
    """The change is made when the watch has begun. Returns exit code and stderr."""
    assert process.stdout
    lines = iter(process.stdout.readline, "")
    assert any(line.startswith("watching") for line in lines), process.communicate()
    change()
    _, err = process.communicate(timeout=60)
    return process.returncode, err


def template_note(cluster: Scene) -> None:
    """What `kubectl rollout restart` does."""
    with cluster.cluster.changed:
        document = cluster.cluster.deployment(SERVER)
        document["spec"]["template"]["metadata"].setdefault("annotations", {})["restartedAt"] = "now"
        cluster.cluster.replace(SERVER, document)


CHANGES: dict[str, Callable[[Scene], object]] = {
    "another image": lambda cluster: cluster.set_image(THREE),
    "the old image": lambda cluster: cluster.set_image(ONE),
    "restarted": template_note,
    "scaled to zero": lambda cluster: cluster.scale(0),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("errors", [0.0, 0.5], ids=["good", "bad"])
def test_what_somebody_changes_in_the_watch_is_left_alone(
    cluster: Scene, change: Callable[[Scene], object], errors: float
) -> None:
    cluster.cluster.images[TWO].errors = errors
    code, err = meanwhile(cluster.start("rollout.sh", "digits", TWO, *WATCHED), lambda: change(cluster))
    assert code == MISSING, err
    assert err.count("error: ") == err.count(f"somebody else is changing {SERVER}: it is at revision ") == 1, err
    assert not [call for call in cluster.changes if "patch" not in call], "neither noted nor undone"
    assert SERVED not in cluster.annotations()


def test_what_somebody_sets_before_the_image_is_set_is_left_alone(cluster: Scene) -> None:
    process = cluster.start("rollout.sh", "digits", TWO, *WATCHED)
    until(lambda: any("exec" in call for call in cluster.calls), "the old pods are asked", 60)
    cluster.set_image(THREE)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, cluster.changes, cluster.image()) == (MISSING, [], THREE), err


def test_what_somebody_sets_while_it_goes_back_is_left_alone(cluster: Scene) -> None:
    cluster.cluster.deploy(SERVER, TWO)
    cluster.cluster.images[ONE].ready_seconds = NEVER
    process = cluster.start("rollback.sh", "digits", "--timeout", "20")
    until(lambda: any("status" in call for call in cluster.calls), "it waits", 60)
    cluster.set_image(THREE)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, cluster.image(), "somebody else" in err) == (MISSING, THREE, True), err
    assert SERVED not in cluster.annotations()


def test_pods_that_are_all_replaced_in_the_watch_are_looked_at(cluster: Scene) -> None:
    def lose_nodes() -> None:
        with cluster.cluster.changed:
            cluster.cluster.images[TWO].ready_seconds = NEVER
            cluster.cluster.pods.clear()
            cluster.cluster.reconcile(SERVER)

    code, err = meanwhile(cluster.start("rollout.sh", "digits", TWO, "--watch", "8"), lose_nodes)
    assert (code, cluster.image(), "no pod of it is ready any more" in err) == (FAILED, ONE, True), err


def set_weight(cluster: Scene, weight: int) -> None:
    cluster.cluster.routes["digits"]["spec"]["rules"][0]["backendRefs"][2]["weight"] = weight


CANARY_CHANGES: dict[str, Callable[[Scene], object]] = {
    "another image": lambda cluster: cluster.set_image(THREE, CANARY),
    "no pods": lambda cluster: cluster.scale(0, CANARY),
    "another weight": lambda cluster: set_weight(cluster, 50),
    "no route": lambda cluster: cluster.cluster.routes.pop("digits") and cluster.cluster.routes.pop("digits-grpc"),
}


@pytest.mark.parametrize("change", CANARY_CHANGES.values(), ids=CANARY_CHANGES)
def test_a_canary_that_somebody_changes_is_left_alone(cluster: Scene, change: Callable[[Scene], object]) -> None:
    before = []

    def once() -> None:
        before.extend(cluster.changes)
        change(cluster)

    code, err = meanwhile(cluster.start("canary.sh", "start", "digits", TWO, "10", *WATCHED), once)
    assert (code, err.count("error: "), cluster.changes) == (MISSING, 1, before), err
    assert SERVED not in cluster.annotations(CANARY)


def test_an_abort_in_the_watch_of_a_canary(cluster: Scene) -> None:
    def abort() -> None:
        assert cluster.run("canary.sh", "abort", "digits").code == 0

    code, err = meanwhile(cluster.start("canary.sh", "start", "digits", TWO, "10", *WATCHED), abort)
    assert (code, cluster.weights(), "somebody else" in err) == (MISSING, {SERVER: 100, CANARY: 0}, True), err


def test_the_next_canary_of_somebody_else_survives_a_promotion(cluster: Scene) -> None:
    assert cluster.run("canary.sh", "start", "digits", TWO, "10", "--watch", "0").code == 0
    promoting = cluster.start("canary.sh", "promote", "digits", *WATCHED)
    code, err = meanwhile(promoting, lambda: cluster.set_image(THREE, CANARY))
    assert (code, cluster.image(), cluster.image(CANARY)) == (0, TWO, THREE), err
    assert cluster.cluster.deployments[CANARY]["spec"]["replicas"] == 1
    assert f"warning: somebody else has set {CANARY} to {THREE}" in err


@pytest.mark.parametrize("both", [False, True], ids=["stdout", "stderr as well"])
@pytest.mark.parametrize(("errors", "code", "image"), [(0.5, FAILED, ONE), (0.0, 0, TWO)], ids=["bad", "good"])
def test_a_reader_that_goes_away_ends_nothing(cluster: Scene, both: bool, errors: float, code: int, image: str) -> None:
    """`rollout.sh ... | head`: the new version is judged, and goes back, as if somebody read on."""
    cluster.cluster.images[TWO].errors = errors
    process = subprocess.Popen(
        ["/usr/bin/env", "--default-signal=PIPE", str(SCRIPTS / "rollout.sh"), "digits", TWO, *WATCHED],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if both else subprocess.DEVNULL,
        env=cluster.environment,
    )
    assert process.stdout
    process.stdout.readline()
    process.stdout.close()
    assert (process.wait(60), cluster.image()) == (code, image)
    assert cluster.annotations()[SERVED].split()[1] == cluster.cluster.images[image].version
