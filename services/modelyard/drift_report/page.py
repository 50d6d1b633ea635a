"""The report as one HTML file: figures as a table, the picture within."""

import base64
from collections.abc import Sequence
from html import escape

from modelyard.drift.psi import LARGE, LEAST_ROWS, SOME
from modelyard.drift_report.log import BROKEN, OTHERS
from modelyard.drift_report.summary import Compared
from modelyard.drift_report.tally import Tally
from modelyard.observing.events import REFUSED, REQUEST

_STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2em auto;padding:0 1em}
table{border-collapse:collapse}td,th{padding:.2em .9em;text-align:left;border-bottom:1px solid #ddd}
td.n{text-align:right;font-variant-numeric:tabular-nums}.large{color:#b00020;font-weight:600}img{max-width:100%}"""


def page(model: str, version: str, tally: Tally, found: Sequence[Compared], picture: bytes) -> str:
    """Self-contained: it fetches nothing."""
    image = base64.b64encode(picture).decode()
    rows = "\n".join(_row(each) for each in found)
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(model)}: drift</title><style>{_STYLE}</style></head><body>
<h1>{escape(model)}: served rows beside the reference of version {escape(version)}</h1>
<p>{escape(facts(tally))}</p>
<p>{escape(quality(tally))}</p>
<table><tr><th>feature</th><th>PSI</th><th>rows</th><th>missing</th><th></th></tr>
{rows}
</table>
<p>PSI is the population stability index over the bins of the reference ({tally.reference.rows:,} rows). Above {SOME} is
called some shift and above {LARGE} a large one: a convention, and below {LEAST_ROWS:,} rows chance alone can pass it.
Drift says that rows or answers look different, not that answers are worse: only true values tell that.</p>
<img alt="bars of the reference and of the observed rows, for each feature" src="data:image/png;base64,{image}">
</body></html>
"""


def facts(tally: Tally) -> str:
    """What was read."""
    events = tally.events
    versions = ", ".join(f"{version}: {count:,}" for version, count in sorted(tally.versions.items()))
    parts = [f"{events[REQUEST]:,} requests" + (f" (by version {versions})" if versions else "")]
    if tally.first:
        parts.append(f"from {tally.first} to {tally.last}")
    if events[OTHERS]:
        parts.append(f"{events[OTHERS]:,} events of other models or types")
    if events[BROKEN]:
        parts.append(f"{events[BROKEN]:,} lines that could not be read")
    return "; ".join(parts) + "."


def quality(tally: Tally) -> str:
    """Refused inputs, and what feedback says."""
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in tally.refused.most_common())
    refused = f"Refused for what they carry: {tally.events[REFUSED]:,}" + (f" ({reasons})." if reasons else ".")
    if not tally.judged:
        return f"{refused} No true values in the log: nothing is known of how many answers are right."
    share = tally.feedback["correct"] / tally.judged
    return f"{refused} Online accuracy by {tally.judged:,} true values: {share:.4f}."


def _row(each: Compared) -> str:
    index = "" if each.psi is None else f"{each.psi:.4f}"
    kind = ' class="large"' if each.verdict == "large shift" else ""
    return (
        f'<tr><td>{escape(each.name)}</td><td class="n">{index}</td><td class="n">{each.rows:,}</td>'
        f'<td class="n">{each.missing:.2%}</td><td{kind}>{escape(each.verdict)}</td></tr>'
    )
