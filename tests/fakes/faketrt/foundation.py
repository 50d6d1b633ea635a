"""What everything in the fake rests on: loggers, shapes, host memory, and what happens without a driver."""

import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, overload

import numpy as np
import numpy.typing as npt

from tests.fakes.fakegpu.machine import machine
from tests.fakes.faketrt import enums
from tests.fakes.faketrt.enums import DataType


class Constructed(type):
    """As pybind11's classes: a subclass whose __init__ leaves out the base's is refused."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        made = super().__call__(*args, **kwargs)
        if not getattr(made, "_constructed", False):
            base = next(kind for kind in cls.__mro__ if kind.__module__.startswith("tests.fakes"))
            raise TypeError(f"tensorrt.tensorrt.{base.__name__}.__init__() must be called when overriding __init__")
        return made


class ILogger(metaclass=Constructed):
    Severity: ClassVar[type[enums.Severity]] = enums.Severity
    INTERNAL_ERROR: ClassVar[enums.Severity] = enums.Severity.INTERNAL_ERROR
    ERROR: ClassVar[enums.Severity] = enums.Severity.ERROR
    WARNING: ClassVar[enums.Severity] = enums.Severity.WARNING
    INFO: ClassVar[enums.Severity] = enums.Severity.INFO
    VERBOSE: ClassVar[enums.Severity] = enums.Severity.VERBOSE

    def __init__(self) -> None:
        self._constructed = True

    def log(self, severity: enums.Severity, msg: str) -> None:
        raise RuntimeError(f'Tried to call pure virtual function "ILogger::log" ({severity}, {msg})')


class Logger(ILogger):
    def __init__(self, min_severity: enums.Severity = enums.Severity.WARNING) -> None:
        super().__init__()
        self.min_severity = min_severity

    def log(self, severity: enums.Severity, msg: str) -> None:
        if int(severity) <= int(self.min_severity):
            letter = "FEWIV"[int(severity)]
            sys.stdout.write(f"[{time.strftime('%m/%d/%Y-%H:%M:%S')}] [TRT] [{letter}] {msg}\n")
            sys.stdout.flush()


def check_logger(logger: object, of: str) -> ILogger:
    if not isinstance(logger, ILogger):
        raise TypeError(f"__init__(): incompatible constructor arguments: {of}(logger: tensorrt.tensorrt.ILogger)")
    return logger


def tell(logger: ILogger, severity: enums.Severity, text: str) -> None:
    """What a logger raises is written to stderr and goes no further, as in the real one."""
    try:
        logger.log(severity, text)
    except Exception as error:
        sys.stderr.write(f"[ERROR] Exception caught in log(): {error}\n")


def need_driver() -> None:
    """Without a driver the real library ends the process."""
    if not machine.has_driver or int(machine.faults.get("devices", 1)) < 1:
        os.kill(os.getpid(), signal.SIGSEGV)


class Dims:
    """A shape. No tuple, though it compares with tuples and lists."""

    MAX_DIMS: ClassVar[int] = 8

    def __init__(self, shape: Iterable[int] = ()) -> None:
        self._sizes = [int(size) for size in shape]

    def __len__(self) -> int:
        return len(self._sizes)

    def __iter__(self) -> Iterator[int]:
        return iter(self._sizes)

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[int, ...]: ...
    def __getitem__(self, index: int | slice) -> int | tuple[int, ...]:
        return tuple(self._sizes[index]) if isinstance(index, slice) else self._sizes[index]

    def __eq__(self, other: object) -> bool:
        """With tuples and lists alone: the real one raises for all else, for another shape too."""
        if not isinstance(other, (tuple, list)):
            raise TypeError("__eq__(): incompatible function arguments: (self: Dims, arg0: list | tuple)")
        return self._sizes == list(other)

    __hash__ = None  # type: ignore[assignment]  # a class that compares and defines no hash has none

    def __repr__(self) -> str:
        return str(tuple(self._sizes))


class IHostMemory(bytes):
    """A buffer that the library made: `bytes()`, a file's write() and a hash take it; it has no length."""

    @property
    def nbytes(self) -> int:
        return super().__len__()

    @property
    def dtype(self) -> DataType:
        return DataType.INT8

    def __len__(self) -> int:
        raise TypeError("object of type 'tensorrt.tensorrt.IHostMemory' has no len()")

    def __bool__(self) -> bool:
        return True


def volume(iterable: Iterable[int]) -> int:
    product = 1
    for size in iterable:
        product *= size
    return product


NUMPY: dict[DataType, npt.DTypeLike] = {
    DataType.FLOAT: np.float32,
    DataType.HALF: np.float16,
    DataType.INT8: np.int8,
    DataType.INT32: np.int32,
    DataType.INT64: np.int64,
    DataType.BOOL: np.bool_,
    DataType.UINT8: np.uint8,
}


def nptype(trt_type: DataType) -> npt.DTypeLike:
    if trt_type in NUMPY:
        return NUMPY[trt_type]
    raise TypeError("Could not resolve TensorRT datatype to an equivalent numpy datatype.")
