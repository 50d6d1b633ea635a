"""A fake `tensorrt`, version 10 or 11 (FAKE_TENSORRT): NVIDIA's names over the fake device.

Another process is told of the folder of the fakes alone: the first lines find the repository's root.
"""

# ruff: noqa: E402
# (the path has to stand before what needs it)

import sys
from pathlib import Path

ROOT = str(Path(__file__).resolve().parents[3])
if ROOT not in sys.path:
    sys.path.append(ROOT)

from tests.fakes.fakegpu.machine import machine

_broken = machine.faults.part("import_error").get("tensorrt")
if _broken:
    raise ImportError(_broken)

from tests.fakes.faketrt.builder import Builder
from tests.fakes.faketrt.config import IBuilderConfig, IOptimizationProfile, IProgressMonitor, ITimingCache
from tests.fakes.faketrt.context import IExecutionContext
from tests.fakes.faketrt.engine import ICudaEngine, Runtime
from tests.fakes.faketrt.enums import (
    BuilderFlag,
    DataType,
    ErrorCode,
    ExecutionContextAllocationStrategy,
    HardwareCompatibilityLevel,
    MemoryPoolType,
    NetworkDefinitionCreationFlag,
    OnnxParserFlag,
    ProfilingVerbosity,
    TensorFormat,
    TensorIOMode,
    TensorLocation,
)
from tests.fakes.faketrt.foundation import Dims, IHostMemory, ILogger, Logger, nptype, volume
from tests.fakes.faketrt.network import INetworkDefinition, ITensor, OnnxParser, ParserError
from tests.fakes.faketrt.version import VERSION

__version__ = VERSION
float32, float16, bfloat16 = DataType.FLOAT, DataType.HALF, DataType.BF16
int8, int32, int64, uint8 = DataType.INT8, DataType.INT32, DataType.INT64, DataType.UINT8
bool = DataType.BOOL  # noqa: A001  (the real name)
fp8, int4, fp4, e8m0 = DataType.FP8, DataType.INT4, DataType.FP4, DataType.E8M0


def init_libnvinfer_plugins(logger: ILogger, namespace: str) -> object:
    """True: there are no plugins to fail."""
    del logger, namespace
    return True


__all__ = [
    "Builder",
    "BuilderFlag",
    "DataType",
    "Dims",
    "ErrorCode",
    "ExecutionContextAllocationStrategy",
    "HardwareCompatibilityLevel",
    "IBuilderConfig",
    "ICudaEngine",
    "IExecutionContext",
    "IHostMemory",
    "ILogger",
    "INetworkDefinition",
    "IOptimizationProfile",
    "IProgressMonitor",
    "ITensor",
    "ITimingCache",
    "Logger",
    "MemoryPoolType",
    "NetworkDefinitionCreationFlag",
    "OnnxParser",
    "OnnxParserFlag",
    "ParserError",
    "ProfilingVerbosity",
    "Runtime",
    "TensorFormat",
    "TensorIOMode",
    "TensorLocation",
    "__version__",
    "bfloat16",
    "bool",
    "e8m0",
    "float16",
    "float32",
    "fp4",
    "fp8",
    "init_libnvinfer_plugins",
    "int4",
    "int8",
    "int32",
    "int64",
    "nptype",
    "uint8",
    "volume",
]
