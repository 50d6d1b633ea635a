"""A BentoML bento of the same context: `bentoml build` packs it, `bentoml serve` or `bentoml containerize` takes it on.

    bentofile.yaml, service.py, requirements.txt   written beside what context.write laid out

BentoML is asked by its own command line, in a child process: it reads nothing outside the folder that it runs in.
"""

import os
import subprocess
import sys
from pathlib import Path

import yaml

from modelyard.building.context import DOCKER
from modelyard.building.order import Order
from modelyard.building.tools import Target
from modelyard.errors import ConfigurationError

_SERVICE = '''"""What a bento serves: its own library, service and model, wherever it is unpacked."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "services"))
os.environ.setdefault("MODELYARD_REPOSITORY", str(HERE / "models"))
os.environ.setdefault("MODELYARD_MODEL", {model!r})

{service}
'''


def build(order: Order, context: Path, target: Target) -> str:
    """The tag of the bento, now in the store of BENTOML_HOME. Raises ConfigurationError when BentoML refuses."""
    write(order, context, target)
    environment = {**os.environ, "BENTOML_DO_NOT_TRACK": "true"}
    if home := os.environ.get("BENTOML_HOME"):
        environment["BENTOML_HOME"] = str(Path(home).resolve())
    command = [sys.executable, "-m", "bentoml", "build", "--output", "tag"]
    done = subprocess.run(
        command, cwd=context, env=environment, capture_output=True, text=True, check=False, errors="replace"
    )
    sys.stderr.write(done.stderr)
    if done.returncode:
        raise ConfigurationError(f"bentoml build ended with exit code {done.returncode}; its own words stand above")
    tag = done.stdout.strip().rpartition(":")  # __tag__:name:version
    name = tag[0].rpartition(":")[2]
    if not name:
        raise ConfigurationError("bentoml build did not say which bento it made")
    return f"{name}:{tag[2]}"


def write(order: Order, context: Path, target: Target) -> None:
    """The files that make the context a bento's source."""
    module, _, name = order.service.partition(":")
    imported = f"from {module} import {name} as service" if module else _protocol_service(order.model.name)
    (context / "service.py").write_text(_SERVICE.format(model=order.model.name, service=imported), encoding="utf-8")
    locks = [context / DOCKER / f"requirements-{target}.txt"]
    if order.package and (own := context / "services" / order.package.name / "requirements.txt").is_file():
        locks.append(own)
    (context / "requirements.txt").write_text("".join(lock.read_text() for lock in locks), encoding="utf-8")
    (context / "bentofile.yaml").write_text(yaml.safe_dump(_bentofile(order), sort_keys=False), encoding="utf-8")


def _protocol_service(model: str) -> str:
    return f"from modelyard.app import protocol_service\n\nservice = protocol_service({model!r})"


def _bentofile(order: Order) -> dict[str, object]:
    return {
        "service": "service:service",
        "name": order.model.name,
        "labels": {"model-version": order.model.version, "model-digest": order.model.digest[:63]},
        "include": ["service.py", "services/", "models/"],
        "python": {"requirements_txt": "./requirements.txt", "lock_packages": False},
    }
