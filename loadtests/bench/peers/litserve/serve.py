"""LitServe with its batching: a LitAPI whose requests may have any number of rows, one worker, one API server.

`fast_queue` is what its documentation advises for high request rates: ZeroMQ between the processes.
"""

import litserve
from bench_model import HOST, MAX_BATCH, PORT, WAIT_MS, Array, OnnxModel


class Api(litserve.LitAPI):
    """decode -> batch -> predict -> unbatch -> encode."""

    def setup(self, device: str) -> None:  # noqa: ARG002 (it is the CPU)
        """Load the model in the worker."""
        self.model = OnnxModel()

    def decode_request(self, request: dict) -> Array:
        """The rows of one request."""
        return self.model.read(request)

    def batch(self, inputs: list[Array]) -> list[Array]:
        """Leave the requests apart: predict joins them, since it must know where each ends."""
        return inputs

    def predict(self, inputs: list[Array]) -> list[Array]:
        """One run for all requests of the batch."""
        return self.model.infer_all(inputs)

    def unbatch(self, output: list[Array]) -> list[Array]:
        """They are apart already."""
        return output

    def encode_response(self, output: Array) -> dict:
        """The response to one request."""
        return self.model.answer(output)


if __name__ == "__main__":
    api = Api(max_batch_size=MAX_BATCH, batch_timeout=WAIT_MS / 1000)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, timeout=120, fast_queue=True)
    server.run(host=HOST, port=PORT, num_api_servers=1, log_level="warning", generate_client_file=False)
