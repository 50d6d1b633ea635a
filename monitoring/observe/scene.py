"""What runs: two services, one on a fake GPU, a Redis behind a proxy that spoils it, and a Prometheus that looks on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from monitoring.observe import model
from monitoring.observe.prometheus import Prometheus, Target, prometheus
from tests.integration.chaos_proxy import ChaosProxy, chaos_proxy
from tests.integration.gpu_harness import Gpu, echo_repository, gpu_server
from tests.integration.harness import Server, serve
from tests.integration.redis_process import RedisServer, redis_server

WORKERS = 2


@dataclass(frozen=True)
class Scene:
    """Everything that the drive can take hold of."""

    folder: Path
    loan: Server
    """model.py, two workers, with Redis."""
    echo: Server
    """y = x on a GPU that is played by tests/fakes: what it says of engines and memory is what a real one would."""
    gpu: Gpu
    redis: RedisServer
    proxy: ChaosProxy
    prometheus: Prometheus

    @property
    def repository(self) -> Path:
        """Of the service `loan`."""
        return self.folder / "loan"


@contextmanager
def scene(folder: Path) -> Iterator[Scene]:
    """All of it, ready and scraped; ended with the block."""
    for name in ("loan", "gpu", "echo", "prometheus"):
        (folder / name).mkdir()
    gpu = Gpu(folder / "gpu", reported=False)
    settings = {"MODELYARD_EXECUTORS": "1", "MODELYARD_CACHE_FACTOR": "1"}
    settings["MODELYARD_REDIS_TIMEOUT_SECONDS"] = "0.05"  # on a busy machine a healthy Redis takes 20 ms now and then
    settings |= {"MODELYARD_PAYLOAD_LOG": f"file:{folder}/payloads.jsonl", "MODELYARD_PAYLOAD_SAMPLE": "0.2"}
    with redis_server() as redis, chaos_proxy(redis.port) as proxy:
        settings["MODELYARD_REDIS_URL"] = proxy.url
        repository = model.repository(folder / "loan")
        with (
            serve(repository, model.NAME, env=settings, workers=WORKERS) as loan,
            gpu_server(echo_repository(folder / "echo"), gpu, admin=True) as echo,
        ):
            targets = [
                Target(loan.http, "loan-server", "loan-server-0"),
                Target(echo.http, "echo-server", "echo-server-0"),
            ]
            with prometheus(folder / "prometheus", targets) as watching:
                watching.wait('count(modelyard_model_info == 1) >= 2 and count(up{job="modelyard"} == 1) == 2')
                yield Scene(folder, loan, echo, gpu, redis, proxy, watching)
