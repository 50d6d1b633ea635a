"""YAML with the line of every node, so that a complaint about a document names the place to mend.

    text -> parse -> document and lines -> (somebody validates it) -> fault: 'model.yaml:7: batching: unknown key ...'

What a document means is its reader's business: spec.py's for model.yaml.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

import yaml

from modelyard.errors import ConfigurationError

Place = tuple[str | int, ...]
"""Keys and positions from the root to a node."""
Lines = dict[Place, int]
MOST_PLACES = 100_000
"""Ten lines of names that repeat names (`*a`) stand for billions of entries."""


def parse(text: str, source: str) -> tuple[Any, Lines]:
    """The document, and the line of every place in it. `source` is how complaints name it.

    Raises ConfigurationError for what is no YAML, and for a key that stands twice.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        places = list(islice(_lines(root, ()), MOST_PLACES + 1)) if root is not None else []
        if len(places) > MOST_PLACES:
            raise ConfigurationError(f"{source}: it holds more than {MOST_PLACES:,} entries, with what *names repeat")
        lines = dict(places)
        document: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise ConfigurationError(f"{source}{line}: no YAML: {getattr(error, 'problem', error)}") from None
    except (ValueError, RecursionError) as error:  # an impossible date, a node that holds itself
        raise ConfigurationError(f"{source}: no YAML: {type(error).__name__}: {str(error)[:200]}") from None
    except _DuplicateKey as error:
        raise ConfigurationError(f"{source}:{error.line}: the key '{error.key}' stands twice") from None
    return document, lines


def fault(source: str, lines: Lines, error: Mapping[str, Any], suggest: Callable[[str, Place], str]) -> str:
    """One line for an error of pydantic's; `suggest` says more of an unknown key at a place."""
    place: Place = error["loc"]
    known = place
    while known and known not in lines:
        known = known[:-1]
    dotted = re.sub(r"\.(\d+)", r"[\1]", ".".join(str(part) for part in place))
    text = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        text = "unknown key" + suggest(str(place[-1]), place)
    elif error["type"] == "missing":
        text = "is missing"
    return f"{source}:{lines.get(known, 1)}: {dotted + ': ' if dotted else ''}{text}"


class _DuplicateKey(Exception):
    def __init__(self, key: str, line: int) -> None:
        self.key, self.line = key, line


def _lines(node: yaml.Node, path: Place) -> Iterator[tuple[Place, int]]:
    """(path, line) of every node; a mapping's entries stand at the line of their key."""
    yield path, node.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _lines(item, (*path, index))
    elif isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in seen:
                raise _DuplicateKey(name, line)
            seen.add(name)
            yield from _lines(value, (*path, name))
            yield (*path, name), line
