"""deploy/k8s/rollout.sh, with the real kubectl before a simulated cluster: when all is well, and when it is not."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes.cluster.state import NEVER, Image
from tests.integration.calls import until
from tests.integration.deploy_cluster import DIGESTS, NAMESPACE, ONE, QUICK, SERVER, TWO, Scene, scene
from tests.integration.harness import CommandResult

WATCHED = ("--watch", "4", "--timeout", "20")
FAILED, NOTHING, LATE, BROKEN, MISSING, INTERRUPTED = 1, 3, 4, 5, 8, 130


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Scene]:
    with scene(tmp_path) as found:
        yield found


def rolled_back(cluster: Scene, done: CommandResult, code: int, *words: str) -> None:
    """The old version serves, and it is said why (regular expressions) and what to do."""
    assert done.code == code, done
    assert cluster.image() == ONE
    last = [line for line in done.err.splitlines() if line.startswith("error: ")][-1]
    assert all(re.search(word, last) for word in (re.escape(TWO), "rolled back", "version 1", *words)), done.err
    assert "next: " in done.err
    assert "back from revision 2" in cluster.annotations()["kubernetes.io/change-cause"]


def test_a_rollout_is_checked_noted_and_not_repeated(cluster: Scene) -> None:
    done = cluster.run("rollout.sh", "digits", TWO, *WATCHED, "--digest", DIGESTS["2"][:12], "--context", "test")
    assert done.code == 0, done
    assert "checked: 2 pods are ready and answer with version 2" in done.out
    assert "cluster: test (http://127.0.0.1" in done.out
    assert "done: digits-server runs" in done.out
    assert "next: rollback.sh digits" in done.out
    notes = cluster.annotations()
    assert notes["kubernetes.io/change-cause"] == f"rollout.sh {TWO}"
    template = cluster.cluster.deployments[SERVER]["spec"]["template"]["metadata"]
    assert template["annotations"]["modelyard.dev/model-digest"] == f"{DIGESTS['2'][:12]} {TWO}"
    assert template["labels"]["app.kubernetes.io/version"] == "0.2.0"
    again = cluster.run("rollout.sh", "digits", TWO, *QUICK)
    assert (again.code, "nothing to do" in again.out) == (0, True), again
    assert cluster.changes == []
    assert all("--context=test" in call and f"--namespace={NAMESPACE}" in call for call in cluster.calls[2:])


def test_dry_run_changes_nothing(cluster: Scene) -> None:
    done = cluster.run("rollout.sh", "digits", TWO, "--dry-run")
    assert done.code == 0, done
    assert f'"image":"{TWO}"' in done.out
    assert cluster.changes == []
    assert (cluster.image(), "would run: kubectl" in done.out) == (ONE, True)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        pytest.param(Image("1", DIGESTS["1"]), ["version 1", DIGESTS["2"]], id="another model"),
        pytest.param(Image("2", DIGESTS["2"], answer=3.0), ["golden", "differ"], id="wrong answers"),
        pytest.param(Image("2", DIGESTS["2"], restarts_after=0.0), ["restarted"], id="restarted"),
    ],
)
def test_a_version_that_answers_wrongly_is_rolled_back(cluster: Scene, image: Image, words: list[str]) -> None:
    cluster.cluster.images[TWO] = image
    done = cluster.run("rollout.sh", "digits", TWO, *QUICK, "--digest", DIGESTS["2"])
    rolled_back(cluster, done, FAILED, *words)


def test_what_callers_of_the_old_version_send_is_tried_on_the_new_one(cluster: Scene) -> None:
    """The new version is true to its own rows; its output has another name."""
    cluster.cluster.images[TWO] = Image("3", DIGESTS["3"], output="z")
    rolled_back(
        cluster, cluster.run("rollout.sh", "digits", TWO, *QUICK), FAILED, "what the old version answers", "'y'"
    )


@pytest.mark.parametrize(
    ("image", "words"),
    [
        pytest.param(Image("2", DIGESTS["2"], errors=0.1), [r"\b(9|10|11)\.\d % of \d+ requests failed"], id="errors"),
        pytest.param(Image("2", DIGESTS["2"], refused=0.2), ["refused"], id="refusals"),
        pytest.param(Image("2", DIGESTS["2"], latency=0.09), ["p99"], id="slow"),
        pytest.param(Image("2", DIGESTS["2"], restarts_after=4.0), ["restarted"], id="restarted"),
    ],
)
def test_a_version_that_is_worse_is_rolled_back(cluster: Scene, image: Image, words: list[str]) -> None:
    cluster.cluster.images[TWO] = image
    rolled_back(cluster, cluster.run("rollout.sh", "digits", TWO, *WATCHED), FAILED, *words)


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(Image("2", DIGESTS["2"], ready_seconds=NEVER, waits_for="ImagePullBackOff"), id="never ready"),
        pytest.param(
            Image("2", DIGESTS["2"], too_late=True, waits_for="ImagePullBackOff"), id="deadline of the cluster"
        ),
    ],
)
def test_pods_that_are_not_ready_in_time_are_rolled_back(cluster: Scene, image: Image) -> None:
    cluster.cluster.images[TWO] = image
    done = cluster.run("rollout.sh", "digits", TWO, "--timeout", "4")
    rolled_back(cluster, done, LATE, "not ready", "ImagePullBackOff")


@pytest.mark.parametrize(
    ("image", "code"),
    [
        pytest.param(Image("1", DIGESTS["1"], restarts_after=60.0), 0, id="restarted long ago"),
        pytest.param(Image("1", DIGESTS["1"], ready_seconds=NEVER), BROKEN, id="not ready"),
    ],
)
def test_what_serves_already_is_asked_and_never_rolled_back(cluster: Scene, image: Image, code: int) -> None:
    cluster.cluster.images["modelyard-digits:0.0.9"] = Image("0", DIGESTS["3"])
    cluster.cluster.deploy(SERVER, "modelyard-digits:0.0.9")
    cluster.cluster.images[ONE] = image
    cluster.cluster.deploy(SERVER, ONE)
    done = cluster.run("rollout.sh", "digits", ONE, "--timeout", "3")
    assert (done.code, cluster.image()) == (code, ONE), done
    assert not [call for call in cluster.changes if "annotate" not in call]


def test_a_pod_that_an_autoscaler_has_just_made_is_waited_for(cluster: Scene) -> None:
    late = replace(next(iter(cluster.cluster.pods.values())), name="late", began=time.monotonic() + 5.0)
    cluster.cluster.pods["late"] = late
    done = cluster.run("rollout.sh", "digits", ONE, *QUICK)
    assert (done.code, "checked: 3 pods" in done.out) == (0, True), done


def test_when_going_back_does_not_help_somebody_has_to_look(cluster: Scene) -> None:
    cluster.cluster.images[TWO] = Image("2", DIGESTS["2"], answer=3.0)
    cluster.cluster.images[ONE] = Image("9", DIGESTS["3"])
    first = next(iter(cluster.cluster.replica_sets.values()))["metadata"]
    first["annotations"]["modelyard.dev/served"] = f"{first['labels']['pod-template-hash']} 1 {DIGESTS['1']}"
    done = cluster.run("rollout.sh", "digits", TWO, *QUICK)
    assert done.code == BROKEN, done
    assert "version 9" in done.err
    assert DIGESTS["1"] in done.err


def test_too_few_requests_are_not_judged(cluster: Scene) -> None:
    cluster.cluster.images[TWO] = Image("2", DIGESTS["2"], errors=0.5, rate=0.5)
    done = cluster.run("rollout.sh", "digits", TWO, *WATCHED)
    assert (done.code, "too few requests" in done.out) == (0, True), done


def test_through_the_proxy_of_the_api_server_where_exec_is_denied(cluster: Scene) -> None:
    cluster.cluster.denied = {"create pods/exec"}
    (cluster.folder / "no-exec").touch()
    done = cluster.run("rollout.sh", "digits", TWO, *QUICK, "--digest", DIGESTS["2"])
    assert (done.code, "golden rows are not compared" in done.out) == (0, True), done
    cluster.cluster.denied.add("get pods/proxy")
    done = cluster.run("rollout.sh", "digits", ONE, *QUICK)
    assert (done.code, cluster.changes) == (MISSING, []), done


@pytest.mark.parametrize("right", ["patch deployments", "list replicasets", "get deployments"])
def test_a_missing_right_is_said(cluster: Scene, right: str) -> None:
    cluster.cluster.denied = {right}
    done = cluster.run("rollout.sh", "digits", TWO, *QUICK)
    assert (done.code, cluster.image()) == (MISSING, ONE), done


def test_interrupted_it_says_how_things_are_and_goes_on_when_run_again(cluster: Scene) -> None:
    cluster.cluster.images[TWO].ready_seconds = NEVER
    process = cluster.start("rollout.sh", "digits", TWO, *QUICK)
    until(lambda: any("status" in call for call in cluster.calls), "it waits", 60)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == INTERRUPTED, (out, err)
    assert f"interrupted: {SERVER} has image {TWO}, not checked yet" in err
    assert "rollback.sh digits goes back" in err
    cluster.cluster.images[TWO].ready_seconds = 0.0
    done = cluster.run("rollout.sh", "digits", TWO, *QUICK)
    assert (done.code, "going on with it" in done.out) == (0, True), done
    assert not [call for call in cluster.changes if "patch" in call]


def test_what_somebody_else_sets_meanwhile_is_left_alone(cluster: Scene) -> None:
    cluster.cluster.images[TWO].ready_seconds = NEVER
    other = "modelyard-digits:0.3.0"
    cluster.cluster.images[other] = Image("3", DIGESTS["3"], ready_seconds=NEVER)
    process = cluster.start("rollout.sh", "digits", TWO, "--timeout", "6")
    until(lambda: any("status" in call for call in cluster.calls), "it waits", 60)
    cluster.set_image(other)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, cluster.image()) == (MISSING, other), err
    assert "somebody else" in err
