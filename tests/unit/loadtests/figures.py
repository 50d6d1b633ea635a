"""A small document of results, as a run of two rounds with one peer would give it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from loadtests.bench.core import Bar, Sample
from loadtests.bench.floors import ECHO, HELLO
from loadtests.bench.results import Results, sessions, summarise

RATES = {  # server, model, face, connections -> requests/s of each round
    (HELLO, "mlp", "oip-json", 32): (20_000.0, 10_000.0),
    (ECHO, "mlp", "oip-grpc", 32): (4_000.0, 4_000.0),
    ("modelyard", "mlp", "oip-json", 32): (16_000.0, 7_000.0),
    ("modelyard", "mlp", "oip-json", 1): (5_000.0, 5_000.0),
    ("modelyard", "mlp", "oip-grpc", 32): (3_000.0, 3_000.0),
    ("peer", "mlp", "json", 32): (8_000.0, 7_000.0),
    ("modelyard", "encoder", "oip-json", 8): (50.0, 50.0),
    ("modelyard", "encoder_int8", "oip-json", 8): (150.0, 150.0),
}


def measurements(errors: int = 0) -> list[dict[str, Any]]:
    """Every measurement of both rounds."""
    found = []
    for (server, model, face, connections), rates in RATES.items():
        for number, rate in enumerate(rates):
            sample = Sample(2.0, int(rate * 2), errors, 0, 0.001, 0.002, cpu_us=1e6 / rate, checked=10)
            where = {"round": number, "server": server, "model": model, "face": face, "connections": connections}
            found.append({**where, **asdict(sample), "rate": rate})
    return found


def document(errors: int = 0, bars: tuple[Bar, ...] = ()) -> Results:
    """The whole document."""
    bare = [
        {"round": number, "model": model, "threads": 2, "rate": rate, "p50": 1 / rate}
        for number in (0, 1)
        for model, rate in (("encoder", 52.0), ("encoder_int8", 170.0))
    ]
    return {
        "taken": {
            "date": "2026-01-02 03:04 UTC",
            "commit": "abc1234",
            "command": "python -m loadtests.bench",
            "rounds": 2,
            "seconds": 2.0,
            "encoder_seconds": 4.0,
            "minutes": 12.5,
        },
        "machine": {
            "cpu": "a processor",
            "cores": 2,
            "memory_gib": 8.0,
            "system": "Linux 6",
            "distribution": "Debian 12",
            "python": "CPython 3.11",
        },
        "packages": {"modelyard": "0.1.0", "uvicorn": "0.54.0"},
        "versions": {"modelyard": "0.1.0", "peer": "9.8"},
        "cells": summarise(measurements(errors)),
        "sessions": sessions(bare),
        "parity": 0.995,
        "failures": [{"server": "other", "model": "", "face": "", "round": "", "reason": "not installed: no | wheel"}],
        "scenarios": {"soak": {"failed": "RuntimeError: gone"}},
        "bars": [asdict(bar) for bar in bars],
    }
