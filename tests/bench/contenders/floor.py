"""The least that a handler can do and still keep the promise: produce what was posted with acks=all, then answer."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from aiokafka import AIOKafkaProducer
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

BATCH_BYTES = 256 * 1024
"""As our ingest's: with aiokafka's 16 kB six webhooks would wait for each round trip."""


def create_app(bootstrap_servers: str, topic: str) -> Starlette:
    """No signature, no key, no header, no metric, no limit."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all", max_batch_size=BATCH_BYTES)
        await producer.start()
        app.state.producer = producer
        yield
        await producer.stop()

    async def take(request: Request) -> Response:
        await request.app.state.producer.send_and_wait(topic, await request.body())
        return Response(status_code=200)

    async def ready(_: Request) -> Response:
        return Response(status_code=200)

    routes = [Route("/webhooks/dodo", take, methods=["POST"]), Route("/ready", ready)]
    return Starlette(routes=routes, lifespan=lifespan)


if __name__ == "__main__":
    servers, topic, port = sys.argv[1:]
    uvicorn.run(
        create_app(servers, topic),
        host="127.0.0.1",
        port=int(port),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="error",
        server_header=False,
        date_header=False,
    )
