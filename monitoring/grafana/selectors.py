"""What every query says of the dashboard's variables, and the few forms that most queries have."""

from __future__ import annotations

SERVICE = 'namespace=~"$namespace", service=~"$service"'
MODEL = f'{SERVICE}, model=~"$model"'
VERSION = f'{MODEL}, version=~"$version"'
INTERVAL = "$__rate_interval"


def rate(metric: str, by: str, chosen: str = MODEL) -> str:
    """Of a counter, a second, added up by some labels."""
    return f"sum by ({by}) (rate(modelyard_{metric}{{{chosen}}}[{INTERVAL}]))"


def quantile(q: float, histogram: str, by: str, chosen: str = MODEL) -> str:
    """Of a histogram. No line where nothing happened, instead of NaN."""
    return f"histogram_quantile({q}, {rate(f'{histogram}_bucket', f'{by}, le', chosen)}) >= 0"


def mean(histogram: str, by: str, chosen: str = MODEL) -> str:
    """Of a histogram's values."""
    return f"{rate(f'{histogram}_sum', by, chosen)} / ({rate(f'{histogram}_count', by, chosen)} > 0)"


def share(metric: str, by: str, part: str, whole: str) -> str:
    """The rate of a part of a counter over the rate of its whole."""
    return f"{rate(metric, by, part)} / ({rate(metric, by, whole)} > 0)"


def level(metric: str, by: str, chosen: str = MODEL) -> str:
    """Of a gauge, added up."""
    return f"sum by ({by}) (modelyard_{metric}{{{chosen}}})"


def most(metric: str, by: str, chosen: str = MODEL) -> str:
    """Of a gauge, the largest."""
    return f"max by ({by}) (modelyard_{metric}{{{chosen}}})"
