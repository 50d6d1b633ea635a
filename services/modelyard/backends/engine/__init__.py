"""TensorRT engines: which shapes they are built for, their building, their store, and the lanes that run them.

    model.yaml -> shapes -> builder (in a child process: child, maker) -> store -> TensorRtBackend -> lanes -> slots

cuda.py is the only owner of the CUDA runtime, library.py of TensorRT's own module: both are imported when first needed,
since a machine without a GPU has neither.
"""
