"""A GPU for tests: this folder on PYTHONPATH gives any process `tensorrt`, `cuda.bindings.runtime`, `onnxruntime`."""
