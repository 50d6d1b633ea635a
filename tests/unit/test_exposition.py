"""What of the workers' files is shown: counts of all, gauges of those that live, series of what is loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import metrics as client
from prometheus_client.parser import text_string_to_metric_families

from modelyard import drift_metrics, exposition, metrics, store_metrics

WORKER = """
import os, sys
from modelyard import metrics
from modelyard.meters import flush

version = sys.argv[1]
series = metrics.of_model("m", version)
metrics.model_info.labels("m", version, "digest", "onnxruntime-cpu", "fp32").set(1)
metrics.model_info.labels("m", version, "digest", "tensorrt", "fp32").set(0)
metrics.model_ready.labels("m", version).set(1)
metrics.gpu_memory_used.labels("0").set(5e9)
series.answered("http", "ok", 0.01)
series.in_flight.inc(3)
flush()
print(os.getpid(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    return tmp_path


def worker(version: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, version], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert int(process.stdout.readline()) == process.pid
    return process


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def samples() -> dict[tuple[str, str], float]:
    """Name without the prefix and version, to the sum of such samples."""
    found: dict[tuple[str, str], float] = {}
    for family in text_string_to_metric_families(exposition.exposition().decode()):
        for sample in family.samples:
            key = (sample.name.removeprefix("modelyard_"), sample.labels.get("version", ""))
            found[key] = found.get(key, 0.0) + sample.value
    return found


def test_a_dead_worker_leaves_counts_and_no_gauge(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getppid", os.getpid)  # the workers are children of this process
    first, second = worker("1"), worker("1")
    found = samples()
    assert (found["requests_total", "1"], found["in_flight_requests", ""]) == (2, 6)
    assert found["gpu_memory_used_bytes", ""] == 5e9
    end(first)
    found = samples()
    assert (found["requests_total", "1"], found["in_flight_requests", ""]) == (2, 3)
    end(second)
    assert "gpu_memory_used_bytes" not in {name for name, _ in samples()}
    assert not list(folder.glob("gauge_*"))
    assert list(folder.glob("counter_*"))


def test_whoever_has_got_the_number_of_a_dead_worker_is_none(folder: Path) -> None:
    """A process that is no child of the supervisor: here, one of this process."""
    stranger = worker("1")
    try:
        assert ("in_flight_requests", "") not in samples()
    finally:
        end(stranger)


def test_a_version_is_shown_while_a_worker_has_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getppid", os.getpid)
    first, second = worker("1"), worker("2")
    assert {version for _, version in samples()} == {"", "1", "2"}
    end(first)
    assert {version for _, version in samples()} == {"", "2"}
    third = worker("1")
    assert samples()["requests_total", "1"] == 2, "it is there again, with its old counts"
    assert b'model_info{backend="onnxruntime-cpu"' in exposition.exposition()
    assert b'model_info{backend="tensorrt"' not in exposition.exposition(), "what is not so is no information"
    end(second)
    end(third)


def test_a_file_without_content_is_passed_over(folder: Path) -> None:
    """As a worker leaves it that was killed between making the file and giving it a size."""
    for name in ("counter_1.db", "histogram_1.db", "gauge_livesum_1.db"):
        (folder / name).touch()
    assert samples() == {}


def test_no_gauge_outlives_its_worker() -> None:
    modules = (metrics, drift_metrics, store_metrics)
    gauges = [each for module in modules for each in vars(module).values() if isinstance(each, client.Gauge)]
    assert len(gauges) > 15
    assert [gauge for gauge in gauges if not gauge._multiprocess_mode.startswith("live")] == []


def test_without_a_folder_it_shows_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    text = exposition.exposition().decode()
    assert "python_info{" in text
    assert "modelyard_cache_evictions_total" in text
