"""The API itself: checks credentials, region, rate and faults, then each operation by itself.

That is the order in which a front end, a load balancer and the service behind them would do it. Every request that
arrives is counted, also one that is refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import zlib
from collections.abc import Mapping
from typing import Final

from starlette.types import Receive, Scope, Send

from pipeline.customerio.sandbox import answers, bodies
from pipeline.customerio.sandbox.answers import Answer, DroppedError
from pipeline.customerio.sandbox.auth import is_authorized
from pipeline.customerio.sandbox.bodies import RefusedError
from pipeline.customerio.sandbox.faults import Fault
from pipeline.customerio.sandbox.processing import Parsed, process
from pipeline.customerio.sandbox.requests import Request
from pipeline.customerio.sandbox.state import Sandbox
from pipeline.customerio.workspace import HOSTS
from pipeline.http.answers import DROP

REGION: Final = "/api/v1/accounts/region"
PATHS: Final = {bodies.ENTITY: "POST", bodies.BATCH: "POST", REGION: "GET"}

TRICKLE_PIECES: Final = 10


class TrackApi:
    """ASGI application of the three paths in `PATHS`."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or cut its connection."""
        sandbox = self._sandbox
        began_s = time.perf_counter()
        arrivals = sandbox.rate.arrive(sandbox.clock())
        requests = sandbox.requests
        request = requests.arrive(scope["method"], scope["path"], time.time_ns() // 1_000_000)
        try:
            body = await bodies.read(receive)
            answer, trickle_s = await self._judge(request, body, _headers(scope), arrivals)
        except DroppedError:
            requests.lost(request)
            await _drop(scope)
            return
        # Counted before it is sent, so that a client that has the answer finds it in the counts.
        requests.answered(request, answer.status, (time.perf_counter() - began_s) * 1000)
        await send({"type": "http.response.start", "status": answer.status, "headers": answer.raw_headers()})
        if trickle_s:
            await self._trickle(answer.body, trickle_s, send)
        else:
            await send({"type": "http.response.body", "body": answer.body})

    async def _judge(
        self, request: Request, body: bytes, headers: Mapping[bytes, str], arrivals: int
    ) -> tuple[Answer, float]:
        """The answer, and over how many seconds it is sent."""
        sandbox, config = self._sandbox, self._sandbox.config
        sandbox.requests.read(request, body, zlib.crc32(body), keep_body=not config.fast)
        authorized = is_authorized(headers.get(b"authorization"), site_id=config.site_id, api_key=config.api_key)
        if not authorized:
            return answers.UNAUTHORIZED, 0.0
        if config.wrong_region and request.path != REGION:
            if config.region == "us":
                return answers.UNAUTHORIZED, 0.0
            return answers.elsewhere(HOSTS[config.region] + request.path), 0.0
        if config.rate_limit is not None and arrivals > config.rate_limit:
            return answers.too_many(config.retry_after), 0.0
        if config.latency_ms:
            await self._pause(config.latency_ms / 1000)
        parsed = self._parse(request, body, headers)
        fault = sandbox.script.take(path=request.path, number=request.number, operations=parsed.operations)
        if fault is None:
            return self._process(request, parsed), 0.0
        return await self._fail(request, parsed, fault), fault.step.trickle_s

    def _parse(self, request: Request, body: bytes, headers: Mapping[bytes, str]) -> Parsed:
        if request.path == REGION:
            return Parsed()
        content_type, encoding = headers.get(b"content-type", ""), headers.get(b"content-encoding", "")
        try:
            return Parsed(bodies.operations_of(request.path, body, content_type, encoding, self._sandbox.config))
        except RefusedError as error:
            return Parsed(refusal=error)

    async def _fail(self, request: Request, parsed: Parsed, fault: Fault) -> Answer:
        """Answer as a step of the fault script demands."""
        step = fault.step
        request.fault = True
        await self._pause(step.delay_s)
        if step.drop == "before":
            raise DroppedError("before processing")
        answer = answers.SUCCESS if step.answers_itself else self._process(request, parsed, fault)
        await self._pause(step.delay_after_s)
        if step.drop == "after":
            raise DroppedError("after processing")
        return answers.scripted(step, answer)

    def _process(self, request: Request, parsed: Parsed, fault: Fault | None = None) -> Answer:
        return self._region() if request.path == REGION else process(self._sandbox, request, parsed, fault)

    def _region(self) -> Answer:
        """Either host answers with the workspace's own region."""
        config = self._sandbox.config
        workspace = {"url": HOSTS[config.region], "region": config.region, "environment_id": config.environment_id}
        return Answer(200, answers.as_json(workspace))

    async def _trickle(self, body: bytes, trickle_s: float, send: Send) -> None:
        """Send the body in pieces; when the sandbox closes, the rest goes at once."""
        size = max(1, -(-len(body) // TRICKLE_PIECES))
        for start in range(0, len(body), size):
            with contextlib.suppress(DroppedError):
                await self._pause(trickle_s * size / max(1, len(body)))
            await send({"type": "http.response.body", "body": body[start : start + size], "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _pause(self, seconds: float) -> None:
        """Wait; raise `DroppedError` if the sandbox is closing."""
        if seconds <= 0:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._sandbox.closing.wait()
        if self._sandbox.closing.is_set():
            raise DroppedError("the sandbox is closing")


def _headers(scope: Scope) -> Mapping[bytes, str]:
    return {name: value.decode("latin-1") for name, value in scope["headers"]}


async def _drop(scope: Scope) -> None:
    """Cut the connection; a server that is not ours has no way for it and gets the `DroppedError`."""
    drop = scope.get("extensions", {}).get(DROP)
    if drop is None:
        raise DroppedError("connection dropped")
    drop()
