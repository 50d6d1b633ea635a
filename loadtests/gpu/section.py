"""The page's section about GPUs, made of gpu.json and of nothing else; without figures it says so and shows none.

benchmarks/gpu.json -> read -> parts: texts and tables -> loadtests/bench/page.py
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from loadtests.bench.tables import ABSENT, Table, rate

TITLES = {"encoder": "Encoder", "convnet": "Convolutional network"}
FACES = {"oip-binary": "HTTP binary", "oip-grpc": "gRPC"}

ABSENT_TEXT = """## On a GPU

Nothing was measured on a GPU for this page{why}, and so it shows no figure.
To measure: `make bench-gpu` on a machine with an NVIDIA GPU. It builds, checks and times torch, ONNX Runtime CUDA and
TensorRT side by side, then this server with them, says what could not run and why, and writes `benchmarks/gpu.json`, of
which this section is made.
"""

HEAD = """## On a GPU

{device}.
Taken {date} at commit {commit} in {minutes:g} minutes. Versions: {versions}.
`make bench-gpu` takes it again.
"""

HOW = """How the figures on a GPU were taken:

- {rounds} rounds of {seconds:g} s a measurement, one after the other in every round, in the other direction in every
  second round. Figures are medians over the rounds; the percentage is (largest - smallest) / median of the rates.
- In process: each subject has a process of its own and one caller, who gives a batch in the host's memory and waits for
  the answer there: the copies to the device and back are counted. The same weights, the same rows.
- fp32 is float32 everywhere: TF32 is off. fp16: torch by `.half()`, ONNX Runtime and TensorRT by the same converted
  file.
- torch.compile: mode reduce-overhead, for each batch size. TensorRT: the server's own backend, an engine with a profile
  for each batch size, built by the server's own builder.
- Error: the largest difference to ONNX Runtime in float32 on the CPU, and that by the largest right value. Answers
  outside the tolerance of their precision are wrong; what answers wrong is not timed.
- Ready: loading, and the first answer in every batch size; builds of engines apart. Memory: what the device had less
  after that than after the CUDA context was made.
- Through the server: one row a request, a closed loop over so many connections; the server makes the batches. The chain
  of backends is forced, and looked at before and after. The largest batch that was compared has 32 rows.
"""


def read(path: Path) -> dict[str, Any] | None:
    """The document; None when there is none."""
    if not path.exists():
        return None
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def parts(document: dict[str, Any] | None) -> Iterator[str | Table]:
    """The section: texts in Markdown, and tables."""
    if document is None or not (document["direct"] or document["served"]):
        reason = (document or {}).get("device", {}).get("absent", "")
        yield ABSENT_TEXT.format(why=f" ({reason})" if reason else "")
        return
    yield HEAD.format(
        device=_device(document["device"]),
        versions=", ".join(f"{name} {number}" for name, number in document["versions"].items()),
        **{name: document["taken"][name] or "unknown" for name in ("date", "commit", "minutes")},
    )
    yield from tables(document)
    yield HOW.format(rounds=document["taken"]["rounds"], seconds=document["taken"]["seconds"])


def tables(document: dict[str, Any]) -> list[Table]:
    """Every table that has a row."""
    found = []
    for model in dict.fromkeys(cell["model"] for cell in [*document["direct"], *document["served"]]):
        title = TITLES.get(model, model)
        direct = [cell for cell in document["direct"] if cell["model"] == model]
        served = [cell for cell in document["served"] if cell["model"] == model]
        loads = [load for load in document["loads"] if load["model"] == model]
        checks = [check for check in document["checks"] if check["model"] == model]
        found += [_rates(title, direct), _latencies(title, direct), _loads(title, loads, checks)]
        found.append(_served(title, served, checks))
    found.append(_failures(document["failures"]))
    return [table for table in found if table.rows]


def _device(device: dict[str, Any]) -> str:
    said = [str(device.get("name") or "an unknown device")]
    if device.get("memory_bytes"):
        said.append(f"{device['memory_bytes'] / 2**30:.0f} GiB")
    words = {
        "compute_capability": "compute capability",
        "power_limit_watts": "power limit in watts",
        "driver": "driver",
        "cuda_of_driver": "CUDA of the driver",
    }
    return ", ".join(said + [f"{word} {device[name]}" for name, word in words.items() if device.get(name)])


def _rates(title: str, cells: Sequence[dict[str, Any]]) -> Table:
    batches = _sizes(cells, "batch")
    rows = [
        [name, *(f"{rate(cell['rate'])} ({cell['spread']:.0%})" if cell else ABSENT for cell in line)]
        for name, line in _lines(cells, batches, "batch")
    ]
    return Table(f"{title} in process: rows/s", ["", *(f"batch {batch}" for batch in batches)], rows)


def _latencies(title: str, cells: Sequence[dict[str, Any]]) -> Table:
    batches = _sizes(cells, "batch")
    rows = [[name, *map(_latency, line)] for name, line in _lines(cells, batches, "batch")]
    return Table(f"{title} in process: p50 / p99 ms", ["", *(f"batch {batch}" for batch in batches)], rows)


def _loads(title: str, loads: Sequence[dict[str, Any]], checks: Sequence[dict[str, Any]]) -> Table:
    columns = [
        "",
        "build s, cold",
        "build s, timing cache",
        "ready s",
        "device MiB",
        "largest error",
        "relative",
        "wrong",
    ]
    rows = []
    for load in loads:
        memory = load["memory_bytes"]
        rows.append(
            [
                load["name"],
                *(f"{load['build'][kind]:.1f}" if kind in load["build"] else ABSENT for kind in ("cold", "cached")),
                f"{load['ready_seconds']:.1f}",
                f"{memory / 2**20:,.0f}" if memory is not None else ABSENT,
                *_errors([check for check in checks if check["name"] == load["name"]]),
            ]
        )
    return Table(f"{title}: build, memory, error", columns, rows)


def _served(title: str, cells: Sequence[dict[str, Any]], checks: Sequence[dict[str, Any]]) -> Table:
    counts = _sizes(cells, "connections")
    columns = [
        "",
        "over",
        *(f"rows/s at {count}" for count in counts),
        *(f"p50 / p99 ms at {count}" for count in counts),
    ]
    rows = []
    for face, words in FACES.items():
        mine = [cell for cell in cells if cell["face"] == face]
        for name, line in _lines(mine, counts, "connections"):
            rates = [f"{rate(cell['rate'])} ({cell['spread']:.0%})" if cell else ABSENT for cell in line]
            checked = [check for check in checks if (check["name"], check["how"]) == (name, face)]
            errors = f"{sum(cell['errors'] for cell in line if cell):,}"
            rows.append([name, words, *rates, *map(_latency, line), *_errors(checked)[::2], errors])
    return Table(f"{title} through the server", [*columns, "largest error", "wrong", "failed requests"], rows)


def _failures(failures: Sequence[dict[str, str]]) -> Table:
    rows = [[failure["name"], failure["model"], failure["reason"]] for failure in failures]
    return Table("What could not run", ["", "model", "reason"], rows, words=True)


def _errors(checks: Sequence[dict[str, Any]]) -> list[str]:
    """Largest error, relative error, how many were wrong of how many."""
    if not checks:
        return [ABSENT] * 3
    largest, relative = (max(check[name] for check in checks) for name in ("largest", "relative"))
    return [f"{largest:.1e}", f"{relative:.1e}", f"{sum(not check['right'] for check in checks)} of {len(checks)}"]


def _latency(cell: dict[str, Any] | None) -> str:
    return f"{cell['p50'] * 1e3:.3f} / {cell['p99'] * 1e3:.3f}" if cell else ABSENT


def _sizes(cells: Sequence[dict[str, Any]], name: str) -> list[int]:
    return sorted({cell[name] for cell in cells})


def _lines(
    cells: Sequence[dict[str, Any]], sizes: Sequence[int], name: str
) -> list[tuple[str, list[dict[str, Any] | None]]]:
    """Each name with its cells in the order of `sizes`."""
    by_place = {(cell["name"], cell[name]): cell for cell in cells}
    return [
        (one, [by_place.get((one, size)) for size in sizes]) for one in dict.fromkeys(cell["name"] for cell in cells)
    ]
