"""Priority 1 under overload, where it is decided who gets in: an urgent request does not wait for the others' rows."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from tests.integration.calls import PROTOCOLS, Answer, ask, connect, row, settled, until_true
from tests.integration.harness import import_model, serve
from tests.integration.onnx_models import slow_by_input

NAME = "crowded"
MILLISECONDS = 200


@pytest.mark.parametrize("cached", [True, False])
def test_an_urgent_request_gets_in_where_others_are_refused(tmp_path: Path, cached: bool) -> None:
    """One executor, row by row, with and without the refusal before a request is decoded."""

    def edit(spec: dict[str, Any]) -> None:
        spec["batching"]["max_batch_size"] = 1
        spec["cache"] = {"enabled": cached}
        spec["limits"] = {"queue_seconds": 2.0}  # ten runs: the urgent ones need one or two

    import_model(tmp_path, NAME, slow_by_input(), edit=edit)
    with serve(tmp_path, NAME, {"MODELYARD_EXECUTORS": "1"}) as server:
        for number in range(8):  # until the cost is known
            ask(server, {"x": row(MILLISECONDS + number / 64)})

        def refused() -> float:
            return server.metric("modelyard_shed_total", model=NAME, reason="queue_full")

        async def body(protocol: str, first: int) -> None:
            before = refused()
            async with connect(server, protocol) as client:
                numbers = iter(range(first, first + 100))
                calls = [
                    asyncio.create_task(client.infer({"x": row(MILLISECONDS + next(numbers) / 64)})) for _ in range(40)
                ]
                await until_true(lambda: refused() > before, "the queue is full")
                x = row(MILLISECONDS + next(numbers) / 64)
                urgent = await client.infer({"x": x}, priority=1)
                np.testing.assert_array_equal(urgent.only, x)
                answers = await settled(calls)
            shed = [answer for answer in answers if not isinstance(answer, Answer)]
            assert shed
            assert len(shed) < len(answers)
            for error in shed:
                assert isinstance(error, InferenceServerException), error
                assert error.status() in ("503", "StatusCode.UNAVAILABLE"), error

        for place, protocol in enumerate(PROTOCOLS):
            asyncio.run(body(protocol, 100 * (place + 1)))
