"""`modelyard optimize`: an INT8 or FP16 variant of a version, published only when quality and speed both hold."""
