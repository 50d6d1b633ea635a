"""Ray Serve with @serve.batch: one replica that is asked by HTTP itself, in a cluster of this machine alone.

The catalog sets what its documentation advises for high request rates; so the HTTP proxy is there and not used.
"""

from pathlib import Path
from typing import Any

import ray
from bench_model import HOST, MAX_BATCH, SIDE_PORT, WAIT_MS, Array, OnnxModel
from ray import serve
from ray.serve._private import replica
from ray.serve.config import HTTPOptions
from ray.serve.schema import LoggingConfig
from starlette.requests import Request


@serve.deployment(num_replicas=1, max_ongoing_requests=1000, logging_config=LoggingConfig(enable_access_log=False))
class Inference:
    """One replica: requests are parsed one by one and inferred in batches."""

    def __init__(self) -> None:
        # The port between proxy and replica would be open to the network, and it unpickles what it is sent: there is
        # no setting for it, so the replica is given another way to bind before it does.
        bind = replica.add_port_to_grpc_server
        replica.add_port_to_grpc_server = lambda server, _: bind(server, f"{HOST}:0")
        self.model = OnnxModel()

    @serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=WAIT_MS / 1000)
    async def infer(self, requests: list[Array]) -> list[Array]:
        """One run for all requests of the batch."""
        return self.model.infer_all(requests)

    async def __call__(self, request: Request) -> dict[str, Any]:
        """Answer one request."""
        return self.model.answer(await self.infer(self.model.read(await request.json())))


if __name__ == "__main__":
    # num_cpus is a label that actors are placed by: enough for the replica and the controller on any machine
    ray.init(
        num_cpus=4,
        include_dashboard=False,
        object_store_memory=100 * 1024 * 1024,
        log_to_driver=False,
        _node_ip_address=HOST,
        _temp_dir=str(Path.cwd()),
    )
    quiet = LoggingConfig(enable_access_log=False)
    serve.start(http_options=HTTPOptions(host=HOST, port=SIDE_PORT), logging_config=quiet)
    serve.run(Inference.bind(), blocking=True)
