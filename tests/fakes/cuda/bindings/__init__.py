"""CUDA's bindings, as far as the fakes go: `runtime` only. `cuda` itself stays a namespace, as NVIDIA's is."""

__version__ = "13.5.0"
