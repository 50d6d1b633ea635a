"""The end of a process that cannot end by itself, whatever its threads do.

    the device is lost         not ready, what is in flight gets its 503, exit 70, and a new start
    SIGTERM while a run hangs  what is open is answered, or not; exit 70 when `shutdown_seconds` are over

Who restarts: Kubernetes, systemd, or with several workers the supervisor. Nothing in the process can be trusted with
the device, not even its clean end: a thread may hang in it for ever. So the end is set, whatever the clean way does.
"""

import asyncio
import logging
import os
import signal
import threading

log = logging.getLogger("modelyard.restart")

EXIT_LOST = 70
"""EX_SOFTWARE of sysexits.h."""
ANSWER_SECONDS = 1.0
"""For the answers that are on their way."""
LAST_SECONDS = 6.0
"""After these the process ends, however far the clean way has come."""


def end_process(why: str) -> None:
    """Begin the end, from the event loop: the clean way of SIGTERM soon, and a hard one behind it."""
    log.critical("this process ends, to be started again: %s", why)
    end_after(0.0)
    asyncio.get_running_loop().call_later(ANSWER_SECONDS, signal.raise_signal, signal.SIGTERM)


def end_after(seconds: float) -> None:
    """From here on the clean way has so long, and LAST_SECONDS; a process that still stands then is ended."""
    hard = threading.Timer(seconds + LAST_SECONDS, _end)
    hard.daemon = True
    hard.start()


def _end() -> None:
    log.critical("this process is ended at once: what runs in it does not come back")
    os._exit(EXIT_LOST)
