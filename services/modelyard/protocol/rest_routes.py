"""Paths of the HTTP face. A name in a path stays a name: it is looked up among loaded models, never on disk."""

from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote_to_bytes

OPEN_PATHS = frozenset(
    {b"/livez", b"/healthz", b"/readyz", b"/metrics", b"/drain", b"/v2/health/live", b"/v2/health/ready"}
)
"""Outside authentication and every limit."""
FEEDBACK = ("feedback",)
MAX_REMEMBERED = 256
"""Bytes of the longest path whose route is kept: callers choose paths."""
ANY = "*"
"""A route that takes every method."""


@dataclass(frozen=True, slots=True)
class Route:
    handler: str
    """Name of the method of `Rest` that answers."""
    method: str
    model: str = ""
    version: str = ""


_FIXED = {
    ("livez",): Route("live", "GET"),
    ("healthz",): Route("live", "GET"),
    ("readyz",): Route("ready", "GET"),
    ("metrics",): Route("metrics", "GET"),
    ("drain",): Route("drain", "GET"),
    FEEDBACK: Route("feedback", "POST"),
    ("v2",): Route("server", "GET"),
    ("v2", ""): Route("server", "GET"),
    ("v2", "health", "live"): Route("live", "GET"),
    ("v2", "health", "ready"): Route("ready", "GET"),
    ("v2", "models", "stats"): Route("stats", "GET"),
    ("v2", "repository", "index"): Route("index", "POST"),
}
_OF_A_MODEL = {
    ("infer",): ("infer", "POST"),
    (): ("model", "GET"),
    ("ready",): ("model_ready", "GET"),
    ("config",): ("config", "GET"),
    ("stats",): ("stats", "GET"),
}
_UNSUPPORTED = frozenset({"systemsharedmemory", "cudasharedmemory", "trace", "logging"})
_UNSUPPORTED_OF_A_MODEL = frozenset({"generate", "generate_stream", "trace"})


def owns(path: bytes) -> bool:
    """Is this path the face's own? All others are the typed API's."""
    return path.startswith(b"/v2/") or path in (b"/v2", b"/feedback") or path in OPEN_PATHS


def parse_path(path: bytes) -> Route | None:
    """The route of a path as it came, still percent-encoded; None for none."""
    return _parse_short(path) if len(path) <= MAX_REMEMBERED else _parse(path)


@lru_cache(maxsize=4096)
def _parse_short(path: bytes) -> Route | None:
    return _parse(path)


def _parse(path: bytes) -> Route | None:
    try:
        segments = [unquote_to_bytes(segment).decode("utf-8") for segment in path.split(b"/")[1:]]
    except UnicodeDecodeError:
        return None
    fixed = _FIXED.get(tuple(segments))
    if fixed is not None:
        return fixed
    match segments:
        case ["v2", "repository", "models", model, "load" | "unload" as change]:
            return Route(change, "POST", model)
        case ["v2", extension, *_] if extension in _UNSUPPORTED:
            return Route("unsupported", ANY)
        case ["v2", "models", model, "versions", version, *rest] if version:
            return _of_a_model(model, version, rest)
        case ["v2", "models", model, *rest]:
            return _of_a_model(model, "", rest)
    return None


def _of_a_model(model: str, version: str, rest: list[str]) -> Route | None:
    found = _OF_A_MODEL.get(tuple(rest))
    if found is not None:
        return Route(*found, model, version)
    if rest[0] in _UNSUPPORTED_OF_A_MODEL:
        return Route("unsupported", ANY, model, version)
    return None
