"""What was measured, for people and for programs: a rich table, and the figures that the manifest keeps. Pure."""

from collections.abc import Sequence

from rich.filesize import decimal
from rich.table import Table

from modelyard.optimizing.gate import Check, Quality, Speed, overall
from modelyard.spec import QualitySpec

METRICS = {"top1": "accuracy", "recall_at_10": "recall_at_10", "cosine": "cosine"}
"""What a measure is called among the metrics of a version: by one name `diff` finds it in both."""


def table(
    labels: tuple[str, str],
    spec: QualitySpec,
    quality: Quality,
    speeds: Sequence[Speed],
    sizes: tuple[int, int],
    checks: Sequence[Check],
) -> Table:
    """`labels`: of the parent and of the variant; `sizes`: of their artifacts in bytes."""
    made = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("", *labels, "variant / parent", "required"):
        made.add_column(name, justify="left" if not name else "right", no_wrap=True)
    made.add_column("", no_wrap=True)
    by_name = {check.name: check for check in checks}

    def add(text: str, parent: str, variant: str, factor: str, check: Check | None) -> None:
        required = f">= {check.least:.4f}" if check else ""
        verdict = ("ok" if check.passed else "FAILS") if check else ""
        made.add_row(text, parent, variant, factor, required, verdict, style="bold red" if verdict == "FAILS" else "")

    if quality.parent is not None and quality.variant is not None:
        check = by_name[f"quality ({spec.measure})"]
        add(f"{spec.measure}, {quality.rows} rows", f"{quality.parent:.4f}", f"{quality.variant:.4f}", "", check)
    check = by_name[f"agreement ({spec.measure})"]
    add(f"agreement ({spec.measure})", "", f"{quality.agreement:.4f}", "", check)
    if spec.measure == "cosine":
        add("  of the worst row", "", f"{quality.least:.4f}", "", None)
    for speed in speeds:
        check = by_name[f"speedup at {speed.rows} rows"]
        rates = (_rate(speed.parent), _rate(speed.variant))
        add(f"rows/s in batches of {speed.rows}", *rates, f"{speed.factor:.2f} x", check)
    add("  geometric mean", "", "", f"{overall(speeds):.2f} x", by_name["speedup"])
    add("artifact", decimal(sizes[0]), decimal(sizes[1]), f"{sizes[1] / sizes[0]:.2f} x", None)
    return made


def comparison(quality: Quality, speeds: Sequence[Speed], sizes: tuple[int, int]) -> dict[str, float]:
    """The table as the manifest keeps it. Rates are rows a second."""
    figures: dict[str, float] = {"rows": quality.rows, "agreement": quality.agreement}
    figures["agreement_of_worst_row"] = quality.least
    if quality.parent is not None and quality.variant is not None:
        figures |= {"quality": quality.variant, "quality_of_parent": quality.parent}
    figures["speedup"] = overall(speeds)
    for speed in speeds:
        figures[f"speedup_at_{speed.rows}"] = speed.factor
        figures[f"rows_per_second_at_{speed.rows}"] = speed.variant
        figures[f"rows_per_second_at_{speed.rows}_of_parent"] = speed.parent
    figures |= {"bytes": sizes[1], "bytes_of_parent": sizes[0]}
    return {name: round(value, 6) for name, value in figures.items()}


def metrics(spec: QualitySpec, quality: Quality) -> dict[str, float]:
    """How good the variant is, as its own metric."""
    return {METRICS[spec.measure]: quality.agreement if quality.variant is None else quality.variant}


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
