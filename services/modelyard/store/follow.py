"""A server that serves from a store: the mirror is filled before it starts, and kept up by one thread while it runs.

    bring   the store -> the mirror; away: again for a while, then what the mirror has, loudly
    Follower.start   every few seconds once more; the server itself follows the mirror's folder (reload.py)

One process of a server does this, however many workers it has. Metrics are made when this is imported: not before their
folder is set.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Sequence

from modelyard import store_metrics
from modelyard.errors import ConfigurationError
from modelyard.importing.bounded import Limits
from modelyard.settings import Settings
from modelyard.store.address import Address
from modelyard.store.mirror import Mirror
from modelyard.store.open import open_remote
from modelyard.store.port import AWAY, StoreError

log = logging.getLogger("modelyard.store")

PAUSE_SECONDS = 0.5
MOST_PAUSE_SECONDS = 8.0
AGAIN_SECONDS = 60.0
"""A fault that goes on is said again after this."""


class Follower:
    """`errors` are counted from the first try on; `start` shows them as metrics."""

    def __init__(self, mirror: Mirror, models: Sequence[str], settings: Settings) -> None:
        self._mirror, self._models, self._settings = mirror, models, settings
        self._errors: Counter[str] = Counter()
        self._up = False
        self._last = 0.0
        """When all was well, by the clock of the day."""
        self._said = ("", 0.0)
        self._stopped = threading.Event()
        self._started = False

    def fault(self, reason: str) -> None:
        self._errors[reason] += 1

    def bring(self) -> None:
        """Fill the mirror. Raises ConfigurationError when it has not what is to be served and cannot get it."""
        until = time.monotonic() + self._settings.store_start_seconds
        pause = PAUSE_SECONDS
        while (error := self._try()) is not None:
            rest = until - time.monotonic()
            if not (isinstance(error, StoreError) and error.reason in AWAY) or rest <= 0:
                break
            time.sleep(min(pause, rest))
            pause = min(2 * pause, MOST_PAUSE_SECONDS)
        if error is not None:
            if not self._mirror.has(self._models):
                raise ConfigurationError(f"{error}; and {self._mirror.folder} has nothing of it from before")
            log.error("served is what was mirrored before, in %s", self._mirror.folder)

    def start(self) -> None:
        """From here on by itself."""
        self._started = True
        self._show()
        if self._settings.store_seconds:
            threading.Thread(target=self._run, name="store", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.wait(self._settings.store_seconds):
            self._try()
            self._show()

    def _try(self) -> Exception | None:
        """Once. What went wrong, which is said and counted."""
        try:
            self._mirror.sync(self._models)
        except StoreError as error:
            self._failed(error, error.reason)
            return error
        except ConfigurationError as error:
            self._failed(error, "refused")
            return error
        except OSError as error:
            self._failed(error, "mirror")
            return error
        except Exception as error:
            self._failed(error, "response")
            return error
        if self._said[0]:
            log.info("%s answers again", self._mirror.remote.name)
        self._up, self._last, self._said = True, time.time(), ("", 0.0)
        return None

    def _failed(self, error: Exception, reason: str) -> None:
        self._up = False
        self.fault(reason)
        known = isinstance(error, (ConfigurationError, OSError))
        text, now = " ".join(f"{'' if known else type(error).__name__ + ' '}{error}".split()), time.monotonic()
        if text != self._said[0] or now - self._said[1] >= AGAIN_SECONDS:
            self._said = text, now
            what = "what is loaded serves on" if self._started else "nothing was taken from it"
            log.error("%s: %s", text, what, exc_info=None if known else error)

    def _show(self) -> None:
        store_metrics.show(self._mirror.remote.name, is_up=self._up, last=self._last)
        for reason, times in self._errors.items():
            store_metrics.count(reason, times)
        self._errors.clear()


def follower(settings: Settings, address: Address) -> Follower:
    """Of the model that is served, from the store at `address` to the repository of `settings`. Raises StoreError."""
    limits = Limits(settings.import_seconds, settings.import_memory_bytes)
    mirror = Mirror(open_remote(settings, address), settings.repository, settings.loaded_versions, limits)
    made = Follower(mirror, [settings.model], settings)
    mirror.fault = made.fault
    return made
