"""What is called what: the model's name becomes a Python package, a class, a name for Kubernetes.

fraud-v2.1 -> fraud_v2_1_service, FraudV21, fraud-v2-1
"""

import importlib.util
import keyword
import re
from dataclasses import dataclass
from pathlib import Path

from modelyard.errors import ConfigurationError
from modelyard.importer import check_name

MOST_CHARACTERS = 63
"""A name in Kubernetes ends there."""
MOST_OF_A_LABEL = MOST_CHARACTERS - len("-server-pods")
"""The longest name that deploy/k8s makes of a label."""
_RESERVED = {
    "base": "deploy/k8s/base is no model",
    "modelyard": "the library itself is called so",
    "redis": "the cache is deployed under that name",
}
_TAKEN_CLASSES = frozenset({"Inputs", "Outputs", "ModelService"})


@dataclass(frozen=True, slots=True)
class Names:
    model: str
    package: str
    class_name: str
    label: str


def names_of(model: str) -> Names:
    """Raises ConfigurationError for a name that cannot be used."""
    check_name(model)
    words = re.findall(r"[a-z0-9]+", model.lower())
    if len(model) > MOST_CHARACTERS or not words:
        raise ConfigurationError(
            f"'{model}' is longer than {MOST_CHARACTERS} characters, which Kubernetes does not take"
        )
    if "-".join(words) in _RESERVED:
        raise ConfigurationError(f"'{model}' is reserved: {_RESERVED['-'.join(words)]}")
    if words[0][0].isdigit():
        words[0] = f"m{words[0]}"
    class_name = "".join(word[0].upper() + word[1:] for word in words)
    if keyword.iskeyword(class_name) or class_name in _TAKEN_CLASSES:
        class_name += "Service"
    return Names(model, "_".join(words) + "_service", class_name, "-".join(words)[:MOST_OF_A_LABEL].rstrip("-"))


def check_package(package: str, services: Path) -> None:
    """Raises ConfigurationError when Python would import another package of that name."""
    try:
        found = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return
    place = found and (found.origin or next(iter(found.submodule_search_locations or ()), None))
    if place and not Path(place).resolve().is_relative_to(services.resolve()):
        raise ConfigurationError(f"a Python package '{package}' is there already: {place}; take another name")
