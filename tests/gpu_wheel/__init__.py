"""The real onnxruntime-gpu on a machine without a GPU: `make test-gpu-wheel`, in an environment of its own."""
