"""A cluster to try the deployment scripts on, in which `digits` runs version 1 in two pods. The kubectl is real."""

from __future__ import annotations

import base64
import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.fakes.cluster.server import serve
from tests.fakes.cluster.state import Cluster, Image
from tests.integration.harness import CommandResult
from tests.tools.client import client

SCRIPTS = Path(__file__).parents[2] / "deploy" / "k8s"
FAKE = Path(__file__).parents[1] / "fakes" / "cluster" / "bin"
NAMESPACE, CONTEXT = "modelyard", "test"
SERVER, CANARY = "digits-server", "digits-canary"
ONE, TWO = "modelyard-digits:0.1.0", "modelyard-digits:0.2.0"
DIGESTS = {"1": "1" * 64, "2": "2" * 64, "3": "3" * 64}
CHANGING = frozenset({"patch", "annotate", "scale", "undo", "apply", "set", "delete", "create", "edit", "replace"})
QUICK = ("--watch", "0", "--timeout", "20")
SCRIPT_SECONDS = 120.0


class Scene:
    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster, self.folder = cluster, folder
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("MODELYARD_")}
        self.environment |= {
            "PATH": f"{FAKE}:{os.environ['PATH']}",
            "HOME": str(folder),
            "KUBECONFIG": str(folder / "kubeconfig"),
            "FAKE_CLUSTER": str(folder),
            "FAKE_KUBECTL": str(client()),
            "FAKE_PYTHON": sys.executable,
            "GOGC": "off",  # a kubectl lives for a moment
            "GOMAXPROCS": "1",
        }

    def run(self, script: str, *arguments: str, **environment: str) -> CommandResult:
        process = self.start(script, *arguments, **environment)
        out, err = process.communicate(timeout=SCRIPT_SECONDS)
        return CommandResult(process.returncode, out, err)

    def start(
        self, script: str, *arguments: str, stdin: Any = subprocess.DEVNULL, **environment: str
    ) -> subprocess.Popen[str]:
        (self.folder / "calls").write_text("")
        return subprocess.Popen(
            # What is started in the background of a shell ignores SIGINT, and bash cannot trap what is ignored.
            ["/usr/bin/env", "--default-signal=INT", str(SCRIPTS / script), *arguments],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment | environment,
        )

    @property
    def calls(self) -> list[list[str]]:
        """Of kubectl, by the last script."""
        return [call.split("\0")[:-1] for call in (self.folder / "calls").read_text().split("\x1e\0")[:-1]]

    @property
    def changes(self) -> list[list[str]]:
        """The calls that change something."""
        return [call for call in self.calls if any(word in CHANGING for word in call[:4]) and "can-i" not in call]

    def image(self, deployment: str = SERVER) -> str:
        containers = self.cluster.deployments[deployment]["spec"]["template"]["spec"]["containers"]
        return str(next(one["image"] for one in containers if one["name"] == "server"))

    def set_image(self, image: str, deployment: str = SERVER) -> None:
        """By somebody else: nothing but the image changes."""
        with self.cluster.changed:
            document = self.cluster.deployment(deployment)
            document["spec"]["template"]["spec"]["containers"][1]["image"] = image
            self.cluster.replace(deployment, document)

    def scale(self, replicas: int, deployment: str = SERVER) -> None:
        with self.cluster.changed:
            document = self.cluster.deployment(deployment)
            document["spec"]["replicas"] = replicas
            self.cluster.replace(deployment, document)

    def annotations(self, deployment: str = SERVER) -> dict[str, str]:
        found: dict[str, str] = self.cluster.deployments[deployment]["metadata"]["annotations"]
        return found

    def weights(self, route: str = "digits") -> dict[str, int]:
        refs = self.cluster.routes[route]["spec"]["rules"][0]["backendRefs"]
        return {ref["name"]: ref["weight"] for ref in refs if "weight" in ref}

    def add_canary(self) -> None:
        """What the components gateway and canary bring."""
        self.cluster.deploy(CANARY, ONE, 0)
        refs = [
            {"name": "other", "port": 80},
            {"name": SERVER, "port": 80, "weight": 100},
            {"name": CANARY, "port": 80, "weight": 0},
        ]
        for name, kind in (("digits", "HTTPRoute"), ("digits-grpc", "GRPCRoute")):
            document = {
                "apiVersion": "gateway.networking.k8s.io/v1",
                "kind": kind,
                "metadata": {"name": name, "namespace": NAMESPACE},
                "spec": {"rules": [{"backendRefs": json.loads(json.dumps(refs))}, {"matches": []}]},
            }
            self.cluster.adopt(document)


def golden_rows(folder: Path, version: str) -> None:
    """One row in, 1.0 out, as it lies in an image."""
    place = folder / "models" / "digits" / "versions" / version
    place.mkdir(parents=True)
    data = base64.b64encode(struct.pack("<f", 1.0)).decode()
    tensor: dict[str, Any] = {"datatype": "FP32", "shape": [1, 1], "base64": data}
    document = {"inputs": [tensor | {"name": "x"}], "outputs": [tensor | {"name": "y"}]}
    (place / "golden.json").write_text(json.dumps(document))


@contextmanager
def scene(folder: Path, **images: Image) -> Iterator[Scene]:
    """`two` is the image that is rolled out; others by keyword."""
    known = {ONE: Image("1", DIGESTS["1"]), TWO: Image("2", DIGESTS["2"])}
    cluster = Cluster(NAMESPACE, known)
    for version in ("1", "2"):
        golden_rows(folder, version)
    cluster.deploy(SERVER, ONE, annotations={"kubernetes.io/change-cause": "applied with kubectl"})
    server = serve(cluster)
    port = server.server_address[1]
    (folder / "kubeconfig").write_text(kubeconfig(f"http://127.0.0.1:{port}"))
    pod = {
        "MODELYARD_MODEL": "digits",
        "MODELYARD_HTTP_PORT": str(port),
        "MODELYARD_REPOSITORY": str(folder / "models"),
    }
    (folder / "pod").write_text("".join(f"{name}='{value}'\n" for name, value in pod.items()))
    try:
        yield Scene(cluster, folder)
    finally:
        server.shutdown()
        server.server_close()


def kubeconfig(address: str) -> str:
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": CONTEXT,
            "clusters": [{"name": "here", "cluster": {"server": address}}],
            "users": [{"name": "somebody", "user": {}}],
            "contexts": [{"name": CONTEXT, "context": {"cluster": "here", "user": "somebody", "namespace": NAMESPACE}}],
        }
    )
