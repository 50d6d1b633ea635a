"""What the fakes share: the device with its memory, its streams and graphs, and the file of faults that steers them.

cuda/bindings/runtime ---+
tensorrt ----------------+--> machine --> memory, streams, graphs
onnxruntime -------------+            \\-> faults <- the file named by FAKE_GPU
"""
