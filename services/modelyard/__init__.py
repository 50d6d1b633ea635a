"""Modelyard turns a trained model into a production service.

Data flows one way: protocol -> dataplane -> pipeline (admission -> cache -> batcher) -> backend, and back out.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("modelyard")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0+unknown"
