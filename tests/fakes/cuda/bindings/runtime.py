"""A fake `cuda.bindings.runtime`: NVIDIA's names and answers over the fake device.

Another process is told of the folder of the fakes alone: the first lines find the repository's root.
"""

# ruff: noqa: E402, N816
# (the path has to stand before what needs it; the names are NVIDIA's)

import sys
from pathlib import Path

ROOT = str(Path(__file__).resolve().parents[4])
if ROOT not in sys.path:
    sys.path.append(ROOT)

from tests.fakes.fakegpu.machine import machine

_broken = machine.faults.part("import_error").get("cuda")
if _broken:
    raise ImportError(_broken)

from tests.fakes.cuda.bindings.copies import cudaMemcpy, cudaMemcpyAsync, cudaMemset, cudaMemsetAsync
from tests.fakes.cuda.bindings.device import (
    cudaDeviceGetAttribute,
    cudaDeviceSynchronize,
    cudaDriverGetVersion,
    cudaFree,
    cudaFreeHost,
    cudaGetDevice,
    cudaGetDeviceCount,
    cudaGetDeviceProperties,
    cudaGetErrorName,
    cudaGetErrorString,
    cudaGetLastError,
    cudaHostAlloc,
    cudaMalloc,
    cudaMallocHost,
    cudaMemGetInfo,
    cudaPeekAtLastError,
    cudaPointerGetAttributes,
    cudaRuntimeGetVersion,
    cudaSetDevice,
    cudaSetDeviceFlags,
)
from tests.fakes.cuda.bindings.enums import (
    cudaDeviceAttr,
    cudaError_t,
    cudaGraphInstantiateFlags,
    cudaMemcpyKind,
    cudaMemoryType,
    cudaStreamCaptureMode,
    cudaStreamCaptureStatus,
)
from tests.fakes.cuda.bindings.handles import (
    cudaDeviceProp,
    cudaEvent_t,
    cudaGraph_t,
    cudaGraphExec_t,
    cudaPointerAttributes,
    cudaStream_t,
)
from tests.fakes.cuda.bindings.work import (
    cudaEventCreate,
    cudaEventCreateWithFlags,
    cudaEventDestroy,
    cudaEventElapsedTime,
    cudaEventQuery,
    cudaEventRecord,
    cudaEventSynchronize,
    cudaGraphDestroy,
    cudaGraphExecDestroy,
    cudaGraphInstantiate,
    cudaGraphLaunch,
    cudaGraphUpload,
    cudaStreamBeginCapture,
    cudaStreamCreate,
    cudaStreamCreateWithFlags,
    cudaStreamCreateWithPriority,
    cudaStreamDestroy,
    cudaStreamEndCapture,
    cudaStreamIsCapturing,
    cudaStreamQuery,
    cudaStreamSynchronize,
    cudaStreamWaitEvent,
)

cudaStreamDefault, cudaStreamNonBlocking = 0, 1
cudaStreamLegacy, cudaStreamPerThread = 1, 2
cudaEventDefault, cudaEventBlockingSync, cudaEventDisableTiming = 0, 1, 2
cudaHostAllocDefault, cudaHostAllocPortable, cudaHostAllocMapped, cudaHostAllocWriteCombined = 0, 1, 2, 4
CUDART_VERSION = 13050

__all__ = [
    "CUDART_VERSION",
    "cudaDeviceAttr",
    "cudaDeviceGetAttribute",
    "cudaDeviceProp",
    "cudaDeviceSynchronize",
    "cudaDriverGetVersion",
    "cudaError_t",
    "cudaEventBlockingSync",
    "cudaEventCreate",
    "cudaEventCreateWithFlags",
    "cudaEventDefault",
    "cudaEventDestroy",
    "cudaEventDisableTiming",
    "cudaEventElapsedTime",
    "cudaEventQuery",
    "cudaEventRecord",
    "cudaEventSynchronize",
    "cudaEvent_t",
    "cudaFree",
    "cudaFreeHost",
    "cudaGetDevice",
    "cudaGetDeviceCount",
    "cudaGetDeviceProperties",
    "cudaGetErrorName",
    "cudaGetErrorString",
    "cudaGetLastError",
    "cudaGraphDestroy",
    "cudaGraphExecDestroy",
    "cudaGraphExec_t",
    "cudaGraphInstantiate",
    "cudaGraphInstantiateFlags",
    "cudaGraphLaunch",
    "cudaGraphUpload",
    "cudaGraph_t",
    "cudaHostAlloc",
    "cudaHostAllocDefault",
    "cudaHostAllocMapped",
    "cudaHostAllocPortable",
    "cudaHostAllocWriteCombined",
    "cudaMalloc",
    "cudaMallocHost",
    "cudaMemGetInfo",
    "cudaMemcpy",
    "cudaMemcpyAsync",
    "cudaMemcpyKind",
    "cudaMemoryType",
    "cudaMemset",
    "cudaMemsetAsync",
    "cudaPeekAtLastError",
    "cudaPointerAttributes",
    "cudaPointerGetAttributes",
    "cudaRuntimeGetVersion",
    "cudaSetDevice",
    "cudaSetDeviceFlags",
    "cudaStreamBeginCapture",
    "cudaStreamCaptureMode",
    "cudaStreamCaptureStatus",
    "cudaStreamCreate",
    "cudaStreamCreateWithFlags",
    "cudaStreamCreateWithPriority",
    "cudaStreamDefault",
    "cudaStreamDestroy",
    "cudaStreamEndCapture",
    "cudaStreamIsCapturing",
    "cudaStreamLegacy",
    "cudaStreamNonBlocking",
    "cudaStreamPerThread",
    "cudaStreamQuery",
    "cudaStreamSynchronize",
    "cudaStreamWaitEvent",
    "cudaStream_t",
]
