"""A blocking call beside the event loop, in a thread of its own that holds up neither the loop nor the process's end.

The threads of a pool are joined before the interpreter ends: one that hangs in a device would keep the process.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress


async def aside(call: Callable[[], object]) -> None:
    """Wait for `call`. Raises what it raises. Whoever stops waiting leaves it to itself."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    def tell(error: Exception | None) -> None:
        if ended.done():
            return
        if error is None:
            ended.set_result(None)
        else:
            ended.set_exception(error)

    def run() -> None:
        error: Exception | None = None
        try:
            call()
        except Exception as raised:
            error = raised
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(tell, error)

    threading.Thread(target=run, name="aside", daemon=True).start()
    await ended
