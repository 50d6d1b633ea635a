"""Which peers there are, with what faces, and the command that starts each.

A command is split at its blanks, and then {port}, {python}, {bin} and {folder} are filled in: a path may have blanks.
"""

from __future__ import annotations

from loadtests.bench.core import Face
from loadtests.bench.peers.recipe import Peer

OIP_PATH = "/v2/models/{model}/infer"
SCRIPT = "{python} {folder}/serve.py"
JSON: tuple[Face, ...] = ("json",)


def _bentoml(name: str, title: str, batching: str) -> Peer:
    return Peer(
        name=name,
        title=title,
        package="bentoml",
        folder="bentoml",
        faces=JSON,
        path="/predict",
        command="{bin}/bentoml serve serve:Service --working-dir {folder} --host 127.0.0.1 --port {port}"
        " --api-workers 1",
        # a home per server: two that share one destroy each other's metrics
        environment={"BENCH_BATCHING": batching, "BENTOML_HOME": "{work}", "BENTOML_DO_NOT_TRACK": "True"},
    )


PEERS: tuple[Peer, ...] = (
    _bentoml("bentoml", "BentoML", "0"),
    _bentoml("bentoml-batching", "BentoML, adaptive batching", "1"),
    Peer(
        name="mlserver",
        title="MLServer",
        package="mlserver",
        folder="mlserver",
        faces=("oip-json", "oip-grpc"),
        path=OIP_PATH,
        command="{bin}/mlserver start {work}",
        environment={
            "PYTHONPATH": "{shared}:{folder}",
            "MLSERVER_HOST": "127.0.0.1",
            "MLSERVER_HTTP_PORT": "{port}",
            "MLSERVER_GRPC_PORT": "{grpc_port}",
            "MLSERVER_METRICS_PORT": "{side_port}",
            "MLSERVER_DEBUG": "false",
            "MLSERVER_PARALLEL_WORKERS": "0",  # in the server's own process: less than half the cost of a hand-over
            "MLSERVER_MODEL_NAME": "{model}",
            "MLSERVER_MODEL_IMPLEMENTATION": "serve.Runtime",
        },
    ),
    Peer(
        name="litserve",
        title="LitServe",
        package="litserve",
        folder="litserve",
        faces=JSON,
        path="/predict",
        command=SCRIPT,
    ),
    Peer(
        name="mosec",
        title="Mosec",
        package="mosec",
        folder="mosec",
        faces=JSON,
        path="/inference",
        command=SCRIPT + " --address 127.0.0.1 --port {port} --path {work}/ipc --timeout 120000 --log-level warning",
    ),
    Peer(
        name="fastapi",
        title="FastAPI + ONNX Runtime",
        package="fastapi",
        folder="fastapi",
        faces=JSON,
        path="/predict",
        command="{bin}/uvicorn serve:app --app-dir {folder} --host 127.0.0.1 --port {port}"
        " --loop uvloop --http httptools --no-access-log --workers 1",
    ),
    Peer(
        name="pytriton",
        title="PyTriton",
        package="nvidia-pytriton",
        folder="pytriton",
        faces=("oip-json", "oip-binary", "oip-grpc"),
        path=OIP_PATH,
        command=SCRIPT,
        # Triton embeds a Python: it has to be the one whose standard library it will find
        environment={"LD_LIBRARY_PATH": "{libpython}", "PYTRITON_HOME": "{work}"},
    ),
    Peer(
        name="ray",
        title="Ray Serve, direct ingress",
        package="ray",
        folder="ray",
        faces=JSON,
        path="/",
        command=SCRIPT,
        environment={
            # Its high-throughput mode without the HAProxy that belongs before it, which would listen on the network:
            # the replica is asked itself. Through Ray's own HTTP proxy a request costs more than ten times as much.
            "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
            "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": "{port}",
            "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": "65535",  # it takes the lowest
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # what makes the cluster listen on the loopback alone
        },
    ),
)


def peer(name: str) -> Peer:
    """The peer `name`; KeyError with the names there are."""
    for one in PEERS:
        if one.name == name:
            return one
    raise KeyError(f"{name} is none of {', '.join(one.name for one in PEERS)}")
