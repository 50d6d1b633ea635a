"""How an engine is to be built: profiles, flags, limits, a timing cache and who watches."""

import json
from collections.abc import Iterable
from typing import Any

from tests.fakes.faketrt.enums import (
    BuilderFlag,
    HardwareCompatibilityLevel,
    MemoryPoolType,
    ProfilingVerbosity,
    Severity,
)
from tests.fakes.faketrt.foundation import Constructed, Dims, IHostMemory, ILogger, tell
from tests.fakes.faketrt.plan import Shapes, compute_capability
from tests.fakes.faketrt.version import VERSION

TIMING_MAGIC = b"FAKETIMING"


class IOptimizationProfile:
    def __init__(self) -> None:
        self.shapes: Shapes = {}
        """Not of the real interface."""
        self.extra_memory_target = 1.0

    def set_shape(self, input: str, min: Iterable[int], opt: Iterable[int], max: Iterable[int]) -> None:  # noqa: A002  (the real names)
        """Raises ValueError where the three do not rise."""
        least, best, most = tuple(min), tuple(opt), tuple(max)
        if not len(least) == len(best) == len(most):
            raise ValueError(f"Shapes provided for {input} have different ranks")
        if not all(0 <= low <= middle <= high for low, middle, high in zip(least, best, most, strict=True)):
            raise ValueError(f"Min/opt/max shapes of {input} do not rise: {least}, {best}, {most}")
        self.shapes[input] = (least, best, most)

    def get_shape(self, input: str) -> list[Dims]:  # noqa: A002  (the real name)
        return [Dims(shape) for shape in self.shapes.get(input, ())]

    def __bool__(self) -> bool:
        return True


class IProgressMonitor(metaclass=Constructed):
    """To be overridden: these are pure virtual. What `step_complete` answers decides whether the build goes on."""

    def __init__(self) -> None:
        self._constructed = True

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        raise RuntimeError(f"phase_start is to be overridden ({phase_name}, {parent_phase}, {num_steps})")

    def step_complete(self, phase_name: str, step: int) -> bool:
        raise RuntimeError(f"step_complete is to be overridden ({phase_name}, {step})")

    def phase_finish(self, phase_name: str) -> None:
        raise RuntimeError(f"phase_finish is to be overridden ({phase_name})")


class ITimingCache:
    def __init__(self, models: Iterable[str] = ()) -> None:
        self.models = set(models)
        """Not of the real interface: digests of the models whose kernels were timed."""
        self.origin: tuple[str, str] | None = None

    def serialize(self) -> IHostMemory:
        header = {"version": VERSION, "compute": compute_capability(), "models": sorted(self.models)}
        return IHostMemory(TIMING_MAGIC + json.dumps(header).encode())

    def combine(self, input_cache: "ITimingCache", ignore_mismatch: bool) -> bool:
        del ignore_mismatch
        self.models |= input_cache.models
        return True

    def reset(self) -> bool:
        self.models.clear()
        return True


class IBuilderConfig:
    """Made by Builder.create_builder_config()."""

    def __init__(self, logger: ILogger) -> None:
        self._logger = logger
        self._limits = {MemoryPoolType.WORKSPACE: 80 * 2**30}
        self._cache: ITimingCache | None = None
        self.profiles: list[IOptimizationProfile] = []
        """Not of the real interface."""
        self.flags = 1 << int(BuilderFlag.TF32)
        self.builder_optimization_level = 3
        self.avg_timing_iterations = 1
        self.max_aux_streams = -1
        self.profiling_verbosity = ProfilingVerbosity.LAYER_NAMES_ONLY
        self.hardware_compatibility_level = HardwareCompatibilityLevel.NONE
        self.profile_stream = 0
        self._monitor: IProgressMonitor | None = None

    @property
    def progress_monitor(self) -> IProgressMonitor | None:
        return self._monitor

    @progress_monitor.setter
    def progress_monitor(self, monitor: IProgressMonitor | None) -> None:
        if monitor is not None and not isinstance(monitor, IProgressMonitor):
            raise TypeError("progress_monitor: incompatible function arguments: no tensorrt.IProgressMonitor")
        self._monitor = monitor

    def set_flag(self, flag: BuilderFlag) -> None:
        _check_flag(flag)
        self.flags |= 1 << int(flag)

    def clear_flag(self, flag: BuilderFlag) -> None:
        _check_flag(flag)
        self.flags &= ~(1 << int(flag))

    def get_flag(self, flag: BuilderFlag) -> bool:
        _check_flag(flag)
        return bool(self.flags & 1 << int(flag))

    def set_memory_pool_limit(self, pool: MemoryPoolType, pool_size: int) -> None:
        if pool_size < 0:
            raise TypeError("set_memory_pool_limit(): incompatible function arguments: pool_size is no size_t")
        self._limits[pool] = pool_size

    def get_memory_pool_limit(self, pool: MemoryPoolType) -> int:
        return self._limits.get(pool, 0)

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        self.profiles.append(profile)
        return len(self.profiles) - 1

    @property
    def num_optimization_profiles(self) -> int:
        return len(self.profiles)

    def create_timing_cache(self, serialized_timing_cache: Any) -> ITimingCache | None:
        """An empty buffer makes an empty cache; None where the bytes are no cache."""
        raw = bytes(memoryview(serialized_timing_cache))
        if not raw:
            return ITimingCache()
        try:
            if not raw.startswith(TIMING_MAGIC):
                raise ValueError("magic")
            header = json.loads(raw[len(TIMING_MAGIC) :])
            cache = ITimingCache(header["models"])
            cache.origin = (header["version"], header["compute"])
        except (ValueError, KeyError, TypeError):
            tell(self._logger, Severity.ERROR, "IBuilderConfig::createTimingCache: Error Code 1: Serialization")
            return None
        return cache

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        if not isinstance(cache, ITimingCache):
            raise TypeError("set_timing_cache(): incompatible function arguments: no ITimingCache")
        if cache.origin not in (None, (VERSION, compute_capability())) and not ignore_mismatch:
            tell(self._logger, Severity.ERROR, "IBuilderConfig::setTimingCache: Error Code 3: API Usage Error")
            return False
        self._cache = cache
        return True

    def get_timing_cache(self) -> ITimingCache | None:
        return self._cache

    def reset(self) -> None:
        self.__init__(self._logger)  # type: ignore[misc]  # as if made anew


def _check_flag(flag: object) -> None:
    if not isinstance(flag, BuilderFlag):
        raise TypeError("incompatible function arguments: no tensorrt.BuilderFlag")
