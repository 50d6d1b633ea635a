"""The enumerations of TensorRT's Python interface. Version 11 has lost those that asked for a precision.

Values: NvInfer.h of both versions. As pybind11's, a member is no integer, but `int()` makes one of it.
"""

import enum

from tests.fakes.faketrt.version import LEVEL


class Enum(enum.Enum):
    def __int__(self) -> int:
        return int(self.value)

    def __index__(self) -> int:
        return int(self.value)


class DataType(Enum):
    FLOAT = 0
    HALF = 1
    INT8 = 2
    INT32 = 3
    BOOL = 4
    UINT8 = 5
    FP8 = 6
    BF16 = 7
    INT64 = 8
    INT4 = 9
    FP4 = 10
    E8M0 = 11

    @property
    def itemsize(self) -> float:
        return {"FLOAT": 4, "HALF": 2, "BF16": 2, "INT32": 4, "INT64": 8, "INT4": 0.5, "FP4": 0.5}.get(self.name, 1)


class Severity(Enum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3
    VERBOSE = 4


class NetworkDefinitionCreationFlag(Enum):
    if LEVEL < 11:
        EXPLICIT_BATCH = 0
    STRONGLY_TYPED = 1 if LEVEL < 11 else 0
    PREFER_AOT_PYTHON_PLUGINS = 2 if LEVEL < 11 else 1
    PREFER_JIT_PYTHON_PLUGINS = 3 if LEVEL < 11 else 2


class BuilderFlag(Enum):
    if LEVEL < 11:
        FP16 = 0
        INT8 = 1
        OBEY_PRECISION_CONSTRAINTS = 9
        PREFER_PRECISION_CONSTRAINTS = 10
        REJECT_EMPTY_ALGORITHMS = 12
        FP8 = 15
        BF16 = 17
        INT4 = 22
        FP4 = 26
    else:
        REQUIRE_USER_ALLOCATION = 28
    DEBUG = 2
    GPU_FALLBACK = 3
    REFIT = 4
    DISABLE_TIMING_CACHE = 5
    TF32 = 6
    SPARSE_WEIGHTS = 7
    SAFETY_SCOPE = 8
    DIRECT_IO = 11
    VERSION_COMPATIBLE = 13 if LEVEL < 11 else 12
    EXCLUDE_LEAN_RUNTIME = 14 if LEVEL < 11 else 13
    ERROR_ON_TIMING_CACHE_MISS = 16 if LEVEL < 11 else 15
    DISABLE_COMPILATION_CACHE = 18 if LEVEL < 11 else 17
    STRIP_PLAN = 19 if LEVEL < 11 else 18
    REFIT_IDENTICAL = 20 if LEVEL < 11 else 19
    WEIGHT_STREAMING = 21 if LEVEL < 11 else 20
    REFIT_INDIVIDUAL = 23 if LEVEL < 11 else 22
    STRICT_NANS = 24 if LEVEL < 11 else 23
    MONITOR_MEMORY = 25 if LEVEL < 11 else 24
    EDITABLE_TIMING_CACHE = 27 if LEVEL < 11 else 26
    DISTRIBUTIVE_INDEPENDENCE = 28 if LEVEL < 11 else 27


PRECISION_FLAGS = ("FP16", "BF16", "INT8", "FP8", "INT4", "FP4")
"""Not for a strongly typed network."""


class MemoryPoolType(Enum):
    WORKSPACE = 0
    DLA_MANAGED_SRAM = 1
    DLA_LOCAL_DRAM = 2
    DLA_GLOBAL_DRAM = 3
    TACTIC_DRAM = 4
    TACTIC_SHARED_MEMORY = 5


class ProfilingVerbosity(Enum):
    LAYER_NAMES_ONLY = 0
    NONE = 1
    DETAILED = 2


class HardwareCompatibilityLevel(Enum):
    NONE = 0
    AMPERE_PLUS = 1
    SAME_COMPUTE_CAPABILITY = 2


class TensorIOMode(Enum):
    NONE = 0
    INPUT = 1
    OUTPUT = 2


class TensorLocation(Enum):
    DEVICE = 0
    HOST = 1


class TensorFormat(Enum):
    LINEAR = 0


class ExecutionContextAllocationStrategy(Enum):
    STATIC = 0
    ON_PROFILE_CHANGE = 1
    USER_MANAGED = 2


class OnnxParserFlag(Enum):
    NATIVE_INSTANCENORM = 0
    ENABLE_UINT8_AND_ASYMMETRIC_QUANTIZATION_DLA = 1
    REPORT_CAPABILITY_DLA = 2
    ENABLE_PLUGIN_OVERRIDE = 3


class ErrorCode(Enum):
    SUCCESS = 0
    INTERNAL_ERROR = 1
    MEM_ALLOC_FAILED = 2
    MODEL_DESERIALIZE_FAILED = 3
    INVALID_VALUE = 4
    INVALID_GRAPH = 5
    INVALID_NODE = 6
    UNSUPPORTED_GRAPH = 7
    UNSUPPORTED_NODE = 8
    UNSUPPORTED_NODE_ATTR = 9
    UNSUPPORTED_NODE_INPUT = 10
    UNSUPPORTED_NODE_DATATYPE = 11
    UNSUPPORTED_NODE_DYNAMIC = 12
    UNSUPPORTED_NODE_SHAPE = 13
    REFIT_FAILED = 14

    def __str__(self) -> str:
        return self.name
