"""A small document of the GPU checks, as a run of two rounds with one model would give it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from loadtests.bench.core import Sample
from loadtests.gpu.taken import DIRECT, Taken

RATES = {  # subject, batch -> rows/s of each round
    ("torch eager fp32", 1): (1000.0, 800.0),
    ("torch eager fp32", 8): (4000.0, 4000.0),
    ("TensorRT fp16", 1): (3000.0, 2000.0),
}
ABOUT = {"command": "python -m loadtests.gpu", "quick": False, "rounds": 2, "seconds": 1.5, "minutes": 3.0}
DEVICE = {"name": "A GPU of a test", "memory_bytes": 80 * 2**30, "driver": "999.1", "compute_capability": "9.0"}


def taken(*, right: bool = True) -> Taken:
    """Two subjects, one server, one thing that could not run."""
    made = Taken()
    for (name, batch), rates in RATES.items():
        made.check(
            name, "encoder", batch, DIRECT, {"largest": 0.002, "relative": 0.001, "right": right, "seconds": 1.0}
        )
        made.measurements += [_measurement(name, DIRECT, batch, number, rate) for number, rate in enumerate(rates)]
    for name, build, memory in (
        ("torch eager fp32", {}, None),
        ("TensorRT fp16", {"cold": 60.0, "cached": 5.0}, 2**28),
    ):
        figures = {"build": build, "ready_seconds": 4.0, "memory_bytes": memory}
        made.loads.append({"name": name, "model": "encoder", **figures})
    made.served.append(_measurement("server, tensorrt fp16", "oip-grpc", 8, 0, 500.0))
    made.check("server, tensorrt fp16", "encoder", 8, "oip-grpc", {"largest": 0.003, "relative": 0.001, "right": True})
    made.fail("ONNX Runtime CUDA fp32", "encoder", "no | wheel")
    made.versions["tensorrt"] = "10.99"
    return made


def document(*, right: bool = True) -> dict[str, Any]:
    """The whole document."""
    return taken(right=right).document(ABOUT, DEVICE)


def _measurement(name: str, face: str, connections: int, number: int, rate: float) -> dict[str, Any]:
    sample = Sample(2.0, 100, 0, 0, 0.001, 0.002)
    where = {"round": number, "server": name, "model": "encoder", "face": face, "connections": connections}
    return {**where, **asdict(sample), "rate": rate}
