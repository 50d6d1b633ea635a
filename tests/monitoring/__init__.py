"""Dashboards, rules and alerts against real parts: Prometheus, promtool, amtool, a driven service."""
