"""Numbers as Grafana would write them, by the unit of a panel."""

from __future__ import annotations

import math

PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
BINARY = ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))
TIMES = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"), (1e-3, "ms"), (1e-6, "us"))
NAMES = {"reqps": "requests/s", "rowsps": "rows/s", "ops": "1/s", "s": "time", "percentunit": "share", "bytes": "size"}
SUFFIXES = {"reqps": " req/s", "rowsps": " rows/s", "ops": "/s"}


def written(value: float, unit: str) -> str:
    """The number with its unit."""
    if not math.isfinite(value):
        return "no data"
    if unit == "s":
        return _scaled(value, TIMES)
    if unit == "bytes":
        return _scaled(value, (*BINARY, (1, "B")))
    if unit == "percentunit":
        return f"{_short(round(100 * value, 4))}%"
    for size, prefix in PREFIXES:
        if abs(value) >= size:
            return f"{_short(value / size)}{prefix}{SUFFIXES.get(unit, '')}"
    return f"{_short(value)}{SUFFIXES.get(unit, '')}"


def axis_name(unit: str) -> str:
    """What stands beside the axis; nothing for plain numbers."""
    return NAMES.get(unit, "")


def _scaled(value: float, steps: tuple[tuple[float, str], ...]) -> str:
    for size, name in steps:
        if abs(value) >= size * 0.9999:
            return f"{_short(value / size)} {name}"
    size, name = steps[-1]
    return f"{_short(value / size)} {name}" if value else f"0 {'B' if name == 'B' else 's'}"


def _short(value: float) -> str:
    """Three digits, without an exponent."""
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:.{min(digits, 6)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
