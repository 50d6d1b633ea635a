"""What differs between two versions: what their manifests say, and how they answer and how fast, side by side."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from modelyard.errors import ConfigurationError
from modelyard.lifecycle.compare import Agreement, Latency, agreement, latency
from modelyard.lifecycle.interface import added, broken, interface_of
from modelyard.lifecycle.versions import Model, opened
from modelyard.manifest import Manifest, read_manifest

Row = tuple[str, str, str]
"""What, the first version's, the second's."""


@dataclass(frozen=True, slots=True)
class Difference:
    model: str
    before: Manifest
    after: Manifest
    interface: tuple[str, ...]
    """What a caller of the first meets with the second; empty: nothing."""
    latencies: tuple[Latency, ...] = ()
    agreements: tuple[Agreement, ...] = ()
    left_out: tuple[str, ...] = ()
    """What could not be measured, and why."""


def difference(model: Model, before: str, after: str) -> Difference:
    """Raises ConfigurationError when a version is not what was published."""
    one, other = read_manifest(model.path(before)), read_manifest(model.path(after))
    changes, left_out = _interface(model, one, other)
    latencies: Sequence[Latency] = ()
    agreements: Sequence[Agreement] = ()
    with ExitStack() as stack:
        try:
            loaded = [stack.enter_context(opened(model, version)) for version in (before, after)]
            agreements, unfit = agreement(loaded[0], loaded[1])
            left_out += unfit
            latencies = latency(loaded[0], loaded[1])
        except ConfigurationError as error:
            left_out.append(f"latency and agreement: {error}")
        except Exception as error:  # rows that the model itself refuses
            left_out.append(f"latency: {' '.join(str(error).split())[:200]}")
    return Difference(model.name, one, other, changes, tuple(latencies), tuple(agreements), tuple(left_out))


def _interface(model: Model, *manifests: Manifest) -> tuple[tuple[str, ...], list[str]]:
    try:
        before, after = (interface_of(model.path(each.version), each, model.spec) for each in manifests)
    except ConfigurationError as error:
        return (), [f"interface: {error}"]
    return (*broken(before, after), *(f"output '{name}' is new" for name in added(before, after))), []


def metadata(found: Difference) -> Iterator[Row]:
    """The rows of the first table: what always matters, then the libraries that differ."""
    one, other = found.before, found.after
    yield "created", one.created, other.created
    yield "precision", one.precision, other.precision
    if one.parent or other.parent:
        yield "made from", one.parent or "", other.parent or ""
    yield "bytes", f"{_bytes(one):,}", f"{_bytes(other):,}"
    yield "sha256", one.digest[:16], other.digest[:16]
    for name in sorted({*one.libraries, *other.libraries}):
        mine, others = one.libraries.get(name, ""), other.libraries.get(name, "")
        if mine != others:
            yield name, mine, others


def quality(found: Difference) -> Iterator[tuple[str, float | None, float | None]]:
    """Every figure that one of them has, from its export."""
    one, other = found.before.metrics, found.after.metrics
    for name in dict.fromkeys((*one, *other)):
        yield name, one.get(name), other.get(name)


def _bytes(manifest: Manifest) -> int:
    return sum(entry.bytes for entry in manifest.files.values())
