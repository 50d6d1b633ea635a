"""`python -m modelyard.authoring.pickled`: a scikit-learn pickle becomes an ONNX file, in a child process.

A pickle is a program: opening it runs whatever its writer put in. The command never opens one itself; this child does,
with `--trust` only, with an end in time and memory and without the variables of the shell. It still runs as you.

open -> is it a fitted estimator? -> skl2onnx, zipmap off -> do both answer alike? -> converted.onnx, rows.npz
"""

import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.authoring.columns import columns_of
from modelyard.authoring.converted import ARTIFACT, ROWS
from modelyard.authoring.sklearn_onnx import compare, convert_estimator
from modelyard.errors import ConfigurationError
from modelyard.importing.bounded import Answer, answer

_KEPT_ROWS = 8


def handle(request: Answer) -> Answer:
    source, scratch = Path(request["source"]), Path(request["scratch"])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimator = _estimator(_open(source), source)
    notes = [_described(estimator)]
    notes += [str(w.message).partition(". ")[0] for w in caught if "InconsistentVersion" in w.category.__name__][:1]
    columns = columns_of(estimator)
    if request["rows"]:
        columns = columns.with_rows(Path(request["rows"]))
    if columns.names:
        notes.append(f"the columns, in order: {', '.join(columns.names)}")
    warnings.simplefilter("ignore")
    convert_estimator(estimator, columns, scratch / ARTIFACT)
    notes.append(compare(estimator, columns, scratch / ARTIFACT))
    np.savez(scratch / ROWS, allow_pickle=False, **{name: rows[:_KEPT_ROWS] for name, rows in columns.inputs.items()})
    return {"notes": notes}


def _open(source: Path) -> Any:
    try:
        import joblib  # noqa: PLC0415  (an extra; it also opens plain pickles)
    except ImportError:
        raise ConfigurationError("scikit-learn is not installed: pip install 'modelyard[train]'") from None
    try:
        return joblib.load(source)
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"{source} needs the module '{error.name}', which is not installed here") from None
    except AttributeError as error:
        raise ConfigurationError(f"{source} refers to code of the program that wrote it: {error}") from None
    except MemoryError:
        raise
    except Exception as error:
        raise ConfigurationError(
            f"{source} is a pickle that cannot be opened: {type(error).__name__}: {error}"
        ) from None


def _estimator(thing: Any, source: Path) -> Any:
    from sklearn.base import BaseEstimator  # noqa: PLC0415  (an extra)
    from sklearn.exceptions import NotFittedError  # noqa: PLC0415
    from sklearn.utils.validation import check_is_fitted  # noqa: PLC0415

    thing = getattr(thing, "best_estimator_", thing)  # of a search
    if not isinstance(thing, BaseEstimator):
        raise ConfigurationError(f"{source} holds a {type(thing).__module__}.{type(thing).__name__}, no estimator")
    try:
        check_is_fitted(thing)
    except NotFittedError:
        raise ConfigurationError(f"{source} holds a {type(thing).__name__} that was never fitted") from None
    return thing


def _described(estimator: Any) -> str:
    steps = [type(step).__name__ for _, step in getattr(estimator, "steps", ())]
    name = f"{type(estimator).__name__}{' of ' + ', '.join(steps) if steps else ''}"
    return f"converted from a scikit-learn pickle: {name}, with scikit-learn {_installed('scikit-learn')}"


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "of unknown version"


if __name__ == "__main__":
    answer(handle)
