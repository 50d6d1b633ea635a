"""Which TensorRT is played: FAKE_TENSORRT is 10, 11 or a whole version; 10 where nothing is said."""

import os
import re

from tests.fakes.fakegpu.machine import machine

KNOWN = {"10": "10.13.3.9", "11": "11.4.1.5"}


def _asked() -> str:
    asked = os.environ.get("FAKE_TENSORRT") or str(machine.faults.get("tensorrt", "10"))
    asked = KNOWN.get(asked, asked)
    if not re.fullmatch(r"1[01](\.\d+){1,3}", asked):
        raise ValueError(f"FAKE_TENSORRT={asked}: the fake plays TensorRT 10 and 11")
    return asked


VERSION = _asked()
LEVEL = int(VERSION.partition(".")[0])
