"""What metrics and drift cost: requests/s of the tiny model with everything on, beside everything off.

    one server on | one server off     both run all the time, the rounds ask them in turn

On: metrics, drift (features and answers binned, with a reference) and answers remembered for feedback. Off: none of
it, MODELYARD_METRICS=false. `python -m loadtests.bench.metrics_price`; the bar is 0.9 of off.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from loadtests.bench.command import Say, finish, parser, say, silent
from loadtests.bench.core import Bar, Face, Server
from loadtests.bench.load import Job, measure
from loadtests.bench.models import INFO
from loadtests.bench.observe import by_label, metrics, places, serving
from loadtests.bench.ours import Modelyard
from loadtests.bench.payloads import rows
from loadtests.bench.statistics import median, spread

MODEL = "mlp"
REFERENCE_ROWS = 1000
PRICE_BAR = 0.9
FACES: tuple[Face, ...] = ("oip-json", "oip-binary", "oip-grpc")
OFF = {"MODELYARD_METRICS": "false", "MODELYARD_DRIFT": "false", "MODELYARD_FEEDBACK_REQUESTS": "0"}


class Watched(Modelyard):
    """Ours, with a second version that has a reference: what was imported comes without rows."""

    def _repository(self, model: str, onnx: Path) -> Path:
        from modelyard.evaluation import Evaluation
        from modelyard.manifest import publish

        folder = super()._repository(model, onnx)
        values = rows(model, range(10**8, 10**8 + REFERENCE_ROWS))  # nobody asks these
        publish(folder / model, "2", onnx, evaluation=Evaluation({INFO[model].input: values}))
        return folder


def edit(spec: dict[str, Any]) -> None:
    """As every closed loop: nothing is refused; the outputs are watched as those of classes."""
    spec.setdefault("limits", {}).update(queue_seconds=60.0, deadline_seconds=120.0)
    spec["drift"] = {"prediction": INFO[MODEL].output}


def run(
    rounds: int = 9, seconds: float = 3.0, connections: int = 32, face: Face = "oip-json", say: Say = silent
) -> dict[str, Any]:
    """Rates of both in each round, and the median of their ratios."""
    rates: dict[str, list[float]] = {"on": [], "off": []}
    cpu: dict[str, list[float]] = {"on": [], "off": []}
    with _both() as servers:
        for number in range(rounds):
            for name in ("on", "off") if number % 2 else ("off", "on"):
                sample = measure(_job(servers[name], face, connections, seconds, number))
                if sample.errors or sample.wrong:
                    raise RuntimeError(f"{name}: {sample.errors} errors, {sample.wrong} wrong: {sample.first_error}")
                rates[name].append(sample.rate)
                cpu[name].append(sample.cpu_us)
            say(f"round {number + 1}: on {rates['on'][-1]:,.0f}, off {rates['off'][-1]:,.0f} requests/s")
        observed = _observed(servers["on"])
    ratios = [on / off for on, off in zip(rates["on"], rates["off"], strict=True)]
    return {
        "scenario": "metrics_price",
        "face": face,
        "connections": connections,
        "rates": rates,
        "cpu_us": cpu,
        "ratios": ratios,
        "ratio": median(ratios),
        "rows_observed": observed,
    }


@contextmanager
def _both() -> Iterator[dict[str, Server]]:
    cores, _ = places()
    with (
        serving(Watched("modelyard on", edit=edit, settled_models=[MODEL]), MODEL, cores) as on,
        serving(Watched("modelyard off", OFF, edit=edit, settled_models=[MODEL]), MODEL, cores) as off,
    ):
        yield {"on": on, "off": off}


def _job(server: Server, face: Face, connections: int, seconds: float, slot: int) -> Job:
    _, clients = places()
    cores = tuple(clients) if clients else None
    return Job(server.endpoints[face], MODEL, connections, seconds, slot=slot, pid=server.pid, cores=cores)


def _observed(server: Server) -> float:
    """Rows that were binned. Raises RuntimeError when there were none: then nothing was measured."""
    found = sum(by_label(metrics(server), "modelyard_prediction_observations_total", "class").values())
    if not found:
        raise RuntimeError("no row was observed: the server that is on is not")
    return found


# --- what is said of it ---------------------------------------------------------------------------------------------


def bars(result: dict[str, Any]) -> list[Bar]:
    """What was promised of the price."""
    return [Bar("MLP: requests/s with metrics and drift, to none", result["ratio"], PRICE_BAR)]


def markdown(result: dict[str, Any]) -> str:
    """A table for the page."""
    rates, cpu = result["rates"], result["cpu_us"]
    lines = [
        f"At {result['connections']} connections over {result['face']}, medians of {len(result['ratios'])} rounds:",
        "",
    ]
    lines += ["| | requests/s | CPU us a request |", "|---|---|---|"]
    lines += [f"| {name} | {median(rates[name]):,.0f} | {median(cpu[name]):.1f} |" for name in ("on", "off")]
    return "\n".join([*lines, "", f"On to off: {result['ratio']:.3f} (spread {spread(result['ratios']):.3f})."])


def plot(result: dict[str, Any], path: Path) -> None:
    """The rounds."""
    from loadtests.bench.picture import BLUE, GREY, drawn

    with drawn(path, 1, 1, (5, 3)) as axes:
        (axis,) = axes[0]
        for name, colour in (("on", BLUE), ("off", GREY)):
            axis.plot(range(1, len(result["ratios"]) + 1), result["rates"][name], marker="o", color=colour, label=name)
        axis.set_xlabel("round")
        axis.set_ylabel("requests/s")
        axis.set_ylim(bottom=0)
        axis.legend()


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print; exit code 1 below the bar."""
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=9)
    options.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    options.add_argument("--connections", type=int, default=32)
    options.add_argument("--face", choices=FACES, default=FACES[0])
    chosen = options.parse_args(arguments)
    result = run(chosen.rounds, chosen.seconds, chosen.connections, chosen.face, say=say)
    finish(chosen, result, markdown, plot)
    (bar,) = bars(result)
    say(json.dumps({"bar": bar.bar, "value": bar.value, "held": bar.held}))
    raise SystemExit(0 if bar.held else 1)


if __name__ == "__main__":
    main()
