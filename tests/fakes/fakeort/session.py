"""Sessions of the fake CUDAExecutionProvider.

    InferenceSession(providers=["CUDAExecutionProvider"]) -> device there?  yes: a real CPU session that says it is CUDA
                                                                            no:  a real CPU session that says so

What is asked of the CPU alone goes to the real class and is not touched. Errors have the words of the real ones.
"""

from __future__ import annotations

import functools
import socket
from collections.abc import Sequence
from typing import Any

from tests.fakes.fakegpu.errors import describe
from tests.fakes.fakegpu.inject import Injected, inject, spoil
from tests.fakes.fakegpu.machine import machine

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
NO_FALLBACK = "session.disable_cpu_ep_fallback"


def install(ort: Any) -> None:
    """Put the provider into the real module, in place."""
    real_providers, real_session = ort.get_available_providers, ort.InferenceSession

    def get_available_providers() -> list[str]:
        names = [name for name in real_providers() if name != "AzureExecutionProvider"]
        return ["TensorrtExecutionProvider", CUDA, *names] if _available() else names

    ort.get_available_providers = get_available_providers
    ort.InferenceSession = session_class(real_session, ort.capi.onnxruntime_pybind11_state)
    ort.get_device = lambda: "GPU" if _available() else "CPU"


def _available() -> bool:
    """Is this the build for GPUs? It says so without a driver, too."""
    return bool(machine.faults.part("ort_cuda").get("available", True))


def _works() -> bool:
    fault = machine.faults.part("ort_cuda")
    there = machine.has_driver and int(machine.faults.get("devices", 1)) > 0
    return _available() and there and not fault.get("silent_cpu")


def session_class(real: Any, state: Any) -> Any:
    class InferenceSession(real):  # type: ignore[misc]  # the real class carries no types
        def __init__(
            self,
            path_or_bytes: Any,
            sess_options: Any = None,
            providers: Sequence[Any] | None = None,
            provider_options: Any = None,
            **kwargs: Any,
        ) -> None:
            names = [provider if isinstance(provider, str) else provider[0] for provider in providers or ()]
            self._on_cuda = CUDA in names and _works()
            open_real = functools.partial(super().__init__, path_or_bytes, **kwargs)
            if CUDA not in names:
                open_real(sess_options, providers, provider_options)
            elif self._on_cuda and CPU not in names:
                raise_as_cuda(state, machine.sticky or int(machine.faults.part("ort_cuda").get("open_error", 0)))
                _without_fallback_check(open_real, sess_options)
            else:
                open_real(sess_options, [name for name in names if name not in (CUDA, "TensorrtExecutionProvider")])

        def get_providers(self) -> list[str]:
            return [CUDA, CPU] if self._on_cuda else list(super().get_providers())

        def run(self, output_names: Any, input_feed: Any, run_options: Any = None) -> Any:
            if not self._on_cuda:
                return super().run(output_names, input_feed, run_options)
            _run_on_device(state)
            results = super().run(output_names, input_feed, run_options)
            wrong = machine.faults.part("ort_cuda").get("wrong_answers", False)
            return [spoil(array, wrong) for array in results]

        def run_with_ort_values(self, output_names: Any, input_dict_ort_values: Any, run_options: Any = None) -> Any:
            if self._on_cuda:
                _run_on_device(state)
            return super().run_with_ort_values(output_names, input_dict_ort_values, run_options)

    return InferenceSession


def _without_fallback_check(open_real: Any, options: Any) -> None:
    """The real session has only a CPU to put nodes on: what would refuse that is off while it is opened."""
    strict = False
    if options is not None:
        try:
            strict = options.get_session_config_entry(NO_FALLBACK) == "1"
        except RuntimeError:  # never set
            strict = False
    if not strict:
        open_real(options, [CPU])
        return
    options.add_session_config_entry(NO_FALLBACK, "0")
    try:
        open_real(options, [CPU])
    finally:
        options.add_session_config_entry(NO_FALLBACK, "1")


def _run_on_device(state: Any) -> None:
    machine.tally("ort_cuda_runs")
    raise_as_cuda(state, machine.sticky)
    try:
        inject("ort_cuda")
    except Injected as fault:
        if fault.code == "memory":
            raise state.RuntimeException(
                "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running MatMul node. "
                "Name:'fake' Status Message: /onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:376 void* "
                "onnxruntime::BFCArena::AllocateRawInternal(size_t, bool, onnxruntime::Stream*) Failed to allocate "
                "memory for requested buffer of size 8388608000"
            ) from None
        machine.fail(int(fault.code))
        raise_as_cuda(state, int(fault.code))


def raise_as_cuda(state: Any, code: int) -> None:
    """As ONNX Runtime puts an error of CUDA."""
    if code:
        raise state.Fail(
            f"[ONNXRuntimeError] : 1 : FAIL : CUDA failure {code}: {describe(code)} ; GPU=0 ; "
            f"hostname={socket.gethostname()} ; file=/onnxruntime_src/onnxruntime/core/providers/cuda/"
            "cuda_stream_handle.cc ; line=175 ; expr=cudaStreamSynchronize(static_cast<cudaStream_t>(GetHandle()));"
        )
