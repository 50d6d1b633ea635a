"""One server: its ports, its private folders, its processes. `modelyard serve` ends here.

    serve -> bind ports -> environment for the workers -> uvicorn (one process, or its supervisor with several)

Each server has a BENTOML_HOME and a metrics folder of its own: two that share them corrupt each other's metrics.
Both must stand in the environment before anything imports BentoML or prometheus_client, hence the late imports.
"""

import contextlib
import ctypes
import importlib
import logging
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from modelyard.drafts import draft_folder
from modelyard.errors import ConfigurationError
from modelyard.settings import PREFIX, Settings
from modelyard.spec import read_spec

if TYPE_CHECKING:
    from modelyard.app import ModelyardService, ServedApp
    from modelyard.store.address import Address

log = logging.getLogger("modelyard.server")

RETRY_SECONDS = 5
_BACKLOG = 2048
_QUOTING = ("boto3", "botocore", "s3transfer", "urllib3")
"""At level debug they would log headers, and so tokens."""


class Supervisor(Multiprocess):
    """uvicorn's, that learns of a worker's end at once.

    It asks each worker in turn whether it lives, and waits for the answer on a pipe whose other end is open here too:
    of a worker that is killed between question and answer it would hear nothing, until the wait is over.
    """

    def keep_subprocess_alive(self) -> None:
        for process in self.processes:
            process.child_conn.close()  # the worker has its own
        super().keep_subprocess_alive()


def serve(settings: Settings, store: "Address | None" = None) -> None:
    """Serve `settings.model` until SIGTERM or SIGINT, from the repository, or from the store that it mirrors.

    Raises ConfigurationError, or OSError for a taken port.
    """
    if store is None:
        read_spec(settings.repository / settings.model)  # a wrong name or model.yaml is said before anything starts
    listener = _listen("HTTP", settings.host, settings.http_port)
    # the gRPC library would say late and at length that its port is taken
    with _listen("gRPC", settings.host, settings.grpc_port) as probe:
        grpc_port = probe.getsockname()[1]
    settings = settings.model_copy(update={"http_port": listener.getsockname()[1], "grpc_port": grpc_port})
    with _private_folders(), listener:
        _export(settings)
        configure_logging(settings.log_level)
        log.info(
            "loading %s, to be served at http://%s:%d and grpc://%s:%d",
            *(settings.model, settings.host, settings.http_port, settings.host, settings.grpc_port),
        )
        with _mirrored(settings, store) if store else contextlib.nullcontext():
            if settings.workers == 1:
                _serve_here(settings, listener)
            else:
                _serve_in_workers(settings, listener)


def create_app() -> "ServedApp":
    """The ASGI application of the model that the environment names. Raises ConfigurationError."""
    from modelyard.app import protocol_service

    settings = Settings.from_environment()
    spec = read_spec(settings.repository / settings.model)
    _find_services(settings.repository)
    made = _import_service(spec.service, spec.name) if spec.service else protocol_service(spec.name)
    return made.to_asgi()


def create_worker_app() -> "ServedApp":
    """As `create_app`, in a worker: exits as the supervisor expects of a start that cannot succeed.

    Where a worker has started before, the others serve: one that comes after it, and cannot start, is tried again.
    """
    _end_with_supervisor()
    configure_logging(Settings.from_environment().log_level)
    started = Path(os.environ["BENTOML_HOME"], "started")
    try:
        app = create_app()
    except ConfigurationError as error:
        if started.exists():
            log.critical("a worker cannot start, and is tried again in %d s: %s", RETRY_SECONDS, error)
            time.sleep(RETRY_SECONDS)
            os._exit(1)  # at once: the supervisor waits long for the answer of a process that ends slowly
        print(f"error: {error}", file=sys.stderr)
        sys.exit(STARTUP_FAILURE)
    started.touch()
    return app


def configure_logging(level: str) -> None:
    """One line per event on stderr, the same form for every library."""
    logging.basicConfig(
        level=level.upper(),
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
        stream=sys.stderr,
        force=True,
    )
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # a stranger's malformed request is worth no line
    for noisy in ("bentoml", "bentoml.serve", "_bentoml_impl", "asyncio", *_QUOTING):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _serve_here(settings: Settings, listener: socket.socket) -> None:
    # uvicorn raises the signal again when it is done: by then everything is answered, and the exit is a good one
    app = create_app()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(app.exit_code))
    server = uvicorn.Server(_config(settings, app))
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listener])
    if not server.started:
        raise ConfigurationError("the server could not start; the log says why")


def _serve_in_workers(settings: Settings, listener: socket.socket) -> None:
    supervisor = Supervisor(_config(settings, "modelyard.server:create_worker_app"), sockets=[listener])
    supervisor.run()
    if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes):
        raise ConfigurationError("the workers could not start")


def _config(settings: Settings, app: "ServedApp | str") -> uvicorn.Config:
    return uvicorn.Config(
        app,
        factory=isinstance(app, str),
        http="modelyard.protocol.http_server:HttpProtocol",
        loop="modelyard.accepting:Loop",
        ws="none",
        interface="asgi3",
        lifespan="on",
        workers=settings.workers,
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        timeout_keep_alive=max(1, round(settings.keep_alive_seconds)),
        timeout_graceful_shutdown=max(1, round(settings.shutdown_seconds)),
        timeout_worker_healthcheck=30,
    )


def _find_services(repository: Path) -> None:
    """Outside a checkout services stand beside the models, or here where those come from a store. Last on the path:
    they must hide no installed package."""
    for project in (repository.resolve().parent, Path.cwd()):
        folder = str(project / "services")
        if Path(folder).is_dir() and folder not in sys.path:
            sys.path.append(folder)


def _import_service(path: str, model: str) -> "ModelyardService":
    """The object that model.yaml's `service` names. Raises ConfigurationError."""
    from modelyard.app import ModelyardService

    module_name, _, attribute = path.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(f"model.yaml of '{model}' names the service {path}: {error}") from error
    if not isinstance(found, ModelyardService) or found.inner.model != model:
        raise ConfigurationError(f"{path} is no service of the model '{model}'")
    return found


def _export(settings: Settings) -> None:
    """Settings travel to the workers as they came: by the environment."""
    for name, value in settings.model_dump(exclude_defaults=True).items():
        text = value.get_secret_value() if hasattr(value, "get_secret_value") else str(value)
        os.environ[PREFIX + name.upper()] = text


@contextlib.contextmanager
def _mirrored(settings: Settings, store: "Address") -> Iterator[None]:
    """The repository is filled from the store, and kept up until the end."""
    from modelyard.store.follow import follower

    mirror = follower(settings, store)
    mirror.bring()
    mirror.start()
    try:
        yield
    finally:
        mirror.stop()


@contextlib.contextmanager
def _private_folders() -> Iterator[None]:
    """Those of servers that were killed go first: a container that is restarted keeps its /tmp."""
    with draft_folder(Path(tempfile.gettempdir()), str(os.getpid()), prefix="modelyard-server-") as home:
        home.chmod(0o700)
        metrics = home / "metrics"
        metrics.mkdir()
        os.environ |= {
            "BENTOML_HOME": str(home),
            "BENTOML_DO_NOT_TRACK": "true",
            "PROMETHEUS_MULTIPROC_DIR": str(metrics),
        }
        yield


def _listen(what: str, host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise OSError(f"{what} cannot listen on {host}:{port}: {error.strerror or error}") from None


def _end_with_supervisor() -> None:
    """A worker whose supervisor was killed must not stay behind and hold the ports."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
