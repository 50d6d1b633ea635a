"""What the deployment scripts read from metrics: names are the library's own, sums and the quantile are right."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram, generate_latest

from modelyard import metrics
from modelyard.buckets import REQUEST_BUCKETS

LIB = Path(__file__).resolve().parents[2] / "deploy" / "k8s" / "lib"
TEXT = "".join((LIB / name).read_text() for name in ("pods.sh", "figures.awk"))


def figures(service: str, *files: Path, what: str = "") -> str:
    command = [
        str(shutil.which("awk")),
        "-v",
        f"service={service}",
        "-v",
        f"what={what}",
        "-f",
        str(LIB / "figures.awk"),
    ]
    return subprocess.run([*command, *files], capture_output=True, text=True, check=True).stdout.strip()


def test_every_name_is_one_of_the_librarys() -> None:
    families = list(REGISTRY.collect())
    known = {family.name for family in families} | {f"{family.name}_total" for family in families}
    known |= {f"{family.name}_bucket" for family in families if family.type == "histogram"}
    text = re.sub(r"modelyard_\(([a-z_|]+)\)", lambda found: spelled(found[1]), TEXT)
    text = re.sub(r"modelyard_model_\(([a-z|]+)\)", lambda found: spelled(found[1], "modelyard_model_"), text)
    assert len(asked := set(re.findall(r"modelyard_\w+", text))) == 5, asked
    page = (LIB.parents[2] / "docs" / "deploy.md").read_text()
    assert asked | set(re.findall(r"modelyard_\w+", page)) <= known
    assert set(re.findall(r'count\["([a-z_]+)"\]', TEXT)) == set(metrics.OUTCOMES) - {"cancelled"}
    assert "ensemble" in metrics.PROTOCOLS


def spelled(choice: str, prefix: str = "modelyard_") -> str:
    return " ".join(prefix + word for word in choice.split("|"))


class Pod:
    """An exposition with the library's names and labels."""

    def __init__(self, model: str) -> None:
        self.model, self.registry = model, CollectorRegistry()
        labels = ("model", "version", "protocol")
        self.requests = Counter("modelyard_requests", "", (*labels, "outcome"), registry=self.registry)
        buckets = REQUEST_BUCKETS
        self.duration = Histogram(
            "modelyard_request_duration_seconds", "", labels, buckets=buckets, registry=self.registry
        )

    def answer(self, outcome: str, seconds: float, times: int = 1, protocol: str = "http") -> None:
        self.requests.labels(self.model, "1", protocol, outcome).inc(times)
        for _ in range(times):
            self.duration.labels(self.model, "1", protocol).observe(seconds)

    def write(self, path: Path) -> Path:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(generate_latest(self.registry))
        return path


def test_sums_over_pods_and_the_quantile_within_its_bucket(tmp_path: Path) -> None:
    one, two = Pod("next_item"), Pod("next_item")
    one.answer("ok", 0.003, 90)
    one.answer("ok", 0.003, 5, "grpc")
    two.answer("error", 0.003, 1)
    two.answer("shed", 0.003, 2, "api")
    two.answer("client_error", 0.2, 2)
    two.answer("error", 9.0, 50, "ensemble")
    two.answer("cancelled", 0.003, 1)
    files = one.write(tmp_path / "one"), two.write(tmp_path / "two")
    assert REQUEST_BUCKETS[6:8] == (0.1, 0.25)
    rank = (0.99 * 101 - 99) / 2  # of 101 durations, two lie in the bucket from 0.1 to 0.25
    total, bad, refused, p99 = figures("next-item", *files).split()
    assert (total, bad, refused) == ("100", "3", "2")
    assert float(p99) == pytest.approx(0.1 + rank * 0.15, rel=1e-4)
    assert figures("other", *files) == "0 0 0 -"


def test_what_was_before_is_taken_off_and_a_new_pod_counts_whole(tmp_path: Path) -> None:
    pod, fresh = Pod("digits"), Pod("digits")
    pod.answer("error", 5.0, 100)
    before = pod.write(tmp_path / "before" / "pod")
    pod.answer("ok", 0.0005, 10)
    fresh.answer("ok", 0.0005, 5)
    now = [pod.write(tmp_path / "now" / "pod"), fresh.write(tmp_path / "now" / "fresh")]
    total, bad, refused, p99 = figures("digits", *now, before).split()
    assert (total, bad, refused) == ("15", "0", "0")
    assert float(p99) == pytest.approx(0.00099)


def test_nothing_is_no_quantile(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.write_text("")
    assert figures("digits", empty) == "0 0 0 -"
    assert "version=\ndigest=\nready=no" in figures("digits", empty, what="answers")
