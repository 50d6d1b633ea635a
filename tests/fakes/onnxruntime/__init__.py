"""The real `onnxruntime`, with a CUDAExecutionProvider put into it.

    import onnxruntime -> this file -> the real package takes this one's place in sys.modules, then it is changed

Another process is told of the folder of the fakes alone: the first lines find the repository's root.
"""

# ruff: noqa: E402
# (the path has to stand before what needs it)

import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
ROOT = str(HERE.parents[1])
if ROOT not in sys.path:
    sys.path.append(ROOT)

from tests.fakes.fakeort.session import install

_spec = PathFinder.find_spec("onnxruntime", [folder for folder in sys.path if Path(folder).resolve() != HERE])
if _spec is None or _spec.loader is None:
    raise ModuleNotFoundError("No module named 'onnxruntime'", name="onnxruntime")
_real = module_from_spec(_spec)
sys.modules["onnxruntime"] = _real
_spec.loader.exec_module(_real)
install(_real)
