"""The text that Prometheus scrapes: the files of all workers, added up, without what is over.

    files of the workers -> those of dead workers: counters stay, live gauges go -> sums -> of loaded versions -> text

A worker that was killed cannot take back its gauges: its files of live gauges are dropped. Its counters and histograms
stay, so that no sum ever goes back; the worker that is started in its place begins files of its own.

Versions come and go with every promote; their series would stay as long as the process. What is labelled with a version
that no worker has loaded is left out, and is there again, with its old counts, when the version is.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

CONTENT_TYPE = CONTENT_TYPE_LATEST
INFO = "modelyard_model_info"


def exposition() -> bytes:
    """What stands in /metrics, of all workers of this server. Call `meters.flush` before, in the loop."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    return generate_latest(_Present(Path(folder) if folder else None))


class _Present(Collector):
    """The samples of now. `folder`: where the workers keep theirs; None: all are in this process."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def collect(self) -> Iterator[Metric]:
        metrics = list(REGISTRY.collect() if self._folder is None else _collected(self._folder))
        loaded = _loaded(metrics)
        for metric in metrics:
            metric.samples = [sample for sample in metric.samples if _concerns(sample.labels, loaded)]
            if metric.name == INFO:
                metric.samples = [sample for sample in metric.samples if sample.value]
            yield metric


def _collected(folder: Path) -> Iterable[Metric]:
    _forget_dead_workers(folder)
    # a worker that starts, or was killed then, has made its file and not yet given it a size
    files = [str(path) for path in folder.glob("*.db") if _size(path)]
    merged: Iterable[Metric] = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]  # untyped library
    return merged


def _forget_dead_workers(folder: Path) -> None:
    for path in folder.glob("gauge_live*_*.db"):
        if not _is_worker(int(path.stem.rpartition("_")[2])):
            path.unlink(missing_ok=True)


def _is_worker(pid: int) -> bool:
    """This process, its supervisor (which follows a store), or another child of that: who has got the number of a dead
    one meanwhile is none of them."""
    if pid in {os.getpid(), os.getppid()}:
        return True
    try:
        state, parent = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[:2]
    except OSError:
        return False
    return state != "Z" and int(parent) == os.getppid()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # another worker, that is asked as well, was quicker to forget it
        return 0


def _loaded(metrics: Iterable[Metric]) -> set[tuple[str, str]]:
    """Model and version."""
    info = next((metric.samples for metric in metrics if metric.name == INFO), [])
    return {(sample.labels["model"], sample.labels["version"]) for sample in info if sample.value}


def _concerns(labels: dict[str, str], loaded: set[tuple[str, str]]) -> bool:
    return not {"model", "version"} <= labels.keys() or (labels["model"], labels["version"]) in loaded
