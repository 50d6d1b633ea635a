"""Mosec with its batching: one inference worker behind the Rust front; the default JSON of its Worker."""

from typing import Any

from bench_model import MAX_BATCH, WAIT_MS, OnnxModel
from mosec import Server, Worker


class Inference(Worker):
    """Gets a list of parsed requests, returns as many responses."""

    def __init__(self) -> None:
        super().__init__()
        self.model = OnnxModel()

    def forward(self, data: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """One run for all requests of the batch."""
        outputs = self.model.infer_all([self.model.read(body) for body in data])
        return [self.model.answer(values) for values in outputs]


if __name__ == "__main__":
    server = Server()
    server.append_worker(Inference, num=1, max_batch_size=MAX_BATCH, max_wait_time=WAIT_MS, timeout=120)
    server.run()
