"""The GPU: its name, its driver, its memory. Asked in a process of its own, since a driver that is broken may end it.

python -m loadtests.gpu.device -> {"name": ..., "driver": ...}, or {"absent": "why"}
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from loadtests.bench.core import ROOT

SECONDS = 120.0
PACKAGES = (
    *("modelyard", "onnx", "onnxruntime", "onnxruntime-gpu", "tensorrt", "torch", "triton"),
    *("cuda-bindings", "nvidia-cudnn-cu12", "nvidia-cudnn-cu13", "numpy"),
)
_SMI = ("name", "driver_version", "memory.total", "compute_cap", "power.limit")
_KERNEL_DRIVER = Path("/proc/driver/nvidia/version")


def facts() -> dict[str, Any]:
    """What is known of device 0; {"absent": reason} when there is none."""
    command = [sys.executable, "-m", "loadtests.gpu.device"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return {"absent": f"the driver did not answer within {SECONDS:g} s"}
    if done.returncode:
        return {"absent": f"the process that asked the driver ended with {done.returncode}"}
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _ask() -> dict[str, Any]:
    from modelyard.backends.base import BackendUnavailable
    from modelyard.backends.engine import cuda

    known = _smi()
    try:
        cuda.require_device()
    except BackendUnavailable as error:
        # without cuda-python, the driver's own tool may know the device all the same
        return known or {"absent": str(error)}
    device = cuda.properties()
    return {
        **known,
        "name": device.name,
        "compute_capability": ".".join(map(str, device.compute_capability)),
        "memory_bytes": device.memory_bytes,
        "cuda_of_driver": f"{device.driver // 1000}.{device.driver % 1000 // 10}",
    }


def _smi() -> dict[str, Any]:
    """Of nvidia-smi, which comes with the driver; else the driver's version from the kernel; else nothing."""
    command = ["nvidia-smi", f"--query-gpu={','.join(_SMI)}", "--format=csv,noheader,nounits", "--id=0"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS / 2, check=True)
        name, driver, mib, capability, watts = (part.strip() for part in done.stdout.splitlines()[0].split(","))
        memory = int(float(mib) * 2**20)
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return _kernel()
    found = {"name": name, "driver": driver, "compute_capability": capability, "memory_bytes": memory}
    return {**found, "power_limit_watts": watts}


def _kernel() -> dict[str, Any]:
    try:
        words = _KERNEL_DRIVER.read_text().split("\n")[0].split()
    except OSError:
        return {}
    numbers = [word for word in words if word[0].isdigit() and "." in word]
    return {"driver": numbers[0]} if numbers else {}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_ask()))
