"""The load test: `locust -f loadtests/locustfile.py --headless --host http://127.0.0.1:3000 --model digits`.

`make loadtest` and `python -m loadtests.load` start it with a service and a folder for the reports. What is here are
the names that locust looks for; the parts lie in loadtests/load. locust changes Python's own modules (gevent): this
file is for its process alone.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from locust import events as locust_events

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # locust is started from anywhere

from loadtests.load.options import WrongUsage, add_options
from loadtests.load.run import Load
from loadtests.load.users import Grpc, HttpBinary, HttpJson, HttpTyped
from modelyard.errors import ConfigurationError

__all__ = ["Grpc", "HttpBinary", "HttpJson", "HttpTyped"]


def options(parser: Any) -> None:
    """locust gives the parser by this name."""
    add_options(parser)


def init(environment: Any, **_: Any) -> None:
    """Every process has its own part in the run."""
    try:
        Load(environment).attach(environment.events)
    except ConfigurationError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(2 if isinstance(error, WrongUsage) else 1)


events: Any = locust_events  # without types
events.init_command_line_parser.add_listener(options)
events.init.add_listener(init)
