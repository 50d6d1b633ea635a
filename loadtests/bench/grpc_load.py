"""The gRPC side of the load generator: one grpc.aio channel a connection, requests and answers as raw bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

import grpc

from loadtests.bench.closed_loop import Loop
from loadtests.bench.load import Job

METHOD = "/inference.GRPCInferenceService/ModelInfer"
OPTIONS = [("grpc.use_local_subchannel_pool", 1)]  # otherwise all channels share one connection
PAUSE_SECONDS = 0.05  # after a failure


async def start(loop: Loop, job: Job) -> Callable[[], Awaitable[None]]:
    """Open the channels and start one loop on each; returns what closes them."""
    channels = [
        grpc.aio.insecure_channel(f"{job.endpoint.host}:{job.endpoint.port}", options=OPTIONS)
        for _ in range(job.connections)
    ]
    await asyncio.gather(*(channel.channel_ready() for channel in channels))
    tasks = [asyncio.create_task(_calls(loop, channel.unary_unary(METHOD))) for channel in channels]

    async def close() -> None:
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(channel.close() for channel in channels))

    return close


async def _calls(loop: Loop, call: Any) -> None:
    while loop.running:
        number, request = loop.next()
        sent = perf_counter()
        try:
            answer = await call(request)
        except grpc.aio.AioRpcError as error:
            loop.failed(f"{error.code().name}: {str(error.details())[:200]}")
            await asyncio.sleep(PAUSE_SECONDS)
            continue
        loop.done(perf_counter() - sent)
        if loop.keeps():
            loop.kept.append((number, answer, None))
