"""The six dashboards, as Grafana reads them: panels.py has the kinds of panel, each other file is one dashboard."""

from __future__ import annotations

from monitoring.grafana import cache, gpu, model, overview, rollout, slo
from monitoring.grafana.board import Board, encoded

BOARDS: tuple[Board, ...] = (overview.BOARD, model.BOARD, cache.BOARD, gpu.BOARD, rollout.BOARD, slo.BOARD)


def dashboards() -> dict[str, str]:
    """Name of the file to its JSON."""
    return {board.name: encoded(board) for board in BOARDS}
