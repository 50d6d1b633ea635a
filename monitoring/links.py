"""Where a person who got an alert finds more. Change these to your own addresses, then `make dashboards`."""

RUNBOOK = "monitoring/runbook.md"
"""The page with a section for every alert: as it stands in this repository, or a URL of it."""
GRAFANA = ""
"""The root of Grafana, such as https://grafana.example.org; empty: links are paths."""
