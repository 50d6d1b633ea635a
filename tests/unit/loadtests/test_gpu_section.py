"""The page's section about GPUs: figures with their device and versions, or plain words that there are none."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from loadtests.bench import bench
from loadtests.bench.page import gpu_section, page
from loadtests.bench.results import save
from loadtests.gpu.section import read
from tests.unit.loadtests import figures
from tests.unit.loadtests.gpu_figures import document


def _section(made: str) -> str:
    return made.split("## On a GPU\n")[1].partition("## How it was taken")[0]


def test_without_a_document_the_page_says_so_and_shows_no_figure() -> None:
    section = _section(page(figures.document()))
    assert "Nothing was measured on a GPU" in section
    assert "`make bench-gpu`" in section
    assert not any(character.isdigit() for character in section)


def test_a_document_without_figures_says_why_there_are_none() -> None:
    empty = {**document(), "direct": [], "served": [], "device": {"absent": "no NVIDIA device"}}
    section = _section(page(figures.document(), empty))
    assert "Nothing was measured on a GPU for this page (no NVIDIA device)" in section
    assert "|" not in section


def test_figures_stand_with_device_driver_and_versions() -> None:
    section = _section(page(figures.document(), document()))
    for text in ("A GPU of a test", "80 GiB", "driver 999.1", "compute capability 9.0", "tensorrt 10.99"):
        assert text in section
    assert "| torch eager fp32 | 900 (22%) | 4,000 (0%) |" in section
    assert "| TensorRT fp16 | 2,500 (40%) | - |" in section
    assert "| TensorRT fp16 | 1.000 / 2.000 | - |" in section
    assert "| TensorRT fp16 | 60.0 | 5.0 | 4.0 | 256 | 2.0e-03 | 1.0e-03 | 0 of 1 |" in section
    assert "| torch eager fp32 | - | - | 4.0 | - | 2.0e-03 | 1.0e-03 | 0 of 2 |" in section
    assert "| server, tensorrt fp16 | gRPC | 500 (0%) | 1.000 / 2.000 | 3.0e-03 | 0 of 1 | 0 |" in section
    assert "| ONNX Runtime CUDA fp32 | encoder | no \\| wheel |" in section


def test_wrong_answers_are_counted_on_the_page() -> None:
    assert "| 1 of 1 |" in "\n".join(gpu_section(document(right=False)))


def test_report_reads_the_document_that_lies_beside_the_results(tmp_path: Path) -> None:
    assert read(tmp_path / "benchmarks" / "gpu.json") is None
    save(figures.document(), bench.results_path(tmp_path))
    save(document(), tmp_path / "benchmarks" / "gpu.json")
    bench.publish(tmp_path, Console(quiet=True))
    assert "A GPU of a test" in (tmp_path / "benchmarks.md").read_text()
