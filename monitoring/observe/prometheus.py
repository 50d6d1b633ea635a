"""A real Prometheus for a while: its configuration, its process, questions to it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from modelyard.authoring.ports import free_port
from monitoring.queries import RULES
from tests.tools.prometheus import tool

SCRAPE_SECONDS = 1
HOLD = "1s"
"""For how long an alert must hold here: minutes in use, which nobody waits for in a check."""
START_SECONDS = 90.0


@dataclass(frozen=True)
class Target:
    """A server that is scraped, with the labels that a cluster would give it."""

    address: str
    service: str
    pod: str

    def document(self) -> dict[str, Any]:
        """As Prometheus reads it."""
        return {"targets": [self.address], "labels": {"namespace": "demo", "service": self.service, "pod": self.pod}}


@dataclass
class Prometheus:
    """The HTTP API of a running one."""

    client: httpx.Client
    log_path: Path

    def ask(self, path: str, **parameters: object) -> Any:
        """The `data` of an answer. Raises AssertionError with Prometheus's own words."""
        sent = {key: str(value) for key, value in parameters.items()}
        reply = self.client.get(f"/api/v1/{path}", params=sent)
        body = reply.json()
        assert body["status"] == "success", f"{path} {parameters}: {body.get('error')}"
        return body["data"]

    def instant(self, expr: str) -> list[float]:
        """The values of a query now."""
        return [float(series["value"][1]) for series in self.ask("query", query=expr)["result"]]

    def between(self, expr: str, start: float, end: float, step: float) -> list[dict[str, Any]]:
        """The series of a query between two times: `metric` and `values`, pairs of time and text."""
        found: list[dict[str, Any]] = self.ask("query_range", query=expr, start=start, end=end, step=step)["result"]
        return found

    def wait(self, expr: str, seconds: float = START_SECONDS) -> None:
        """Return when a query has an answer."""
        deadline = time.monotonic() + seconds
        while not self.instant(expr):
            assert time.monotonic() < deadline, (
                f"no data within {seconds} s: {expr}\n{self.log_path.read_text()[-3000:]}"
            )
            time.sleep(0.2)


@contextmanager
def prometheus(folder: Path, targets: list[Target]) -> Iterator[Prometheus]:
    """Scrapes the targets and works out the project's rules every second, until the block ends."""
    port = free_port()
    (folder / "rules").mkdir(parents=True)
    for path in RULES.glob("*.yaml"):
        (folder / "rules" / path.name).write_text(yaml.safe_dump(_hurried(yaml.safe_load(path.read_text()))))
    config = {
        "global": {"scrape_interval": f"{SCRAPE_SECONDS}s", "evaluation_interval": f"{SCRAPE_SECONDS}s"},
        "rule_files": ["rules/*.yaml"],
        "scrape_configs": [{"job_name": "modelyard", "static_configs": [target.document() for target in targets]}],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    command: list[str | Path] = [
        tool("prometheus"),
        f"--config.file={folder}/prometheus.yaml",
        f"--storage.tsdb.path={folder}/data",
    ]
    log_path = folder / "prometheus.log"
    with log_path.open("w") as log:
        process = subprocess.Popen(
            [*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=subprocess.STDOUT
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            running = Prometheus(client, log_path)
            _wait_ready(running, process)
            yield running
    finally:
        process.terminate()
        process.wait(20)


def _hurried(document: Mapping[str, Any]) -> dict[str, Any]:
    """The same rules, worked out at every evaluation, and alerts that fire after a second."""
    groups = [{key: value for key, value in group.items() if key != "interval"} for group in document["groups"]]
    for group in groups:
        group["rules"] = [rule | ({"for": HOLD} if "for" in rule else {}) for rule in group["rules"]]
    return {"groups": groups}


def _wait_ready(running: Prometheus, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        assert process.poll() is None, f"prometheus ended with {process.returncode}:\n{running.log_path.read_text()}"
        assert time.monotonic() < deadline, f"prometheus was not ready in time:\n{running.log_path.read_text()}"
        try:
            if running.client.get("/-/ready").status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
