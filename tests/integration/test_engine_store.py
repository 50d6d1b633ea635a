"""The store of engines between processes: what is wanted twice is built once, what is not to be trusted is not loaded.

One server loads its model again for each case; what lies in the folder is changed in between.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.calls import until
from tests.integration.gpu_asks import Moved, check_active, check_ready, counts, replies, wait_active
from tests.integration.gpu_harness import CUDA, ENGINE, NAME, Gpu, echo_repository, gpu_server, reload
from tests.integration.harness import Server

SOMEBODY = 12_345
DIGEST_BYTES = 32


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`echo` on the whole chain."""
    return echo_repository(tmp_path_factory.mktemp("repository"))


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Gpu:
    """What the tests that share a server steer."""
    return Gpu(tmp_path_factory.mktemp("gpu"))


@pytest.fixture(scope="module")
def server(device: Gpu, repository: Path) -> Iterator[Server]:
    """A server with an engine."""
    with gpu_server(repository, device, admin=True) as running:
        wait_active(running, ENGINE)
        yield running
        assert running.stop() == 0


def only(found: list[Path]) -> Path:
    """The one file that there is."""
    (path,) = found
    return path


def corrupt(device: Gpu) -> None:
    """One bit of the plan."""
    plan = only(device.plans())
    raw = bytearray(plan.read_bytes())
    raw[len(raw) // 2] ^= 1
    plan.write_bytes(raw)


def truncate(device: Gpu) -> None:
    """Half of the plan."""
    plan = only(device.plans())
    os.truncate(plan, plan.stat().st_size // 2)


def forget_manifest(device: Gpu) -> None:
    """A plan that nobody answers for."""
    only(device.manifests()).unlink()


def replace_manifest(device: Gpu) -> None:
    """A manifest that is none."""
    only(device.manifests()).write_text('{"format": 1}')


def open_plan(device: Gpu) -> None:
    """A plan that everybody can write."""
    only(device.plans()).chmod(0o666)


def open_manifest(device: Gpu) -> None:
    """A manifest that a group can write: it could name a plan of its own."""
    only(device.manifests()).chmod(0o660)


def give_plan_away(device: Gpu) -> None:
    """A plan of somebody else."""
    os.chown(only(device.plans()), SOMEBODY, -1)


def link_plan(device: Gpu) -> None:
    """A link where the plan was."""
    plan = only(device.plans())
    plan.symlink_to(plan.rename(device.folder / "elsewhere.plan"))


TAMPERED: dict[str, tuple[Callable[[Gpu], None], str]] = {
    "a corrupted plan": (corrupt, "is corrupted: deleted"),
    "half a plan": (truncate, "is corrupted: deleted"),
    "no manifest": (forget_manifest, "its plan has no manifest"),
    "another manifest": (replace_manifest, "its manifest is none"),
    "a plan that everybody can write": (open_plan, "can be written by others"),
    "a manifest that a group can write": (open_manifest, "can be written by others"),
    "a plan of another owner": (give_plan_away, f"belongs to user {SOMEBODY}"),
    "a link": (link_plan, "a link is refused"),
}


@pytest.mark.parametrize(("tamper", "why"), TAMPERED.values(), ids=TAMPERED)
def test_a_plan_that_is_not_to_be_trusted_is_built_anew(
    tamper: Callable[[Gpu], None], why: str, server: Server, device: Gpu
) -> None:
    if tamper is give_plan_away and os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    bad = only(device.plans())
    tamper(device)
    moved, built, said = Moved(server), device.built(), server.log()
    reload(server)
    wait_active(server, ENGINE)
    check_active(server, ENGINE)
    check_ready(server, True)
    assert moved() == {"build built": 1}
    assert device.built() - built == 1
    assert why in server.log().removeprefix(said)
    good = only(device.plans())
    assert good != bad, "the bad one is gone, under its own name"
    assert (good.stat().st_uid, good.stat().st_mode & 0o777) == (os.geteuid(), 0o600)


def test_a_good_plan_is_found(server: Server, device: Gpu) -> None:
    moved, built, plan = Moved(server), device.built(), only(device.plans())
    reload(server)
    wait_active(server, ENGINE)
    assert moved() == {"build found": 1}
    assert (device.built(), device.plans()) == (built, [plan])


def publish(device: Gpu, plan: bytes) -> None:
    """As the store would: the manifest answers for it."""
    path, manifest = only(device.plans()), only(device.manifests())
    path.write_bytes(plan)
    digest = {"sha256": hashlib.sha256(plan).hexdigest(), "bytes": len(plan)}
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | digest))


def of_another_tensorrt(plan: bytes) -> bytes:
    """A plan whose version stands where the fake looks for it."""
    body = plan[:-DIGEST_BYTES].replace(b'"version": "10.', b'"version": "11.')
    assert body != plan[:-DIGEST_BYTES]
    return body + hashlib.sha256(body).digest()


def of_nothing(plan: bytes) -> bytes:
    """As long as a plan."""
    return bytes(len(plan))


@pytest.mark.parametrize("become", [of_another_tensorrt, of_nothing])
def test_a_plan_that_tensorrt_cannot_read_is_built_anew(
    become: Callable[[bytes], bytes], server: Server, device: Gpu
) -> None:
    """The store has nothing against it; TensorRT has."""
    bad = only(device.plans())
    publish(device, become(bad.read_bytes()))
    device.set(build={"seconds": 15})  # the timing cache shortens that to a tenth
    moved, built, said = Moved(server), device.built(), server.log()
    reload(server)
    until(lambda: "it is built anew" in server.log().removeprefix(said), "the plan was refused", 30)
    assert {reply.backend for reply in replies(server, 1.75)} == {CUDA}, "the fallback serves meanwhile"
    check_ready(server, True)
    wait_active(server, ENGINE)
    check_active(server, ENGINE)
    assert moved() == {"build built": 1}
    assert device.built() - built == 1
    assert only(device.plans()) != bad
    device.set()


def test_a_plan_that_tensorrt_never_reads_is_given_up(server: Server, device: Gpu) -> None:
    """One build, then the fallback: not a build without end."""
    device.set(plan="corrupt")
    moved, built = Moved(server), device.built()
    reload(server)
    until(lambda: moved().get(f"fallback {ENGINE} unavailable") == 1, "the engine is given up", 30)
    check_ready(server, True)
    check_active(server, CUDA, ENGINE, "plan")
    assert device.built() - built == 1
    device.set()
    reload(server)
    wait_active(server, ENGINE)


def test_a_folder_that_others_can_write_is_not_used(server: Server, device: Gpu) -> None:
    device.engines.chmod(0o777)
    try:
        moved, built = Moved(server), device.built()
        reload(server)
        until(lambda: moved().get(f"fallback {ENGINE} unavailable") == 1, "the engine is given up", 30)
        check_ready(server, True)
        check_active(server, CUDA, ENGINE, "can be written by others")
        assert device.built() == built
    finally:
        device.engines.chmod(0o700)


def test_a_killed_builder_leaves_nothing_and_the_next_one_builds(repository: Path, tmp_path: Path) -> None:
    device = Gpu(tmp_path)
    device.set(build={"seconds": 120})
    with gpu_server(repository, device) as server:
        until(lambda: "Computing profile costs" in server.log(), "it is being built", 30)
        (victim,) = device.children()
        device.set(build={"seconds": 0.5})
        victim.kill()
        victim.wait(5)
        check_active(server, CUDA, ENGINE, "not ready yet")
        wait_active(server, ENGINE)
        check_active(server, ENGINE)
        assert counts(server) == {"build built": 1}
        assert "SIGKILL" in server.log()
        assert (device.built(), len(device.plans()), len(device.manifests())) == (1, 1, 1)
        assert not list(device.engines.glob("*.tmp"))
        assert not list(device.engines.glob("*.lock"))
        assert server.stop() == 0


def test_servers_and_workers_that_want_the_same_engine_build_it_once(repository: Path, tmp_path: Path) -> None:
    device = Gpu(tmp_path)
    device.set(build={"seconds": 2})
    with gpu_server(repository, device, workers=2) as two, gpu_server(repository, device) as one:
        check_ready(two, True)
        check_ready(one, True)
        for server, workers in ((two, 2), (one, 1)):
            until(
                lambda s=server, w=workers: s.metric("modelyard_backend_active", backend=ENGINE) == w,  # type: ignore[misc]
                "all are on it",
                60,
            )
            check_active(server, ENGINE, workers=workers)
            assert sum(value for name, value in counts(server).items() if name.startswith("build")) == workers
            assert not [name for name in counts(server) if name not in {"build built", "build found"}]
        assert device.built() == 1
        assert (len(device.plans()), len(device.manifests())) == (1, 1)
        listed = device.run("engines", "list").out
        assert f" {NAME} " in listed
        assert "1 engine " in listed
        assert [two.stop(), one.stop()] == [0, 0]
