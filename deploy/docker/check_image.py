"""Build the image of a model for real, run it as a cluster would, ask it, and print a table of what was seen.

    .venv/bin/python deploy/docker/check_image.py digits        docker, and a registry to pull the base from

    sudo deploy/docker/stand-in-base.sh podman                  no registry: a base of our own
    .venv/bin/python deploy/docker/check_image.py digits --tool podman --offline

--offline is for a machine without a registry, and without bridges for containers: the host's network serves; podman
takes runc and cgroupfs, and mounts the host's certificates while it builds (for docker the base carries them).

Exit codes: 0 all held, 1 something did not.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http

from modelyard.building.order import Order, read_order
from modelyard.golden import Golden, read_golden
from modelyard.manifest import GOLDEN

ROOT = Path(__file__).resolve().parents[2]
HTTP, GRPC = 38300, 38301
MOST_BYTES = 600 * 10**6
READY_SECONDS = 120
CONTAINERS_CONF = """[containers]
default_ulimits = ["nofile=16384:16384", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
UNWANTED_MODULES = ("torch", "pip", "setuptools", "wheel", "uv", "sklearn", "scipy", "pytest")
UNWANTED_PROGRAMS = ("gcc", "cc", "g++", "ld", "make", "pip", "pip3", "curl", "wget", "git")
LOOK = f"""
import importlib.util, shutil, json
modules = [m for m in {UNWANTED_MODULES!r} if importlib.util.find_spec(m)]
print(json.dumps(modules + [p for p in {UNWANTED_PROGRAMS!r} if shutil.which(p)]))
"""
MODELS = """
import pathlib
print(*sorted(f"{path.parents[1].name}/{path.name}" for path in pathlib.Path("/models").glob("*/versions/*")))
"""
WRITE = """
import pathlib
pathlib.Path("/tmp/probe").write_text("x")
for place in ("/probe", "/models/probe", "/opt/probe", "/var/lib/modelyard/engines/probe"):
    try:
        pathlib.Path(place).write_text("x")
    except OSError:
        continue
    raise SystemExit(place + " can be written")
"""


@dataclass
class Report:
    rows: list[tuple[str, str, bool]] = field(default_factory=list)

    def add(self, what: str, seen: str, held: bool = True) -> None:
        self.rows.append((what, seen, held))
        print(f"{'ok    ' if held else 'FAILED'} {what}: {seen}", flush=True)

    def check(self, what: str, look: Callable[[], str]) -> None:
        try:
            self.add(what, look())
        except Exception as error:  # one that fails must not hide the others
            self.add(what, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}", held=False)

    def markdown(self) -> str:
        lines = ["| what | seen | |", "|---|---|---|"]
        return "\n".join(lines + [f"| {a} | {b} | {'ok' if ok else '**failed**'} |" for a, b, ok in self.rows])


class Tool:
    """docker or podman, with what this machine needs beside."""

    def __init__(self, name: str, offline: bool, folder: Path) -> None:
        self.name, self.offline = name, offline
        self.env = dict(os.environ)
        self.build_options: list[str] = []
        if offline:
            self.build_options = ["--network=host"]
        if offline and name == "podman":
            (folder / "containers.conf").write_text(CONTAINERS_CONF)
            (folder / "pip.conf").write_text(f"[global]\ncert = {CERTIFICATES}\n")
            self.env["CONTAINERS_CONF"] = str(folder / "containers.conf")
            mounts = (f"{CERTIFICATES}:{CERTIFICATES}:ro", f"{folder}/pip.conf:/etc/pip.conf:ro")
            self.build_options += ["--pull=never", *(f"--volume={mount}" for mount in mounts)]

    def __call__(self, *arguments: str, check: bool = True) -> str:
        done = subprocess.run([self.name, *arguments], env=self.env, capture_output=True, text=True, check=False)
        if check and done.returncode:
            raise RuntimeError(f"{self.name} {arguments[0]}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout.strip()

    def look(self, what: str, path: str) -> Any:
        return json.loads(self(*what.split(), "inspect", path))[0]

    def network(self) -> list[str]:
        if not self.offline:
            return ["--publish", f"127.0.0.1:{HTTP}:3000", "--publish", f"127.0.0.1:{GRPC}:3001"]
        ports = (f"MODELYARD_HTTP_PORT={HTTP}", f"MODELYARD_GRPC_PORT={GRPC}", "MODELYARD_HOST=127.0.0.1")
        return ["--network", "host", *(item for port in ports for item in ("--env", port))]

    @contextmanager
    def running(self, image: str, memory: str, *more: str) -> Iterator[str]:
        """A container as a cluster would run it: nothing can be written but /tmp."""
        hardened = ["--read-only", "--tmpfs", "/tmp:rw,size=64m,mode=1777", "--cap-drop", "ALL", "--memory", memory]
        hardened += ["--security-opt", "no-new-privileges", "--pids-limit", "512"]
        container = self("run", "--detach", *hardened, *self.network(), *more, image)
        try:
            yield container
        finally:
            self("rm", "--force", container, check=False)


def main() -> int:
    options = _options()
    report = Report()
    order = read_order(ROOT / "models", options.model)
    with tempfile.TemporaryDirectory(prefix="modelyard-check-") as folder:
        tool = Tool(options.tool, options.offline, Path(folder))
        if not options.keep and not _build(report, tool, order):
            print(f"\n{report.markdown()}")  # the tool's own words stand above; there is no image to look at
            return 1
        _look_inside(report, tool, order)
        _run(report, tool, order, options)
        if options.mounted:
            _mounted(report, tool, order.image("cpu"), options)
        version = tool("--version")
    print(f"\n{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {order.image('cpu')}, {version}\n\n{report.markdown()}")
    return 0 if all(held for *_, held in report.rows) else 1


def _build(report: Report, tool: Tool, order: Order) -> bool:
    more = [f"--tool-option={option}" for option in tool.build_options]
    command = [sys.executable, "-m", "modelyard", "build", order.model.name, "--tool", tool.name, *more]
    began = time.monotonic()
    code = subprocess.run(command, env=tool.env, cwd=ROOT, check=False).returncode
    report.add("`modelyard build`", f"{time.monotonic() - began:.0f} s, exit code {code}", code == 0)
    return code == 0


def _look_inside(report: Report, tool: Tool, order: Order) -> None:
    image = tool.look("image", order.image("cpu"))
    config = image["Config"]
    report.add("size", f"{image['Size'] / 1e6:.0f} MB, limit {MOST_BYTES / 1e6:.0f} MB", image["Size"] < MOST_BYTES)
    report.add("user", config["User"], config["User"] == "10001:10001")
    report.add("entry point", " ".join(config["Entrypoint"]), config["Entrypoint"] == ["modelyard", "serve"])
    health = (config.get("Healthcheck") or image.get("Healthcheck") or {}).get("Test") or ["none"]
    report.add("HEALTHCHECK", " ".join(health)[:40] + " ...", health[0] == "CMD")
    labels = config["Labels"]
    shown = ", ".join(sorted(name.removeprefix("org.opencontainers.image.") for name in labels))
    report.add("labels", shown, len(labels) >= 10)
    digest = labels.get("dev.modelyard.model-digest", "")
    report.add("digest of the model", digest[:12], digest == order.model.digest)
    found = json.loads(_inside(tool, order, LOOK))
    report.add("torch, compilers, pip, curl", f"found {', '.join(found) or 'none'}", not found)
    models = _inside(tool, order, MODELS)
    wanted = " ".join(sorted(f"{part.name}/{part.version}" for part in order.parts))
    report.add("models and versions inside", models, models == wanted)


def _inside(tool: Tool, order: Order, program: str) -> str:
    """What a program of Python prints in the image, without a network."""
    return tool("run", "--rm", "--network", "none", "--entrypoint", "python", order.image("cpu"), "-c", program)


def _run(report: Report, tool: Tool, order: Order, options: argparse.Namespace) -> None:
    golden = read_golden(order.model.folder / "versions" / order.model.version / GOLDEN)
    with tool.running(order.image("cpu"), options.memory) as container:
        report.check(f"ready, read-only, {options.memory} of memory", lambda: _wait(tool, container))
        report.check("runs as", lambda: tool("exec", container, "id", "-u") + ":" + tool("exec", container, "id", "-g"))
        report.check("writable: /tmp alone", lambda: tool("exec", container, "python", "-c", WRITE) or "yes")
        report.check("prediction over HTTP", lambda: _ask(triton_http, HTTP, order.model.name, golden))
        report.check("prediction over gRPC", lambda: _ask(triton_grpc, GRPC, order.model.name, golden))
        report.check("health, as docker asks", lambda: _health(tool, container))
        report.check("memory used", lambda: tool("stats", "--no-stream", "--format", "{{.MemUsage}}", container))
        report.check("SIGTERM", lambda: _stop(tool, container))


def _mounted(report: Report, tool: Tool, image: str, options: argparse.Namespace) -> None:
    order = read_order(ROOT / "models", options.mounted)
    golden = read_golden(order.model.folder / "versions" / order.model.version / GOLDEN)
    mounts = [f"--volume={ROOT / name}:/{name}:ro" for name in ("models", "services")]
    with tool.running(image, options.memory, *mounts, "--env", f"MODELYARD_MODEL={options.mounted}") as container:
        report.check(f"{options.mounted}, mounted at /models", lambda: _wait(tool, container))
        report.check("its prediction over HTTP", lambda: _ask(triton_http, HTTP, options.mounted, golden))


def _wait(tool: Tool, container: str) -> str:
    began = time.monotonic()
    while time.monotonic() - began < READY_SECONDS:
        if tool("inspect", "--format", "{{.State.Running}}", container) != "true":
            raise RuntimeError("it ended: " + tool("logs", container, check=False)[-300:])
        try:
            with triton_http.InferenceServerClient(f"127.0.0.1:{HTTP}") as client:
                if client.is_server_ready():
                    return f"after {time.monotonic() - began:.1f} s"
        except Exception:  # noqa: S110 (it does not listen yet)
            pass
        time.sleep(0.2)
    raise RuntimeError(f"not ready within {READY_SECONDS} s")


def _ask(module: Any, port: int, model: str, golden: Golden) -> str:
    """The golden inputs, and whether the answers are the golden outputs."""
    with module.InferenceServerClient(f"127.0.0.1:{port}") as client:
        inputs = []
        for tensor in golden.inputs:
            inputs.append(module.InferInput(tensor.name, list(tensor.shape), tensor.datatype))
            inputs[-1].set_data_from_numpy(tensor.array)
        began = time.monotonic()
        answer = client.infer(model, inputs)
        took = time.monotonic() - began
        for tensor in golden.outputs:
            got = answer.as_numpy(tensor.name)
            same = (
                np.allclose(got, tensor.array, rtol=1e-3, atol=1e-4)
                if got.dtype.kind == "f"
                else (got == tensor.array).all()
            )
            if not same:
                raise RuntimeError(f"{tensor.name} is not what was published")
        names = ", ".join(f"{tensor.name} {list(tensor.shape)}" for tensor in golden.outputs)
        return f"{names} as published, {took * 1000:.0f} ms"


def _health(tool: Tool, container: str) -> str:
    if tool.name == "podman":  # where there is no systemd, nothing calls it by itself
        tool("healthcheck", "run", container)
        return "healthy"
    for _ in range(60):
        status = tool("inspect", "--format", "{{.State.Health.Status}}", container)
        if status == "healthy":
            return status
        time.sleep(0.5)
    raise RuntimeError(status)


def _stop(tool: Tool, container: str) -> str:
    began = time.monotonic()
    tool("stop", "--time", "60", container)
    code = int(tool("inspect", "--format", "{{.State.ExitCode}}", container))
    if code:
        raise RuntimeError(f"exit code {code}: {tool('logs', container, check=False)[-300:]}")
    return f"exit code 0 after {time.monotonic() - began:.1f} s"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="digits")
    parser.add_argument("--tool", choices=("docker", "podman"), default="docker")
    parser.add_argument("--offline", action="store_true", help="no registry: the base is there already")
    parser.add_argument("--keep", action="store_true", help="look at the image that is there, build none")
    parser.add_argument("--memory", default="1g", help="limit of the container")
    parser.add_argument("--mounted", default="", help="a model to serve from outside, with the same image")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
