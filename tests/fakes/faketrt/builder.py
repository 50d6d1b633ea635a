"""The builder: a network and a configuration become a plan, after as long as the file of faults says.

check network and profiles -> time passes, the monitor is told -> plan, or None and an error in the logger
"""

import hashlib
import os
import signal
import time
from typing import Any

from tests.fakes.fakegpu.machine import machine
from tests.fakes.faketrt.config import IBuilderConfig, IOptimizationProfile
from tests.fakes.faketrt.enums import (
    PRECISION_FLAGS,
    BuilderFlag,
    MemoryPoolType,
    NetworkDefinitionCreationFlag,
    Severity,
)
from tests.fakes.faketrt.foundation import Dims, IHostMemory, ILogger, check_logger, need_driver, tell
from tests.fakes.faketrt.network import INetworkDefinition
from tests.fakes.faketrt.plan import write_plan
from tests.fakes.faketrt.version import LEVEL

STEPS = 10
PHASE, INNER_PHASE = "Building engine from subgraph", "Computing profile costs"


class Cancelled(Exception):
    """The monitor said no."""


class Builder:
    def __init__(self, logger: ILogger) -> None:
        need_driver()
        self._logger = check_logger(logger, "Builder")
        self.max_threads = 1
        machine.count_object("builders", 1)

    def __del__(self) -> None:
        if hasattr(self, "max_threads"):
            machine.count_object("builders", -1)

    @property
    def logger(self) -> ILogger:
        return self._logger

    if LEVEL < 11:

        @property
        def platform_has_tf32(self) -> bool:
            return True

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        if not isinstance(flags, int):
            raise TypeError("create_network(): incompatible function arguments: (self: Builder, flags: int = 0)")
        return INetworkDefinition(flags)

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig(self._logger)

    def create_optimization_profile(self) -> IOptimizationProfile:
        return IOptimizationProfile()

    def is_network_supported(self, network: INetworkDefinition, config: IBuilderConfig) -> bool:
        return self._problem(network, config) is None

    def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> IHostMemory | None:
        machine.tally("builds")
        problem = self._problem(network, config)
        if problem is not None:
            self._fail(f"Error Code 4: API Usage Error ({problem})")
            return None
        raw: bytes = network.model.SerializeToString()
        fault = machine.faults.part("build")
        try:
            self._pass_time(raw, config, float(fault.get("seconds", 0.0)))
        except Cancelled:
            self._fail("Error Code 1: Internal Error (cancelled by the progress monitor)")
            return None
        failure = self._failure(config, fault)
        if failure is not None:
            self._fail(failure)
            return None
        cache = config.get_timing_cache()
        if cache is not None:
            cache.models.add(_digest(raw))
        return IHostMemory(write_plan(raw, [profile.shapes for profile in config.profiles]))

    def _fail(self, text: str) -> None:
        tell(self._logger, Severity.ERROR, f"IBuilder::buildSerializedNetwork: {text}")

    def _failure(self, config: IBuilderConfig, fault: dict[str, Any]) -> str | None:
        kind = fault.get("fail")
        if kind == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        while kind == "hang":
            time.sleep(0.05)
            kind = machine.faults.part("build").get("fail")
        largest = int(fault.get("largest_workspace", 0))
        wanted = config.get_memory_pool_limit(MemoryPoolType.WORKSPACE)
        if kind == "memory" or (largest and wanted > largest):
            tell(
                self._logger,
                Severity.WARNING,
                f"Requested amount of GPU memory ({wanted} bytes) could not be allocated. There may not be enough free "
                "memory for allocation to succeed.",
            )
            tell(
                self._logger,
                Severity.ERROR,
                "[defaultAllocator.cpp::allocate::57] Error Code 1: Cuda Runtime (out of memory)",
            )
            return f"Error Code 2: OutOfMemory (Requested size was {wanted} bytes.)"
        if kind:
            return "Error Code 10: Internal Error (Could not find any implementation for node {ForeignNode[...]}.)"
        return None

    def _problem(self, network: INetworkDefinition, config: IBuilderConfig) -> str | None:
        if network.model is None or not network.num_outputs:
            return "Network must have at least one output"
        if network.get_flag(NetworkDefinitionCreationFlag.STRONGLY_TYPED):
            wrong = [flag.name for flag in BuilderFlag if flag.name in PRECISION_FLAGS and config.get_flag(flag)]
            if wrong:
                return f"Precision flags {wrong} cannot be set for a strongly typed network"
        inputs = [network.get_input(index) for index in range(network.num_inputs)]
        dynamic = [tensor for tensor in inputs if tensor is not None and -1 in list(tensor.shape)]
        if dynamic and not config.profiles:
            return "Network has dynamic or shape inputs, but no optimization profile has been defined."
        for number, profile in enumerate(config.profiles):
            for tensor in dynamic:
                problem = _unfit(tensor.name, tensor.shape, profile)
                if problem:
                    return f"Optimization profile {number}: {problem}"
        return None

    def _pass_time(self, raw: bytes, config: IBuilderConfig, seconds: float) -> None:
        cache, monitor = config.get_timing_cache(), config.progress_monitor
        if cache is not None and _digest(raw) in cache.models:
            seconds /= 10
            machine.tally("builds_with_timings")
        if monitor is not None:
            monitor.phase_start(PHASE, None, 1)
            monitor.phase_start(INNER_PHASE, PHASE, STEPS)
        for step in range(STEPS):
            time.sleep(seconds / STEPS)
            if monitor is not None and not monitor.step_complete(INNER_PHASE, step):
                raise Cancelled
        if monitor is not None:
            monitor.phase_finish(INNER_PHASE)
            monitor.step_complete(PHASE, 0)
            monitor.phase_finish(PHASE)


def _unfit(name: str, declared: Dims, profile: IOptimizationProfile) -> str | None:
    if name not in profile.shapes:
        return f"dynamic input {name} is missing dimensions."
    for shape in profile.shapes[name]:
        if len(shape) != len(declared):
            return f"{name} has {len(declared)} dimensions, the profile {len(shape)}"
        if any(fixed not in (-1, size) for fixed, size in zip(declared, shape, strict=True)):
            return f"static dimension mismatch of {name}: {declared} and {shape}"
    return None


def _digest(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()
