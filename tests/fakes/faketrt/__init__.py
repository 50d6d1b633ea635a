"""What the fake `tensorrt` is made of.

parser -> network -> builder -> plan (the ONNX model and its profiles) -> runtime -> engine -> context
                                                                                                  |
                                    ONNX Runtime on the CPU, at the addresses that it was told <--+
"""
