"""Settings of one server process, read once from the environment: one prefix, frozen, each with its meaning.

`modelyard settings` prints them. Names that Kubernetes injects for a Service called "modelyard" (MODELYARD_PORT,
MODELYARD_SERVICE_HOST, ...) are avoided on purpose.
"""

import difflib
import os
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

PREFIX = "MODELYARD_"


class Settings(BaseModel):
    """All settings. Sizes are bytes, times are seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field("", description="the model to serve; `modelyard serve NAME` sets it for its workers")
    repository: Path = Field(
        Path("models"), description="folder of model folders; for `serve` and others also s3://bucket/prefix"
    )
    store: str = Field("", description="s3://bucket/prefix: what `push` and `pull` mean when they are told no other")
    store_seconds: float = Field(
        5.0, ge=0, description="serving from a store: how often a promote or a new version is looked for; 0: never"
    )
    store_start_seconds: float = Field(
        30.0, ge=0, description="serving from a store that is away: the start waits so long, then takes the mirror's"
    )
    store_timeout_seconds: float = Field(10.0, gt=0, le=300, description="the most that a store may take to answer")
    mirror_folder: Path = Field(
        Path.home() / ".cache" / "modelyard" / "mirror", description="where what is served from a store is kept"
    )
    host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0 in a container")
    http_port: int = Field(3000, ge=0, le=65535, description="HTTP: Open Inference Protocol, typed API, metrics")
    grpc_port: int = Field(3001, ge=0, le=65535, description="gRPC: Open Inference Protocol, health, reflection")
    workers: int = Field(1, ge=1, le=64, description="server processes that share the ports")
    executors: int = Field(
        0, ge=0, le=256, description="threads that run the model; 0: one per core that the process may use"
    )
    inline_seconds: float = Field(
        0.00025, ge=0, description="a batch that keeps a core busy for less runs in the event loop, without a thread"
    )

    cache_enabled: bool = Field(True, description="false: every request runs the model, whatever model.yaml says")
    cache_memory_bytes: int = Field(256 * 2**20, ge=0, description="bound of the in-process cache tier")
    cache_factor: float = Field(
        40.0,
        ge=0,
        description="a cache tier may take 1/factor of the model's time beyond what its hits save; 0: always used",
    )
    cache_evidence_seconds: float = Field(
        1.0,
        gt=0,
        description="a cache tier is judged each time that its look-ups have kept the event loop busy so long",
    )
    engine_folder: Path = Field(
        Path.home() / ".cache" / "modelyard" / "engines", description="where built TensorRT engines are kept"
    )
    engine_store_bytes: int = Field(
        16 * 2**30, ge=2**20, description="bound of the engine folder; the longest unused go first"
    )
    engine_builds: bool = Field(
        True, description="false: serve with engines that are there (`modelyard engines build`), never build one"
    )
    engine_retry_seconds: float = Field(
        60.0, gt=0, description="after an engine could not be built for want of memory or time; doubled up to an hour"
    )
    watchdog_seconds: float = Field(
        60.0,
        ge=0,
        description="a run that takes longer makes the model not ready, twice as long ends the process; 0: off",
    )

    redis_url: SecretStr = Field(
        SecretStr(""), description="redis://... turns the second cache tier on; empty: memory only"
    )
    redis_timeout_seconds: float = Field(0.02, gt=0, le=5, description="the most that Redis may delay a request")
    redis_prefix: str = Field("modelyard:", description="prefix of every Redis key")

    max_body_bytes: int = Field(
        64 * 2**20, ge=1024, description="largest request: HTTP body, also inflated, and gRPC message"
    )
    receive_timeout_seconds: float = Field(
        20.0, gt=0, description="a request must have arrived whole within this, and an answer be read on within it"
    )
    keep_alive_seconds: float = Field(75.0, gt=0, description="an idle HTTP connection is closed after this")
    grpc_front: Literal["grpcio", "http2"] = Field(
        "grpcio", description="what serves the gRPC port: the gRPC library, or (experimental) our own HTTP/2 front"
    )
    grpc_connection_seconds: float = Field(
        30.0,
        ge=0,
        le=86_400,
        description="a gRPC connection is ended at this age, without a loss: callers spread, and leave a server that "
        "drains longer than that; 0: never",
    )
    max_queue_bytes: int = Field(
        512 * 2**20, ge=2**20, description="request bodies, and inputs in the queue, held at once; more gets 503"
    )

    import_seconds: float = Field(
        60.0, gt=0, le=86_400, description="`modelyard import` and `new`: a file's trial in its child process may take"
    )
    import_memory_bytes: int = Field(
        16 * 2**30, ge=2**30, description="`modelyard import` and `new`: so much may the child process allocate"
    )

    drain_seconds: float = Field(2.0, ge=0, description="after SIGTERM or GET /drain: not ready, but still serving")
    drain_from: str = Field(
        "127.0.0.0/8,::1/128", description="networks whose GET /drain is obeyed: the kubelet's, in a cluster"
    )
    shutdown_seconds: float = Field(30.0, gt=0, description="after the drain: the most that open requests may take")

    api_keys: SecretStr = Field(
        SecretStr(""), description="'name:key,name:key': callers must send one as a bearer token; empty: open"
    )
    tenant_requests_per_second: float = Field(0.0, ge=0, description="quota of one key name; 0: none")
    admin: bool = Field(False, description="true: opens load and unload of the repository extension")
    reload_seconds: float = Field(
        1.0, ge=0, description="how often a promote or rollback (aliases.json) is looked for; 0: never"
    )
    loaded_versions: int = Field(
        4,
        ge=1,
        le=1000,
        description="versions of a model in memory: what aliases name, then the newest; more only if aliases name more",
    )
    metrics: bool = Field(
        True, description="false: requests are neither counted nor timed, to see what that costs; never in production"
    )
    drift: bool = Field(True, description="false: rows are not compared with the version's reference (docs/drift.md)")
    feedback_requests: int = Field(
        100_000, ge=0, le=10_000_000, description="answers remembered by request id for POST /feedback; 0: off"
    )
    payload_log: str = Field(
        "off", description="off, file:/path or http(s)://receiver: where a sample of requests and answers goes"
    )
    payload_sample: float = Field(0.01, ge=0, le=1, description="share of the requests that the payload log keeps")
    payload_bytes: int = Field(
        64 * 2**20, ge=2**16, description="a payload file of this size is turned: it and three older ones are kept"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level logged")

    @field_validator("repository")
    @classmethod
    def _folder(cls, value: Path) -> Path:
        if is_store(value):
            raise ValueError("this command works in a folder, not on a store (`modelyard pull` brings a version)")
        return value

    @field_validator("engine_folder", mode="before")
    @classmethod
    def _place(cls, value: Path | str) -> Path:
        if not str(value).strip():  # of which Path makes the current folder
            raise ValueError("is empty: name a folder, or leave it out")
        try:
            return Path(value).expanduser()
        except RuntimeError:
            raise ValueError("there is no such user's home folder") from None

    @field_validator("drain_from")
    @classmethod
    def _networks(cls, value: str) -> str:
        try:
            for item in filter(None, map(str.strip, value.split(","))):
                ip_network(item)
        except ValueError:
            raise ValueError("one of its items is no network such as 10.0.0.0/8") from None
        return value

    @field_validator("payload_log")
    @classmethod
    def _sink(cls, value: str) -> str:
        if value == "off" or (value.startswith("file:/") and not value.endswith("/")):
            return value
        try:
            parts = urlsplit(value)
            usable = parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc
            usable = usable and parts.port != 0
        except ValueError:  # of the port, which is read only when it is asked for, or of an IPv6 address
            usable = False
        if not usable:
            raise ValueError("neither off nor file:/path nor http(s)://host[:port]/path (without a password in it)")
        return value

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None, **overrides: object) -> "Settings":
        """Settings from MODELYARD_... variables; `overrides` that are not None win.

        Raises ValueError with one line per wrong variable.
        """
        source = os.environ if environment is None else environment
        values: dict[str, object] = {
            name: source[PREFIX + name.upper()] for name in cls.model_fields if PREFIX + name.upper() in source
        }
        values |= {name: value for name, value in overrides.items() if value is not None}
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            # never the value itself: it may be a secret
            lines = [f"{PREFIX}{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors(include_input=False)]
            raise ValueError("; ".join(lines)) from None


def is_store(repository: Path | str) -> bool:
    """Is it s3://bucket/prefix? A Path has made one slash of two."""
    return str(repository).startswith("s3:/")


def unknown_variables(environment: Mapping[str, str] | None = None) -> list[str]:
    """A line for every MODELYARD_ variable that is close to a setting's name but is none: most likely a typo."""
    source = os.environ if environment is None else environment
    known = [PREFIX + name.upper() for name in Settings.model_fields]
    lines = []
    for name in sorted(source):
        if name.startswith(PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, 1, 0.8)
            lines += [f"{name} is no setting; did you mean {near[0]}?"] if near else []
    return lines
