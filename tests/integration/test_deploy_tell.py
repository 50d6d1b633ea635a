"""deploy/k8s/lib/tell.py, which the scripts send into a pod: beside a real server, as in its pod."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.deploy_cluster import SCRIPTS
from tests.integration.families import families
from tests.integration.harness import Server, free_port, serve

PROGRAM = (SCRIPTS / "lib" / "tell.py").read_text()
MODELS = ("wine", "embed")
"""Numbers, and texts."""


@dataclass
class PodOf:
    server: Server
    repository: Path

    def tell(self, call: str, **environment: str) -> subprocess.CompletedProcess[str]:
        own = {
            "PATH": os.environ["PATH"],
            "MODELYARD_MODEL": self.server.name,
            "MODELYARD_REPOSITORY": str(self.repository),
            "MODELYARD_HTTP_PORT": str(self.server.http_port),
            "MODELYARD_API_KEYS": "scripts:key-of-scripts,other:key",
        }
        text = f"{PROGRAM}\nmain({call})\n"
        return subprocess.run(
            [sys.executable, "-I", "-"],
            input=text,
            capture_output=True,
            text=True,
            env=own | environment,
            timeout=60,
            check=False,
        )

    def answers(self, rows: str = "", **environment: str) -> dict[str, str]:
        done = self.tell(f'"answers", "{rows}"', **environment)
        assert done.returncode == 0, done
        return dict(line.split("=", 1) for line in done.stdout.splitlines())


@pytest.fixture(scope="module", params=MODELS)
def pod(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PodOf]:
    repository = families([request.param], tmp_path_factory)
    with serve(repository, request.param, {"MODELYARD_API_KEYS": "scripts:key-of-scripts"}) as server:
        yield PodOf(server, repository)


def test_what_it_serves_and_that_it_answers_as_when_it_was_exported(pod: PodOf) -> None:
    folder = max((pod.repository / pod.server.name / "versions").iterdir())
    manifest = json.loads((folder / "manifest.json").read_text())
    rows = pod.tell('"rows"').stdout
    found = pod.answers(rows)
    assert (found["model"], found["version"], found["ready"]) == (pod.server.name, manifest["version"], "yes")
    assert (found["golden"], found["others"]) == ("agree", "agree")
    assert len(found["digest"]) == 64
    shown = pod.tell('"metrics"').stdout
    assert f'digest="{found["digest"][:12]}"' in shown


def test_the_same_is_seen_in_its_metrics(pod: PodOf, tmp_path: Path) -> None:
    (tmp_path / "exposition").write_text(pod.tell('"metrics"').stdout)
    awk = str(shutil.which("awk"))
    command = [
        awk,
        "-v",
        f"service={pod.server.name}",
        "-v",
        "what=answers",
        "-f",
        str(SCRIPTS / "lib" / "figures.awk"),
    ]
    done = subprocess.run([*command, tmp_path / "exposition"], capture_output=True, text=True, check=True)
    lines, told = dict(line.split("=", 1) for line in done.stdout.splitlines()), pod.answers()
    assert lines.pop("digest") == told["digest"][:12]
    assert lines == {key: told[key] for key in ("model", "version", "ready")} | {"golden": "none", "others": "none"}


def changed(rows: str, part: str, **change: object) -> str:
    document = json.loads(base64.b64decode(rows))
    document[part][0].update(change)
    return base64.b64encode(json.dumps(document).encode()).decode()


def test_rows_of_another_interface_do_not_agree(pod: PodOf) -> None:
    rows = pod.tell('"rows"').stdout
    assert pod.answers(changed(rows, "outputs", name="gone"))["others"].startswith("differ: output 'gone'")
    assert pod.answers(changed(rows, "outputs", datatype="INT8"))["others"].startswith("differ")
    assert pod.answers(changed(rows, "inputs", name="gone"))["others"].startswith("fail: infer answers 400")


def test_wrong_answers_are_seen(pod: PodOf, tmp_path: Path) -> None:
    """The golden outputs of this copy are others than what the server gives."""
    shutil.copytree(pod.repository, tmp_path / "models")
    golden = max((tmp_path / "models" / pod.server.name / "versions").iterdir()) / "golden.json"
    document = json.loads(golden.read_text())
    raw = bytearray(base64.b64decode(document["outputs"][-1]["base64"]))
    raw[-2] ^= 0x40
    document["outputs"][-1]["base64"] = base64.b64encode(raw).decode()
    golden.write_text(json.dumps(document))
    assert pod.answers(MODELYARD_REPOSITORY=str(tmp_path / "models"))["golden"].startswith("differ: output")
    assert pod.answers(MODELYARD_REPOSITORY="s3://bucket/models")["golden"] == "none"


def test_a_server_that_cannot_be_asked_is_one_line(pod: PodOf) -> None:
    for environment in ({"MODELYARD_HTTP_PORT": str(free_port())}, {"MODELYARD_API_KEYS": "a:wrong"}):
        done = pod.tell('"answers"', **environment)
        assert done.returncode == 1
        assert done.stderr.startswith("error: the pod cannot be asked: ")
        assert done.stderr.count("\n") == 1
