"""The bars: what was promised of the served path, each beside the figure of this run.

A ratio is taken between neighbours of one round, and its median over the rounds is what counts.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from loadtests.bench.core import Bar, Face
from loadtests.bench.floors import ECHO, HELLO
from loadtests.bench.models import DIALS
from loadtests.bench.plan import MAIN
from loadtests.bench.results import Results, find, ratio

OURS = "modelyard"
FRONT = f"{OURS}, HTTP/2 front"
JSON_BAR, JSON_AIM, GRPC_BAR, FRONT_BAR = 0.6, 1.0, 0.85, 0.5
ENCODER_BAR, INT8_BAR, PARITY_BAR = 0.95, 2.5, 0.98


class Load(NamedTuple):
    """A load of ours for the profiler."""

    model: str
    face: Face
    connections: int
    distinct: int = 0  # so many different rows: the others are hits


# The first whose beginning fits the name of a bar; a scenario is profiled under the closed loop that is nearest to it.
LOADS: tuple[tuple[str, Load], ...] = (
    ("MLP over HTTP binary", Load("mlp", "oip-binary", MAIN["mlp"])),
    ("MLP over gRPC", Load("mlp", "oip-grpc", MAIN["mlp"])),
    ("MLP", Load("mlp", "oip-json", MAIN["mlp"])),
    ("encoder in INT8", Load("encoder_int8", "oip-json", MAIN["encoder_int8"])),
    ("encoder: ", Load("encoder", "oip-json", MAIN["mlp"], 16)),
    ("encoder", Load("encoder", "oip-json", MAIN["encoder"])),
    ("overload", Load("dial_1ms", "oip-json", 128)),
    ("p50 at one connection", Load("mlp", "oip-json", 1)),
    *((name, Load(name, "oip-json", MAIN["mlp"])) for name in DIALS),
)


def core_bars(results: Results) -> list[Bar]:
    """The bars that the rounds decide."""
    return [
        *_floor_bars(results),
        *_front_bars(results),
        *_encoder_bars(results),
        *_right_bars(results),
        *_peer_bars(results),
    ]


def _right_bars(results: Results) -> list[Bar]:
    """Whatever the speed: every answer of ours came, and was right."""
    mine = [cell for cell in results["cells"] if cell["server"] == OURS]
    counts = [(words, float(sum(cell[words] for cell in mine)) if mine else None) for words in ("errors", "wrong")]
    return [Bar(f"{OURS}, all measurements: {words}", value, 0.0, "at most", "") for words, value in counts]


def _floor_bars(results: Results) -> list[Bar]:
    count = MAIN["mlp"]
    http = ratio(find(results, OURS, "mlp", "json", count), find(results, HELLO, "mlp", "json", count))
    grpc = ratio(find(results, OURS, "mlp", "oip-grpc", count), find(results, ECHO, "mlp", "oip-grpc", count))
    return [
        Bar(f"MLP over HTTP JSON beside {HELLO}, requests/s", http, JSON_BAR, note=f"the aim is {JSON_AIM:g}"),
        Bar(f"MLP over gRPC beside {ECHO}, requests/s", grpc, GRPC_BAR),
    ]


def _front_bars(results: Results) -> list[Bar]:
    """Of gRPC without the gRPC library: kept while it costs at most half as much a call, and is ahead of everybody."""
    front, default, echo, *others = (
        find(results, server, "mlp", "oip-grpc", MAIN["mlp"]) for server in (FRONT, OURS, ECHO, *peers(results))
    )
    if front is None:
        return []
    words = "gRPC by the HTTP/2 front, MLP"
    return [
        Bar(f"{words}: CPU of a call to that of the default", ratio(front, default, "cpu_us"), FRONT_BAR, "at most"),
        Bar(f"{words} beside {ECHO}, requests/s", ratio(front, echo), GRPC_BAR),
        *(
            Bar(f"{words} beside {peer['server']}, requests/s", ratio(front, peer), 1.0)
            for peer in others
            if peer is not None
        ),
    ]


def _encoder_bars(results: Results) -> list[Bar]:
    count = MAIN["encoder"]
    fp32 = find(results, OURS, "encoder", "json", count)
    int8 = find(results, OURS, "encoder_int8", "json", count)
    threads = max((one["threads"] for one in results["sessions"]), default=1)
    bare = {one["model"]: one for one in results["sessions"] if one["threads"] == threads}
    return [
        Bar(
            f"encoder beside its session in process with {threads} threads, rows/s",
            ratio(fp32, bare.get("encoder")),
            ENCODER_BAR,
        ),
        Bar(
            "encoder in INT8 beside FP32, rows/s",
            ratio(int8, fp32),
            INT8_BAR,
            note=_int8_note(bare),
        ),
        Bar(
            "encoder in INT8: least cosine with FP32, about the mean",
            results.get("parity"),
            PARITY_BAR,
            unit="",
        ),
    ]


def _int8_note(bare: dict[str, Any]) -> str:
    value = ratio(bare.get("encoder_int8"), bare.get("encoder"))
    return f"the bare sessions: {value:.2f}x" if value is not None else ""


def _peer_bars(results: Results) -> list[Bar]:
    """Ahead of every peer, over each way that it and ours were both measured."""
    found = []
    for model, face, words in (
        ("mlp", "json", "HTTP JSON"),
        ("mlp", "oip-binary", "HTTP binary"),
        ("mlp", "oip-grpc", "gRPC"),
        ("encoder", "json", "HTTP JSON"),
    ):
        mine = find(results, OURS, model, face, MAIN[model])
        for peer in peers(results):
            value = ratio(mine, find(results, peer, model, face, MAIN[model]))
            if value is not None:
                found.append(Bar(f"{_title(model)} over {words} beside {peer}, requests/s", value, 1.0))
    return found


def _title(model: str) -> str:
    return {"mlp": "MLP"}.get(model, model)


def peers(results: Results) -> list[str]:
    """The servers that are neither ours nor a floor."""
    names = dict.fromkeys(cell["server"] for cell in results["cells"])
    return [name for name in names if name not in (HELLO, ECHO) and not name.startswith(OURS)]


def usage_of(results: Results, load: Load) -> str:
    """Of an encoder: whether the CPU of a row is dear beside its bare session, or cores were idle."""
    cell = find(results, OURS, load.model, load.face, load.connections)
    alone = [one for one in results["sessions"] if one["model"] == load.model]
    if cell is None or not alone or load.model == "mlp":
        return ""
    return (
        f"{cell['cpu_us'] / 1e3:.1f} ms CPU a row (the bare session takes {alone[0]['p50'] * 1e3:.1f} ms a call), "
        f"{cell['cpu_us'] * cell['rate'] / 1e6:.2f} of {results['machine']['cores']} cores used; "
    )


def profile_of(bar: Bar) -> Load | None:
    """Which load shows where the time of this bar goes."""
    for start, load in LOADS:
        if bar.name.startswith(start):
            return load
    return None
