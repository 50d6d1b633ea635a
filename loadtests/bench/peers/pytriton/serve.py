"""NVIDIA PyTriton: a Triton server that hands batches to a Python function; Triton's dynamic batcher as it is."""

import signal

import numpy as np
from bench_model import GRPC_PORT, HOST, MAX_BATCH, NAME, PORT, SIDE_PORT, Array, OnnxModel
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

model = OnnxModel()


@batch
def infer(**inputs: Array) -> dict[str, Array]:
    """One run for the batch that Triton has made."""
    return {model.output: model.infer(inputs[model.input])}


if __name__ == "__main__":
    # It ends in order on SIGINT alone: on SIGTERM it would leave its shared memory and its unpacked backend behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    config = TritonConfig(
        http_address=HOST,
        http_port=PORT,
        grpc_address=HOST,
        grpc_port=GRPC_PORT,
        metrics_address=HOST,
        metrics_port=SIDE_PORT,
    )
    with Triton(config=config) as triton:
        triton.bind(
            model_name=NAME,
            infer_func=infer,
            inputs=[Tensor(name=model.input, dtype=model.dtype.type, shape=(model.columns,))],
            outputs=[Tensor(name=model.output, dtype=np.float32, shape=(model.out_columns,))],
            config=ModelConfig(max_batch_size=MAX_BATCH, batcher=DynamicBatcher()),
            strict=False,
        )
        triton.serve()
