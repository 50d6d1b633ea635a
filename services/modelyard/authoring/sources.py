"""A file that somebody brings, as ONNX: taken as it is, or converted in a child process. Never opened here.

onnx: itself | program (.pt2): torch, in a child | pickle: scikit-learn, in a child and with trust only | torch: refused
"""

import importlib.util
from collections.abc import Callable
from pathlib import Path

from modelyard.authoring.converted import Converted, convert
from modelyard.errors import ConfigurationError
from modelyard.importing.bounded import Limits
from modelyard.importing.kinds import TORCH_TEXT, kind_of

WARNING = (
    "a pickle can run any code. It is opened in a child process without the variables of your shell and with an end in "
    "time and memory, but as you, with your files and your network: trust its writer, not this command"
)
_UNTRUSTED = (
    "it runs whatever code its writer put in, as you, when it is opened. --trust opens it, in a child process, if you "
    "know who wrote it; without trust, have it converted where it was fitted (skl2onnx) and bring the ONNX file"
)
_PROGRAM = "modelyard.authoring.program"
_PICKLE = "modelyard.authoring.pickled"
_WEIGHTS_ONLY = {"TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1"}


def as_onnx(
    source: Path,
    scratch: Path,
    *,
    trust: bool,
    limits: Limits,
    rows: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
    warn: Callable[[str], None] = lambda _: None,
) -> Converted:
    """The ONNX file, in `scratch` where it had to be made. `rows`: real input (.npz), to compare a pickle on.

    `say` hears each step, `warn` what is dangerous. Raises ConfigurationError, with what to do, for what is not taken.
    """
    kind = kind_of(source)
    if kind == "torch":
        raise ConfigurationError(f"{source} is {TORCH_TEXT}")
    if kind == "onnx":
        return Converted(source)
    if kind == "program":
        _require("torch", "onnxscript")
        if trust:
            warn("a torch.export program that is not checked can run any code, as a pickle can")
        say("converting the program with torch")
        return convert(_PROGRAM, source, scratch, limits, {"trust": trust}, {} if trust else _WEIGHTS_ONLY)
    if not trust:
        raise ConfigurationError(f"{source} is a pickle: {_UNTRUSTED}")
    _require("sklearn", "joblib", "skl2onnx")
    warn(WARNING)
    say("opening the pickle in a child process and converting it")
    return convert(_PICKLE, source, scratch, limits, {"rows": str(rows.absolute()) if rows else None}, {})


def _require(*modules: str) -> None:
    """What a conversion needs is an extra: said before a child fails for want of it."""
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise ConfigurationError(f"not installed here: {', '.join(missing)}; pip install 'modelyard[train]'")
