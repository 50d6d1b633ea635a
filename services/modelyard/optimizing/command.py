"""The options of `modelyard optimize`. What is heavy is imported when it runs, so that --help answers at once."""

import logging
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from modelyard.errors import ConfigurationError
from modelyard.settings import Settings

app = typer.Typer()
MOST_ROWS = 65536


@app.command()
def optimize(
    name: Annotated[str, typer.Argument(help="Name of the model: its folder in the repository.")],
    repository: Annotated[
        Path | None, typer.Option("--repository", help="Folder of model folders.", show_default="models")
    ] = None,
    int8: Annotated[bool, typer.Option("--int8", help="Quantize to INT8.")] = False,
    fp16: Annotated[bool, typer.Option("--fp16", help="Convert to FP16.")] = False,
    method: Annotated[
        Literal["dynamic", "static"] | None,
        typer.Option(help="Of --int8.", show_default="static for convolutions, else dynamic"),
    ] = None,
    source_version: Annotated[
        str, typer.Option("--model-version", help="FP32 version to start from; default: the one that is served.")
    ] = "",
    version: Annotated[
        str | None, typer.Option(help="Name of the new version.", show_default="the next number")
    ] = None,
    speedup: Annotated[
        float, typer.Option(help="Least factor in rows/s: the geometric mean over the batch sizes.")
    ] = 1.1,
    batch_sizes: Annotated[str, typer.Option(help="Rows of the batches that are timed.")] = "1,8,32",
    rounds: Annotated[int, typer.Option(min=1, max=1000, help="Times that each batch size is timed.")] = 9,
    backend: Annotated[
        Literal["onnxruntime-cpu", "onnxruntime-cuda"], typer.Option(help="Where both versions are run.")
    ] = "onnxruntime-cpu",
    reduce_range: Annotated[
        bool | None,
        typer.Option(help="Of --int8: weights in 7 bits.", show_default="where this processor lacks VNNI"),
    ] = None,
) -> None:
    """Make an INT8 or FP16 variant of a version; publish it only when its quality and its speed both hold.

    Quality is judged as `quality` in model.yaml says, on the held-out rows that the version carries.
    """
    from modelyard.optimizing.optimize import Options  # noqa: PLC0415  (quantization is slow to import)
    from modelyard.optimizing.optimize import optimize as make_variant  # noqa: PLC0415
    from modelyard.optimizing.progress import Steps  # noqa: PLC0415

    if int8 == fp16:
        raise typer.BadParameter("give one of --int8 and --fp16")
    if fp16 and (method or reduce_range is not None):
        raise typer.BadParameter("--method and --reduce-range are for --int8")
    logging.basicConfig(level=logging.CRITICAL)  # the reason is said in one line
    options = Options(
        name=name,
        precision="int8" if int8 else "fp16",
        method=method,
        source_version=source_version,
        version=version,
        speedup=_factor(speedup),
        batch_sizes=_sizes(batch_sizes),
        rounds=rounds,
        backend=backend,
        reduce_range=reduce_range,
    )
    out = Console(soft_wrap=True, highlight=False, markup=False)
    with Steps(name) as steps:
        make_variant(options, Settings.from_environment(repository=repository).repository, out, steps)


def _factor(number: float) -> float:
    if not 0 < number <= 1000:
        raise ConfigurationError(f"--speedup {number:g} is outside 0 to 1000")
    return number


def _sizes(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and 1 <= int(part[:9]) <= MOST_ROWS for part in parts):
        raise ConfigurationError(f"--batch-sizes takes 1 to {MOST_ROWS}, with commas between, not '{text[:80]}'")
    return sorted({int(part) for part in parts})
