"""`make observe`: starts the scene, drives it for some minutes, leaves a PNG of every dashboard in docs/monitoring/.

    python -m monitoring.observe [--beat SECONDS] [--to FOLDER]

Everything listens on 127.0.0.1 and ends with the command; nothing but the pictures is left behind.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from monitoring.observe.drive import Drive
from monitoring.observe.scene import Scene, scene
from monitoring.observe.sheet import Stage, draw_board
from monitoring.queries import Window, boards
from tests.tools.prometheus import tool

DOCS = Path(__file__).resolve().parents[2] / "docs" / "monitoring"
BEAT_SECONDS = 20.0
RATE_INTERVAL_SECONDS = 8


def main() -> int:
    """0: the pictures are there; 1: something could not be had or started."""
    parser = argparse.ArgumentParser(prog="python -m monitoring.observe", description=__doc__.splitlines()[0])
    parser.add_argument("--beat", type=float, default=BEAT_SECONDS, help="seconds of each of the nine stages")
    parser.add_argument("--to", type=Path, default=DOCS, help="folder for the pictures")
    options = parser.parse_args()
    try:
        _say(f"Prometheus: {tool('prometheus')}")
    except RuntimeError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    options.to.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        _say("starting two services (one on a fake GPU), Redis, Prometheus")
        with scene(Path(folder)) as running:
            drive = Drive(running, options.beat, _say)
            asyncio.run(_through(drive))
            _draw(running, drive, options.to)
    return 0


async def _through(drive: Drive) -> None:
    async with drive.calm():
        pass


def _draw(running: Scene, drive: Drive, folder: Path) -> None:
    end = time.time()
    window = Window(f"{RATE_INTERVAL_SECONDS}s", f"{int(end - drive.started)}s")
    stages = [Stage(start, text) for start, text in drive.stages]
    for board in boards():
        path = folder / f"{board['uid'].removeprefix('modelyard-')}.png"
        draw_board(board, running.prometheus, stages, end, window, path)
        _say(f"wrote {path}")


def _say(text: str) -> None:
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
