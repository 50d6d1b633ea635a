"""deploy/k8s/rollback.sh, with the real kubectl before a simulated cluster."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.cluster.state import NEVER, Image
from tests.integration.deploy_cluster import DIGESTS, ONE, QUICK, SERVER, TWO, Scene, scene

NOTHING, LATE, BROKEN, MISSING = 3, 4, 5, 8
THREE = "modelyard-digits:0.3.0"
SERVED = "modelyard.dev/served"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Scene]:
    """Version 2 was rolled out after version 1."""
    with scene(tmp_path) as found:
        found.cluster.deploy(SERVER, TWO, annotations={"kubernetes.io/change-cause": 'set "image" | by hand\nat night'})
        yield found


def test_it_goes_back_shows_the_history_and_never_forward_again(cluster: Scene) -> None:
    done = cluster.run("rollback.sh", "digits")
    assert (done.code, cluster.image()) == (0, ONE), done
    assert [line.split()[:2] for line in done.out.splitlines()[2:4]] == [["1", ONE], ["2", TWO]]
    assert "applied with kubectl" in done.out
    assert "checked: 2 pods are ready and answer with version 1" in done.out
    assert f"done: {SERVER} runs {ONE}, version 1, revision 3" in done.out
    assert "next: " in done.out
    assert cluster.annotations()[SERVED].split()[1:] == ["1", DIGESTS["1"]]
    again = cluster.run("rollback.sh", "digits")
    assert (again.code, cluster.image(), "nothing to undo" in again.out) == (0, ONE, True), again
    assert not [call for call in cluster.changes if "undo" in call]


def test_to_a_revision_by_its_number_old_or_new(cluster: Scene) -> None:
    cluster.cluster.images[THREE] = Image("3", DIGESTS["3"])
    cluster.cluster.deploy(SERVER, THREE)
    for _ in range(2):  # the revision has another number after the first time
        done = cluster.run("rollback.sh", "digits", "--to-revision", "1")
        assert (done.code, cluster.image()) == (0, ONE), done
    absent = cluster.run("rollback.sh", "digits", "--to-revision", "9")
    assert (absent.code, cluster.changes) == (NOTHING, []), absent


def test_dry_run_changes_nothing(cluster: Scene) -> None:
    done = cluster.run("rollback.sh", "digits", "--dry-run")
    assert (done.code, cluster.image(), cluster.changes) == (0, TWO, []), done
    assert "would run: kubectl --namespace=modelyard rollout undo deployment/digits-server --to-revision=1" in done.out


def test_nothing_to_undo(tmp_path: Path) -> None:
    with scene(tmp_path) as cluster:
        done = cluster.run("rollback.sh", "digits")
        assert (done.code, cluster.changes) == (NOTHING, []), done
        assert "nothing to go back to" in done.err


def test_pods_that_are_not_ready_in_time(cluster: Scene) -> None:
    cluster.cluster.images[ONE].ready_seconds = NEVER
    done = cluster.run("rollback.sh", "digits", "--timeout", "3")
    assert (done.code, cluster.image(), "under way" in done.err) == (LATE, ONE, True), done
    cluster.cluster.images[ONE].ready_seconds = 0.0
    again = cluster.run("rollback.sh", "digits")
    assert (again.code, cluster.image()) == (0, ONE), again


def test_the_wrong_version_after_an_undo(cluster: Scene) -> None:
    """The tag was pushed anew: the old name, another model."""
    first = next(one for one in cluster.cluster.replica_sets.values() if ONE in str(one))
    hashed = first["metadata"]["labels"]["pod-template-hash"]
    first["metadata"]["annotations"][SERVED] = f"{hashed} 1 {DIGESTS['1']}"
    cluster.cluster.images[ONE] = Image("7", DIGESTS["3"])
    done = cluster.run("rollback.sh", "digits")
    assert (done.code, cluster.image()) == (BROKEN, ONE), done
    assert "version 7" in done.err
    assert DIGESTS["1"] in done.err


def test_what_another_revision_served_is_not_expected(cluster: Scene) -> None:
    """Kubernetes copies a Deployment's annotations to the next ReplicaSet that `kubectl apply` makes."""
    first = next(one for one in cluster.cluster.replica_sets.values() if ONE in str(one))
    first["metadata"]["annotations"][SERVED] = f"otherhash 5 {DIGESTS['3']}"
    done = cluster.run("rollback.sh", "digits")
    assert (done.code, cluster.image()) == (0, ONE), done


def test_what_was_expected_of_another_image_is_not_expected(cluster: Scene) -> None:
    """`kubectl apply` brings the next image, and leaves what was noted on the pods for the one before."""
    four = "modelyard-digits:0.4.0"
    cluster.cluster.images |= {THREE: Image("3", DIGESTS["3"]), four: Image("4", "4" * 64)}
    assert cluster.run("rollout.sh", "digits", ONE, *QUICK, "--digest", DIGESTS["1"]).code == 0
    cluster.set_image(THREE)
    cluster.set_image(four)
    done = cluster.run("rollback.sh", "digits")
    assert (done.code, cluster.image()) == (0, THREE), done


@pytest.mark.parametrize(("key", "value"), [("paused", True), ("replicas", 0)])
def test_what_would_wait_forever_is_refused(cluster: Scene, key: str, value: object) -> None:
    cluster.cluster.deployments[SERVER]["spec"][key] = value
    done = cluster.run("rollback.sh", "digits")
    assert (done.code, cluster.changes) == (MISSING, []), done
