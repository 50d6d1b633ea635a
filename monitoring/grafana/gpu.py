"""GPU and backend: what runs the models, why it is another one than wanted, engines, device memory."""

from __future__ import annotations

from monitoring.grafana.board import Board
from monitoring.grafana.panels import Panel, stat_of
from monitoring.grafana.selectors import INTERVAL, MODEL, SERVICE, VERSION, level, most, quantile, rate

DEVICE = "service, pod, gpu"

BOARD = Board(
    "gpu",
    "GPU and backend",
    "Active backend, fallbacks, engine builds and device memory. Engines and memory need a GPU.",
    {
        "Now": (
            stat_of(
                "Backend",
                "Loaded versions that each backend runs, over all workers.",
                "short",
                f"{level('backend_active', 'model, backend')} > 0",
                "{{model}} {{backend}}",
                width=8,
            ),
            stat_of(
                "On a lesser backend",
                "1 for a version that does not run on the first backend of its model.yaml.",
                "short",
                most("backend_degraded", "model, version", VERSION),
                "{{model}} {{version}}",
                width=8,
                warn_above=1,
            ),
            stat_of(
                "Device memory",
                "Share in use, by everybody on the device.",
                "percentunit",
                f"{most('gpu_memory_used_bytes', DEVICE, SERVICE)} / {most('gpu_memory_limit_bytes', DEVICE, SERVICE)}",
                "{{service}} GPU {{gpu}}",
                width=8,
                warn_above=0.95,
            ),
        ),
        "Backends": (
            Panel(
                "Active backend",
                "Loaded versions by the backend that runs them: a step from one line to another is a change.",
                "short",
                ((level("backend_active", "model, backend"), "{{model}} {{backend}}"),),
                stacked=True,
            ),
            Panel(
                "Fallbacks",
                "Changes to a lesser backend in the last 15 minutes, and why.",
                "short",
                (
                    (
                        "sum by (model, from, to, reason) "
                        f"(increase(modelyard_backend_fallbacks_total{{{MODEL}}}[15m])) > 0",
                        "{{model}} {{from}} to {{to}} {{reason}}",
                    ),
                ),
            ),
            Panel(
                "Errors of backends",
                "What went wrong while a backend ran, in the last 15 minutes; the next one of the chain answers.",
                "short",
                (
                    (
                        "sum by (model, backend, reason) "
                        f"(increase(modelyard_backend_errors_total{{{MODEL}}}[15m])) > 0",
                        "{{model}} {{backend}} {{reason}}",
                    ),
                ),
            ),
            Panel(
                "A run of the model",
                "Time of one run: the median and the slowest in 100.",
                "s",
                (
                    (quantile(0.5, "stage_duration_seconds", "model", f'{MODEL}, stage="infer"'), "{{model}} p50"),
                    (quantile(0.99, "stage_duration_seconds", "model", f'{MODEL}, stage="infer"'), "{{model}} p99"),
                ),
            ),
            Panel(
                "Oldest run",
                "For how long the oldest run has been going on: a run that hangs rises in a straight line.",
                "s",
                ((most("backend_run_age_seconds", "model, version", VERSION), "{{model}} {{version}}"),),
            ),
            Panel(
                "Rows computed",
                "Rows a second that the backends compute.",
                "rowsps",
                ((rate("batch_rows_sum", "model"), "{{model}}"),),
            ),
        ),
        "Engines": (
            Panel(
                "Engines prepared",
                "TensorRT engines by how it went: built, found in the store, refused, failed, or other "
                "answers than ONNX Runtime.",
                "short",
                ((level("engine_builds_total", "model, result"), "{{model}} {{result}}"),),
            ),
            Panel(
                "Building time",
                "Mean time of the builds so far.",
                "s",
                (
                    (
                        f"{level('engine_build_duration_seconds_sum', 'model')}"
                        f" / ({level('engine_build_duration_seconds_count', 'model')} > 0)",
                        "{{model}}",
                    ),
                ),
            ),
            Panel(
                "Being prepared",
                "Engines that are being built or looked for.",
                "short",
                ((level("engine_building", "model"), "{{model}}"),),
            ),
            Panel(
                "Progress of builds",
                "Steps done a second, as TensorRT reports them: 0 beside an engine that is being prepared "
                "is a build that stands still.",
                "ops",
                ((f"sum by (model) (rate(modelyard_engine_build_steps_total{{{MODEL}}}[{INTERVAL}]))", "{{model}}"),),
            ),
        ),
        "Memory": (
            Panel(
                "Device memory",
                "In use by everybody on the device, and what it has. Looked at when engines come and go.",
                "bytes",
                (
                    (most("gpu_memory_used_bytes", DEVICE, SERVICE), "{{service}} GPU {{gpu}} used"),
                    (most("gpu_memory_limit_bytes", DEVICE, SERVICE), "{{service}} GPU {{gpu}} limit"),
                ),
                width=24,
            ),
        ),
    },
)
