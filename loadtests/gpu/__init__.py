"""The GPU checks: torch, ONNX Runtime and TensorRT side by side on one GPU, and our server with the same models."""
