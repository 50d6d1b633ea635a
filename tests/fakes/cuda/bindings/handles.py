"""The opaque handles of cuda.bindings.runtime: `int()` gives the address behind one."""

# ruff: noqa: N801
# (the names are NVIDIA's)

from typing import Any


class _Handle:
    def __init__(self, init_value: Any = 0) -> None:
        self._value = int(init_value)

    def __int__(self) -> int:
        return self._value

    def __index__(self) -> int:
        return self._value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Handle) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._value:#x}>"


class cudaStream_t(_Handle):
    pass


class cudaEvent_t(_Handle):
    pass


class cudaGraph_t(_Handle):
    pass


class cudaGraphExec_t(_Handle):
    pass


class cudaDeviceProp:
    def __init__(self) -> None:
        self.name = b""
        self.major = 0
        self.minor = 0
        self.totalGlobalMem = 0
        self.multiProcessorCount = 0
        self.integrated = 0
        self.pciBusID = 0
        self.textureAlignment = 512


class cudaPointerAttributes:
    def __init__(self) -> None:
        self.type = 0
        self.device = -2
        self.devicePointer = 0
        self.hostPointer = 0
