"""The deployment scripts before they touch a cluster: help, wrong usage, wrong context, no cluster; and shellcheck."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.authoring.ports import free_port
from tests.integration.deploy_cluster import FAKE, ONE, SCRIPTS, TWO, Scene, kubeconfig, scene
from tests.tools.client import debian_client

ROOT = SCRIPTS.parents[1]
NAMES = ("rollout.sh", "rollback.sh", "canary.sh")
USAGE, NOTHING, NO_CLUSTER, WRONG_CONTEXT, MISSING = 2, 3, 6, 7, 8
GOOD = {
    "rollout.sh": ["digits", TWO],
    "rollback.sh": ["digits"],
    "canary.sh": ["start", "digits", TWO, "10"],
}
CODE = re.compile(r"^  (\d+) +(\S.*)$", re.MULTILINE)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("cluster")) as found:
        yield found


def test_shellcheck_finds_nothing() -> None:
    checker = Path(sys.executable).with_name("shellcheck")
    checked = [SCRIPTS / name for name in NAMES]
    done = subprocess.run([checker, "-a", "-x", *checked], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for path in (*checked, *(SCRIPTS / "lib").glob("*.sh")):
        assert len(path.read_text().splitlines()) < 300, path
    for path in checked:
        assert "set -euo pipefail" in path.read_text()
        assert os.access(path, os.X_OK), path


@pytest.mark.parametrize("name", NAMES)
def test_help_has_the_codes_of_the_page(cluster: Scene, name: str) -> None:
    done = cluster.run(name, "--help", PATH="/usr/bin:/bin")
    assert (done.code, done.err) == (0, "")
    assert f"usage: {name}" in done.out
    codes = CODE.findall(done.out.partition("exit codes:")[2])
    assert [code for code, _ in codes] == ["0", "1", "2", "3", "4", "5", "6", "7", "8", "130"]
    page = (ROOT / "docs" / "deploy.md").read_text()
    assert re.findall(r"^\| (\d+) \| (.*) \|$", page, re.MULTILINE) == codes


WRONG = [
    [],
    ["digits", TWO, "third", "fourth", "fifth"],
    ["digits", TWO, "--nope", "1"],
    ["digits", TWO, "--watch"],
    ["digits", TWO, "--watch", "soon"],
    ["digits", TWO, "--watch=-1"],
    ["digits", TWO, "--timeout", "0"],
    ["digits", TWO, "--digest", "xyz"],
    ["digits", TWO, "--prometheus", "ftp://x"],
    ["digits", TWO, "--namespace", "a;b"],
    ["digits", TWO, "--ask", "nicely"],
    ["digits", TWO, "--timeout --ask", "1"],
    ["digits", TWO, "--max-p99", "much"],
    ["digits; touch hacked", TWO],
    ["$(touch hacked)", TWO],
    ["--", TWO],
    ["-digits", TWO],
    ["a b", TWO],
    ["../digits", TWO],
    ["", TWO],
    ["digits", 'x","op":"y'],
    ["digits", "-x"],
    ["digits", "image with spaces"],
    ["digits", "image\nother"],
    ["digits", "i" * 300],
]


@pytest.mark.parametrize("name", NAMES)
def test_wrong_usage_and_hostile_arguments(cluster: Scene, name: str) -> None:
    cases = [case for case in WRONG if name == "rollout.sh" or not case[1:] or case[0] != "digits"]
    cases += [["digits", "--to-revision", value] for value in ("0", "x", "1;ls", "01")] if name == "rollback.sh" else []
    if name == "canary.sh":
        cases = [["start", *case, "10"] for case in cases]
        cases += [["start", "digits", TWO, weight] for weight in ("0", "101", "x", "10;ls", "")]
        cases += [["dance", "digits", TWO, "10"], ["promote"], ["abort"], ["start", "digits", TWO]]
    for case in cases:
        done = cluster.run(name, *case)
        assert (done.code, cluster.calls) == (USAGE, []), (case, done)
        assert done.err.startswith("error: "), done
        assert f"next: {name} --help" in done.err
    assert not list(Path.cwd().glob("hacked*"))


@pytest.mark.parametrize("name", NAMES)
def test_another_context_is_refused(cluster: Scene, name: str) -> None:
    for arguments, environment in ((["--context", "production"], {}), ([], {"MODELYARD_CONTEXT": "production"})):
        done = cluster.run(name, *GOOD[name], *arguments, **environment)
        assert (done.code, cluster.changes) == (WRONG_CONTEXT, []), done
        assert "'test'" in done.err
        assert "'production'" in done.err
        assert len(cluster.calls) == 1, "only the context was asked for"
    assert cluster.image() == ONE


def test_the_namespace_of_the_environment_is_looked_at_too(cluster: Scene) -> None:
    done = cluster.run("rollback.sh", "digits", MODELYARD_NAMESPACE="a b; touch hacked")
    assert (done.code, cluster.calls) == (USAGE, []), done


@pytest.mark.parametrize(("answer", "code"), [("no", WRONG_CONTEXT), ("yes", NOTHING)])
def test_in_a_terminal_it_asks_whether_this_is_the_cluster(cluster: Scene, answer: str, code: int) -> None:
    ours, theirs = os.openpty()
    try:
        os.write(ours, f"{answer}\n".encode())
        process = cluster.start("rollback.sh", "digits", stdin=theirs)
        _, err = process.communicate(timeout=60)
        assert (process.returncode, cluster.changes) == (code, []), err
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize("name", NAMES)
def test_no_cluster(cluster: Scene, name: str, tmp_path: Path) -> None:
    nobody = tmp_path / "kubeconfig"
    nobody.write_text(kubeconfig(f"http://127.0.0.1:{free_port()}"))
    done = cluster.run(name, *GOOD[name], KUBECONFIG=str(nobody))
    assert (done.code, cluster.changes) == (NO_CLUSTER, []), done
    assert "does not answer" in done.err
    nobody.unlink()
    assert cluster.run(name, *GOOD[name], KUBECONFIG=str(nobody)).code == NO_CLUSTER


def link_tools(folder: Path) -> list[str]:
    """What the scripts say that they need, and bash. Returns their names."""
    found = re.search(r"^readonly TOOLS='(.*)'$", (SCRIPTS / "lib" / "common.sh").read_text(), re.MULTILINE)
    assert found
    names = found[1].split()
    for name in ("bash", *names):
        (folder / name).symlink_to(str(shutil.which(name)))
    return names


def test_a_missing_tool_is_named_and_no_other_is_needed(cluster: Scene, tmp_path: Path) -> None:
    names = link_tools(tmp_path)
    (tmp_path / "kubectl").symlink_to(FAKE / "kubectl")
    done = cluster.run("rollout.sh", "digits", ONE, "--watch", "0", PATH=str(tmp_path))
    assert (done.code, "command not found" in done.err) == (0, False), done
    for name in sorted({*names} - {"dirname"}):  # without dirname the scripts do not find themselves
        (tmp_path / name).rename(tmp_path / "hidden")
        done = cluster.run("rollout.sh", "digits", TWO, PATH=str(tmp_path))
        assert (done.code, cluster.calls, f"error: {name} is not on PATH" in done.err) == (MISSING, [], True), done
        (tmp_path / "hidden").rename(tmp_path / name)


def test_no_folder_for_what_comes_in_between(cluster: Scene, tmp_path: Path) -> None:
    for name in NAMES:
        done = cluster.run(name, *GOOD[name], TMPDIR=str(tmp_path / "absent"))
        assert (done.code, cluster.calls) == (MISSING, []), done
        assert done.err.startswith("error: no folder can be made in ")


def test_no_kubectl(cluster: Scene, tmp_path: Path) -> None:
    link_tools(tmp_path)
    for name in NAMES:
        done = cluster.run(name, *GOOD[name], PATH=str(tmp_path))
        assert (done.code, "kubectl is not installed" in done.err) == (NO_CLUSTER, True), done


def test_an_unknown_service_is_said(cluster: Scene) -> None:
    done = cluster.run("rollout.sh", "next_item", TWO)
    assert (done.code, cluster.changes) == (MISSING, []), done
    assert "no Deployment next-item-server in namespace modelyard" in done.err


def test_the_folder_of_the_caller_does_not_matter(cluster: Scene, tmp_path: Path) -> None:
    done = subprocess.run(
        [os.path.relpath(SCRIPTS / "rollback.sh", tmp_path), "digits", "--dry-run"],
        cwd=tmp_path,
        env=cluster.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3, done
    assert FAKE.exists()


@pytest.mark.parametrize("name", NAMES)
def test_it_finds_its_library_through_a_link_and_with_a_path_for_cd(name: str, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(SCRIPTS / name)
    environment = os.environ | {"CDPATH": str(ROOT)}
    for command in (f"deploy/k8s/{name}", str(tmp_path / "link")):
        done = subprocess.run(
            [command, "--help"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, ""), done


def test_an_old_kubectl_will_do(tmp_path: Path) -> None:
    """Debian's 1.20: nothing is asked of kubectl that is newer."""
    with scene(tmp_path) as old:
        old.environment["FAKE_KUBECTL"] = str(debian_client())
        old.add_canary()
        started = old.run("canary.sh", "start", "digits", TWO, "10", "--watch", "1")
        assert (started.code, old.weights()["digits-canary"]) == (0, 10), started
        promoted = old.run("canary.sh", "promote", "digits", "--watch", "0")
        assert (promoted.code, old.image()) == (0, TWO), promoted
        back = old.run("rollback.sh", "digits")
        assert (back.code, old.image()) == (0, ONE), back
