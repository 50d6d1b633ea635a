"""Hold the fakes against the real libraries where they are installed: names, parameters, numbers. No device is used.

    python tests/fakes/compare_with_real.py

tensorrt: the list in api.py is compared (so any Python that imports it will do). cuda.bindings: the fake itself is.
Says what differs and exits with 1; a library that is not installed is said, and is no difference.
"""

# ruff: noqa: E402
# (the path has to stand before what needs it)

import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:] = [str(HERE.parents[1]), *(folder for folder in sys.path if Path(folder).resolve() != HERE)]

from tests.fakes.api import Entry, entries

CLASSES = ("cudaStream_t", "cudaEvent_t", "cudaGraph_t", "cudaGraphExec_t", "cudaDeviceProp", "cudaPointerAttributes")


def parameters(thing: Any, name: str) -> list[tuple[str, ...]]:
    """Of each overload, read from the first lines of the docstring that pybind11 and Cython write."""
    found = []
    for line in (thing.__doc__ or "").splitlines():
        match = re.match(rf"(?:\d+\. )?{re.escape(name)}\((.*?)\)(?: -> .*)?$", line.strip())
        if match:
            found.append(tuple(_bare(part) for part in re.split(r", (?![^\[]*\])", match[1]) if part))
    return [tuple(part for part in overload if part != "self") for overload in found]


def _bare(part: str) -> str:
    """`name: type = 1`, `type name`, `name=0` -> name."""
    return part.partition(":")[0].partition("=")[0].strip().split()[-1]


def compare_tensorrt(real: ModuleType) -> Iterator[str]:
    major = int(real.__version__.partition(".")[0])
    for entry in entries():
        owner: Any = real
        for part in entry.name.split("."):
            owner = getattr(owner, part, None)
        if entry.holds(major):
            yield from _differences(entry, owner)
        elif entry.members:
            yield from (
                f"{entry.name} has {m} in {major}" for m in entry.members if m in getattr(owner, "__members__", {})
            )
        elif owner is not None and entry.parameters is None:
            yield f"{entry.name} exists in {major}"


def _differences(entry: Entry, real: Any) -> Iterator[str]:
    if real is None:
        yield f"{entry.name} does not exist"
        return
    yield from (f"{entry.name} has no {member}" for member in entry.members if not hasattr(real, member))
    if entry.parameters is None:
        return
    short = entry.name.rpartition(".")[2]
    called = real.__init__ if inspect.isclass(real) else real
    overloads = parameters(called, "__init__" if inspect.isclass(real) else short)
    if inspect.isfunction(called):
        overloads = [tuple(name for name in inspect.signature(called).parameters if name != "self")]
    if overloads and entry.parameters not in overloads:
        yield f"{entry.name} takes {overloads}, the list says {entry.parameters}"


def compare_cuda(real: ModuleType) -> Iterator[str]:
    fake = importlib.import_module("tests.fakes.cuda.bindings.runtime")
    for name, thing in vars(fake).items():
        if not name.lower().startswith("cuda"):
            continue
        theirs = getattr(real, name, None)
        if theirs is None:
            yield f"{name} does not exist"
        elif isinstance(thing, int) and not inspect.isclass(thing):
            yield from [f"{name} is {theirs}, not {thing}"] if theirs != thing and name != "CUDART_VERSION" else []
        elif hasattr(thing, "__members__"):
            values = {member: value.value for member, value in thing.__members__.items()}
            yield from (f"{name}.{m}: not {v}" for m, v in values.items() if getattr(theirs, m, None) != v)
        elif inspect.isfunction(thing):
            mine = tuple(inspect.signature(thing).parameters)
            if mine not in parameters(theirs, name):
                yield f"{name} takes {parameters(theirs, name)}, not {mine}"
        elif name in CLASSES and not inspect.isclass(theirs):
            yield f"{name} is no class"


def main() -> int:
    differences = 0
    for library, compare in (("cuda.bindings.runtime", compare_cuda), ("tensorrt", compare_tensorrt)):
        try:
            real = importlib.import_module(library)
        except ImportError as error:
            print(f"{library}: not here ({error})")  # noqa: T201  (the command's answer)
            continue
        found = list(compare(real))
        differences += len(found)
        for line in found or ["no difference"]:
            print(f"{library}: {line}")  # noqa: T201  (the command's answer)
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
