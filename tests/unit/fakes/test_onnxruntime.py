"""The CUDAExecutionProvider that is put into the real ONNX Runtime."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import onnxruntime as real
import pytest

from tests.fakes.cuda.bindings import runtime
from tests.fakes.fakeort.session import CPU, CUDA, NO_FALLBACK, install
from tests.unit.fakes.device import Device
from tests.unit.fakes.networks import WEIGHTS, model, rows


class Ort:
    """The real module in a coat, so that nothing is left behind in it."""

    def __init__(self) -> None:
        self.get_available_providers = real.get_available_providers
        self.InferenceSession = real.InferenceSession
        self.capi = real.capi
        self.get_device = real.get_device

    def open(self, providers: list[str], strict: bool = True) -> Any:
        options = real.SessionOptions()
        options.log_severity_level = 4
        if strict:
            options.add_session_config_entry(NO_FALLBACK, "1")
        return self.InferenceSession(model(), options, providers=providers)


@pytest.fixture
def ort(device: Device) -> Ort:
    ort = Ort()
    install(ort)
    return ort


def test_a_session_on_cuda_computes(ort: Ort, device: Device) -> None:
    assert ort.get_available_providers()[:2] == ["TensorrtExecutionProvider", CUDA]
    session = ort.open([CUDA])
    assert session.get_providers() == [CUDA, CPU]
    np.testing.assert_array_equal(session.run(None, {"x": rows(2)})[0], rows(2) @ WEIGHTS)
    assert device.machine.counts["ort_cuda_runs"] == 1
    assert isinstance(session, real.InferenceSession)


@pytest.mark.parametrize("why", [{"driver": False}, {"devices": 0}, {"ort_cuda": {"silent_cpu": True}}])
def test_without_a_device_it_falls_back_in_silence(ort: Ort, device: Device, why: dict[str, Any]) -> None:
    device.set(**why)
    assert CUDA in ort.get_available_providers(), "it says so all the same"
    assert ort.open([CUDA], strict=False).get_providers() == [CPU]
    with pytest.raises(Exception, match="fallback to CPU EP has been explicitly disabled"):
        ort.open([CUDA])


def test_a_build_for_the_cpu_does_not_list_it(ort: Ort, device: Device) -> None:
    device.set(ort_cuda={"available": False})
    assert ort.get_available_providers() == [CPU]
    assert ort.open([CUDA], strict=False).get_providers() == [CPU]


def test_the_cpu_beside_cuda_contradicts_the_strict_option(ort: Ort) -> None:
    with pytest.raises(Exception, match="Conflicting session configuration"):
        ort.open([CUDA, CPU])
    assert ort.open([CUDA, CPU], strict=False).get_providers() == [CUDA, CPU]


def test_what_is_asked_of_the_cpu_is_left_alone(ort: Ort, device: Device) -> None:
    device.set(ort_cuda={"error": "700"})
    session = ort.open([CPU], strict=False)
    assert session.get_providers() == [CPU]
    np.testing.assert_array_equal(session.run(None, {"x": rows(1)})[0], rows(1) @ WEIGHTS)


@pytest.mark.parametrize(
    ("error", "text", "sticky"),
    [
        ("memory", "Failed to allocate memory for requested buffer", False),
        (2, "CUDA failure 2: out of memory", False),
        (700, "CUDA failure 700: an illegal memory access was encountered", True),
    ],
)
def test_runs_fail_by_the_file(ort: Ort, device: Device, error: object, text: str, sticky: bool) -> None:
    session = ort.open([CUDA])
    device.set(ort_cuda={"error": error, "times": 1})
    with pytest.raises(Exception, match=text):
        session.run(None, {"x": rows(1)})
    assert (runtime.cudaGetDeviceCount()[0] == 700) is sticky
    if sticky:
        with pytest.raises(Exception, match="700"):
            session.run(None, {"x": rows(1)})
        with pytest.raises(Exception, match="700"):
            ort.open([CUDA])
    else:
        assert len(session.run(None, {"x": rows(1)})) == 1


def test_a_sticky_error_of_tensorrt_is_one_for_it_too(ort: Ort, device: Device) -> None:
    session = ort.open([CUDA])
    device.set(calls={"cudaGetDevice": 719})
    runtime.cudaGetDevice()
    with pytest.raises(Exception, match="CUDA failure 719: unspecified launch failure"):
        session.run(None, {"x": rows(1)})


def test_runs_wait_and_lie_by_the_file(ort: Ort, device: Device) -> None:
    session = ort.open([CUDA])
    device.set(ort_cuda={"seconds": 0.2, "wrong_answers": True})
    started = time.monotonic()
    np.testing.assert_array_equal(session.run(None, {"x": rows(1)})[0], rows(1) @ WEIGHTS + 1)
    assert time.monotonic() - started >= 0.2
