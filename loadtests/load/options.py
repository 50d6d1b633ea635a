"""The options of a load test, beside locust's own: what `--help` shows under 'modelyard'."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import configargparse  # type: ignore[import-untyped]  # it has no types

from loadtests.load.curves import CURVES
from loadtests.load.thresholds import Limits
from modelyard.errors import ConfigurationError
from modelyard.manifest import NAME

KINDS = ("json", "binary", "grpc", "typed")
GRPC_PORT = 3001
SECONDS = 30.0
USERS = 20
STOP_SECONDS = 10
SHARED = "modelyard_shared"
"""The attribute of the options that goes to the workers."""


class WrongUsage(ConfigurationError):
    """Options that make no run, whatever the server and the repository are: exit code 2."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One run."""

    model: str
    repository: Path
    version: str
    kinds: Sequence[str]
    grpc: str
    """host:port"""
    tls: bool
    key: str
    timeout: float
    users: int
    rate: float
    """Requests a second of all users together, when all of them are there."""
    seconds: float
    shape: str
    zipf_share: float
    zipf_exponent: float
    limits: Limits

    @property
    def names(self) -> list[str]:
        """Of the requests, as statistics have them."""
        return [f"{self.model} {kind}" for kind in self.kinds]


def add_options(parser: argparse.ArgumentParser) -> None:
    """`parser` is locust's. Each option can be an environment variable, as LOADTEST_RATE, or stand in locust.conf."""
    group = parser.add_argument_group("modelyard", "what is asked, how much of it, and what has to hold")
    add = group.add_argument

    def option(name: str, kind: Callable[[str], Any], default: Any, text: str, **more: Any) -> None:
        variable = "LOADTEST_" + name.strip("-").upper().replace("-", "_")
        add(name, type=kind, default=default, help=text, env_var=variable, **more)

    option("--model", str, "digits", "Name of the model, as in the repository. Default: digits")
    repository = os.environ.get("MODELYARD_REPOSITORY", "models")
    option("--repository", str, repository, "Folder of the models, for their rows. Default: models")
    option("--model-version", str, "", "The version that has to answer; 'any': whichever. Default: the served one here")
    option("--protocols", str, ",".join(KINDS), "Kinds of users. Default: json,binary,grpc,typed")
    option("--grpc", str, "", f"host:port of gRPC. Default: the host of --host, port {GRPC_PORT}")
    option("--api-key", str, "", "Sent as Authorization: Bearer KEY. Better given as LOADTEST_API_KEY")
    option("--timeout", float, 10.0, "Seconds until a request without an answer is an error. Default: 10")
    option("--rate", float, 50.0, "Requests a second of all users at full load. Default: 50")
    option("--shape", str, "constant", f"Load over time: {', '.join(CURVES)}. Default: constant", choices=list(CURVES))
    option("--zipf-share", float, 0.8, "Share of requests whose row is a popular one, 0 to 1. Default: 0.8")
    option("--zipf-exponent", float, 1.0, "How popular the popular are; 0: all alike. Default: 1")
    option("--p99", str, "500", "Most ms; also by name: '500,digits grpc=50'. Default: 500")
    option("--errors", float, 0.001, "Most errors and refusals, a ratio. Default: 0.001")
    option("--achieved", float, 0.98, "Least answered / due, a ratio. Default: 0.98")
    option("--wrong", float, 0.0, "Most wrong answers, a ratio. Default: 0")
    option("--accuracy", float, None, "Least share of right answers. Default: what the export measured, less chance")
    option("--metrics-port", int, 9646, "Figures of the run for Prometheus; 0: none. Default: 9646")
    option("--metrics-host", str, "127.0.0.1", "Address of that port. Default: 127.0.0.1")
    option("--reports", str, "", "Folder for summary.json and summary.txt; by `make loadtest` for all reports")
    parser.set_defaults(stop_timeout=STOP_SECONDS)


def help_text() -> str:
    """The options above, as `--help` shows them."""
    parser = configargparse.ArgumentParser(prog="python -m loadtests.load", usage="%(prog)s [options]", add_help=False)
    add_options(parser)
    return str(parser.format_help())


def plan_of(options: argparse.Namespace) -> Plan:
    """Raises WrongUsage for values that make no run."""
    told = shared(options)
    kinds = tuple(dict.fromkeys(kind.strip() for kind in options.protocols.split(",") if kind.strip()))
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds:
        raise WrongUsage(f"--protocols: '{', '.join(unknown)}' is none; known are {', '.join(KINDS)}")
    check_model(options.model)
    _check_numbers(options, told)
    url = _url(told["host"])
    return Plan(
        model=options.model,
        repository=Path(options.repository),
        version=options.model_version,
        kinds=kinds,
        grpc=options.grpc or f"{url.hostname}:{GRPC_PORT}",
        tls=url.scheme == "https",
        key=options.api_key,
        timeout=options.timeout,
        users=told["users"],
        rate=options.rate,
        seconds=told["seconds"],
        shape=options.shape,
        zipf_share=options.zipf_share,
        zipf_exponent=options.zipf_exponent,
        limits=_limits(options),
    )


def check_model(name: str) -> None:
    """Raises WrongUsage for what no model can be called."""
    if not NAME.fullmatch(name):
        raise WrongUsage(f"--model: '{name[:80]}' cannot name a model: it is the name of a folder of the repository")


def _check_numbers(options: argparse.Namespace, told: dict[str, Any]) -> None:
    for name in ("zipf_share", "errors", "achieved", "wrong", "accuracy"):
        value = getattr(options, name)
        if value is not None and not 0 <= value <= 1:
            raise WrongUsage(f"--{name.replace('_', '-')}: {value:g} is no ratio from 0 to 1")
    if not 0 <= options.zipf_exponent < 100:
        raise WrongUsage(f"--zipf-exponent: {options.zipf_exponent:g} is none: 0 or more")
    for name in ("rate", "timeout"):
        if not 0 < getattr(options, name) < 1e9:
            raise WrongUsage(f"--{name}: {getattr(options, name):g} is too little or too much")
    if told["users"] < 1:
        raise WrongUsage(f"--users: {told['users']} is too little")
    if not told["seconds"] > 0:
        raise WrongUsage(f"--run-time: {told['seconds']:g} seconds are too little")
    if not 0 <= options.metrics_port <= 65535:
        raise WrongUsage(f"--metrics-port: {options.metrics_port} is no port: 0 (none) to 65535")


def shared(options: argparse.Namespace) -> dict[str, Any]:
    """What the master has to tell its workers: locust tells them the options that are not its own."""
    users = USERS if options.num_users is None else options.num_users
    seconds = SECONDS if options.run_time is None else float(options.run_time)
    return getattr(options, SHARED, None) or {"host": options.host, "users": users, "seconds": seconds}


def p99_of(text: str) -> tuple[float, dict[str, float]]:
    """The limit for all, and those by name, of '500,digits grpc=50'. Raises WrongUsage."""
    limit, named = Limits().p99_ms, {}
    for part in text.split(","):
        name, equals, number = part.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            value = 0.0
        if not 0 < value < 1e9:
            raise WrongUsage(f"--p99: '{part.strip()}' is no number of milliseconds, and no NAME=MILLISECONDS")
        if equals:
            named[name.strip()] = value
        else:
            limit = value
    return limit, named


def _limits(options: argparse.Namespace) -> Limits:
    limit, named = p99_of(options.p99)
    known = [f"{options.model} {kind}" for kind in KINDS]
    for name in named:
        if name not in known:  # it would be a threshold that nothing is ever held to
            raise WrongUsage(f"--p99: no requests are called '{name}'; known are {', '.join(known)}")
    return Limits(limit, named, options.errors, options.achieved, options.wrong, options.accuracy)


def _url(host: str | None) -> Any:
    """Raises WrongUsage when it is none."""
    url = urlsplit(host or "")
    if url.scheme not in {"http", "https"} or not url.hostname:
        raise WrongUsage(f"--host: '{host or ''}' is no address of a server, as http://127.0.0.1:3000")
    return url
