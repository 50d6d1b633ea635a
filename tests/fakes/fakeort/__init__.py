"""What the fake `onnxruntime` adds to the real one: a CUDAExecutionProvider that computes on the CPU."""
