"""Numbers and words of CUDA's errors: those of cudaGetErrorString, version 13.5."""

INVALID_VALUE, OUT_OF_MEMORY, ILLEGAL_ADDRESS = 1, 2, 700
INVALID_DIRECTION, NO_DRIVER, NO_DEVICE, INVALID_DEVICE = 21, 35, 100, 101
INVALID_HANDLE, ILLEGAL_STATE, NOT_READY = 400, 401, 600
CAPTURE_UNSUPPORTED, CAPTURE_INVALIDATED, WRONG_THREAD = 900, 901, 908

DOCUMENTED_STICKY = {226, 700, 702, 710, 714, 715, 716, 717, 718, 719, 721, 810, 911}
""""The process must be terminated and relaunched", says the documentation of cudaError_t."""
STICKY = DOCUMENTED_STICKY | {711, 712, 713, 999}
"""Modelyard gives up the process for these as well: the fake makes them as bad as it takes them for."""

TEXTS = {
    0: "no error",
    1: "invalid argument",
    2: "out of memory",
    21: "invalid copy direction for memcpy",
    35: "CUDA driver version is insufficient for CUDA runtime version",
    100: "no CUDA-capable device is detected",
    101: "invalid device ordinal",
    400: "invalid resource handle",
    401: "the operation cannot be performed in the present state",
    600: "device not ready",
    700: "an illegal memory access was encountered",
    702: "the launch timed out and was terminated",
    710: "device-side assert triggered",
    714: "hardware stack error",
    715: "an illegal instruction was encountered",
    716: "misaligned address",
    717: "operation not supported on global/shared address space",
    718: "invalid program counter",
    719: "unspecified launch failure",
    900: "operation not permitted when stream is capturing",
    901: "operation failed due to a previous error during capture",
    908: "attempt to terminate a thread-local capture sequence from another thread",
    999: "unknown error",
}


def describe(code: int) -> str:
    return TEXTS.get(code, "unknown error")
