"""Model detail: where time goes, how rows are batched, which versions run, what comes in and goes out."""

from __future__ import annotations

from monitoring.grafana.board import Board
from monitoring.grafana.panels import Panel, stat_of
from monitoring.grafana.selectors import INTERVAL, MODEL, VERSION, level, mean, most, quantile, rate

PER_REQUEST = (
    f"{rate('stage_duration_seconds_sum', 'stage')} / on () group_left () "
    f"(sum(rate(modelyard_request_duration_seconds_count{{{MODEL}}}[{INTERVAL}])) > 0)"
)
INFO = f"max by (model, version, digest, backend, precision) (modelyard_model_info{{{VERSION}}}) > 0"
ACCURACY = (
    f'sum by (model, version) (increase(modelyard_feedback_total{{{VERSION}, result="correct"}}[$__range]))'
    " / (sum by (model, version) "
    f'(increase(modelyard_feedback_total{{{VERSION}, result=~"correct|wrong"}}[$__range])) > 0)'
)
SEEN = f"modelyard_feature_observations_total{{{VERSION}"
BY_FEATURE = "sum by (model, version, feature)"
MISSING = (
    f'{BY_FEATURE} (increase({SEEN}, bin="missing"}}[{INTERVAL}]))'
    f" / ({BY_FEATURE} (increase({SEEN}}}[{INTERVAL}])) > 0)"
)

BOARD = Board(
    "model",
    "Model detail",
    "One model: stages, batches, queue, versions, drift and quality.",
    {
        "Versions": (
            stat_of(
                "Loaded",
                "Every loaded version with the backend that runs it; the number is always 1.",
                "short",
                INFO,
                "{{model}} {{version}} {{backend}} {{precision}} {{digest}}",
                width=12,
            ),
            stat_of(
                "Default",
                "1 for the version that answers callers who name none.",
                "short",
                most("model_default", "model, version", VERSION),
                "{{model}} {{version}}",
                width=6,
            ),
            stat_of(
                "Online accuracy",
                "Share of the answers that feedback called correct, in the chosen time. Empty without "
                "feedback: drift alone says nothing of accuracy.",
                "percentunit",
                ACCURACY,
                "{{model}} {{version}}",
                width=6,
            ),
            Panel(
                "Requests by version",
                "Who answers whom.",
                "reqps",
                ((rate("requests_total", "model, version", VERSION), "{{model}} {{version}}"),),
                stacked=True,
            ),
            Panel(
                "Loading",
                "Time to check, load and warm up a version, the mean since the servers started.",
                "s",
                (
                    (
                        f"{level('model_load_duration_seconds_sum', 'model')}"
                        f" / ({level('model_load_duration_seconds_count', 'model')} > 0)",
                        "{{model}}",
                    ),
                ),
            ),
        ),
        "Stages": (
            Panel(
                "Where the time goes",
                "Seconds of each stage for one request, on average: stacked they are its whole way, a "
                "batch's run counted once.",
                "s",
                ((PER_REQUEST, "{{stage}}"),),
                stacked=True,
            ),
            Panel(
                "Stages, the slowest in 20",
                "95th percentile of each stage that was passed.",
                "s",
                ((quantile(0.95, "stage_duration_seconds", "stage"), "{{stage}}"),),
            ),
        ),
        "Batches and queue": (
            Panel(
                "Rows in a run",
                "How many rows the model gets at once, over all its requests.",
                "short",
                (
                    (mean("batch_rows", "model"), "{{model}} mean"),
                    (quantile(0.95, "batch_rows", "model"), "{{model}} p95"),
                ),
            ),
            Panel(
                "Runs",
                "Runs of the model a second, and batches that failed and were run again row by row.",
                "ops",
                (
                    (rate("batch_rows_count", "model"), "{{model}}"),
                    (rate("batch_retries_total", "model"), "{{model}} retried"),
                ),
            ),
            Panel(
                "Wait in the queue",
                "The longest wait of one request in 20, beside half of what is promised, where QueueSaturated fires.",
                "s",
                (
                    (f"modelyard:queue_duration_seconds:p95_rate5m{{{MODEL}}} >= 0", "{{model}} p95"),
                    (f"0.5 * {most('slo_latency_threshold_seconds', 'model')}", "{{model}} limit"),
                ),
            ),
            Panel("Queue", "Rows that wait for the model.", "short", ((level("queue_rows", "model"), "{{model}}"),)),
        ),
        "Inputs": (
            Panel(
                "Refused inputs",
                "Requests refused for what they carry, by reason.",
                "reqps",
                ((rate("input_invalid_total", "model, reason"), "{{model}} {{reason}}"),),
                stacked=True,
            ),
            Panel(
                "Values out of range",
                "Rows whose value lies outside the range that model.yaml declares, by feature.",
                "rowsps",
                (
                    (
                        rate("feature_out_of_range_total", "model, version, feature", VERSION),
                        "{{model}} {{version}} {{feature}}",
                    ),
                ),
            ),
            Panel(
                "Missing values",
                "Share of the rows in which a feature is NaN or empty.",
                "percentunit",
                ((MISSING, "{{model}} {{version}} {{feature}}"),),
            ),
            Panel(
                "Rows looked at",
                "Rows of the last hour that drift is measured on (below 1,000 it is noise), those that were skipped "
                "under load, and those of the reference (below 150 it is noise as well).",
                "short",
                (
                    (
                        f"max by (model, version) (modelyard:feature_observations:1h{{{VERSION}}})",
                        "{{model}} {{version}}",
                    ),
                    (
                        f"sum by (model, version) (increase(modelyard_drift_skipped_rows_total{{{VERSION}}}[1h]))",
                        "{{model}} {{version}} skipped",
                    ),
                    (most("drift_reference_rows", "model, version", VERSION), "{{model}} {{version}} reference"),
                ),
            ),
        ),
        "Drift and quality": (
            Panel(
                "Shift of inputs",
                "Population stability index of the last hour against training: 0.1 is worth a look, 0.2 is "
                "large, both by convention.",
                "short",
                ((f"topk(10, modelyard:feature_psi:1h{{{VERSION}}})", "{{model}} {{version}} {{feature}}"),),
            ),
            Panel(
                "Shift of answers",
                "The same index over the classes that are predicted.",
                "short",
                ((f"modelyard:prediction_psi:1h{{{VERSION}}}", "{{model}} {{version}}"),),
            ),
            Panel(
                "Answers by class",
                "What the model says, a second.",
                "rowsps",
                ((rate("prediction_observations_total", "model, class", VERSION), "{{model}} {{class}}"),),
                stacked=True,
            ),
            Panel(
                "Confidence",
                "Probability of the answer given: the median, and the least sure in 10.",
                "percentunit",
                (
                    (quantile(0.5, "prediction_confidence", "model, version", VERSION), "{{model}} {{version}} median"),
                    (quantile(0.1, "prediction_confidence", "model, version", VERSION), "{{model}} {{version}} p10"),
                ),
                high=1.0,
            ),
            Panel(
                "Feedback",
                "True values that callers sent back, by what they say of the answer.",
                "ops",
                ((rate("feedback_total", "model, version, result", VERSION), "{{model}} {{version}} {{result}}"),),
                stacked=True,
            ),
            Panel(
                "Payload log",
                "Sampled requests written for later study; dropped means that the sink was too slow.",
                "ops",
                (
                    (
                        "sum by (result) (rate(modelyard_payload_log_total"
                        '{namespace=~"$namespace", service=~"$service"}[$__rate_interval]))',
                        "{{result}}",
                    ),
                ),
            ),
        ),
    },
)
