"""Fetches the documents of the other stages: of those that `PIPELINE_PEERS` names, and of no others.

Nothing of a request for the page gets into these requests. Each round is bounded in time, in bytes and in addresses;
there is one at a time, and none while nobody looks. Redirects are not followed, proxies of the environment not used.
"""

from __future__ import annotations

import asyncio
import math
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final

from pydantic import ValidationError

from pipeline.deadline import bounded, within
from pipeline.plain_httpx import httpx
from pipeline.settings import Peer
from pipeline.watch.page.document import STAGE_PATH, StageDocument

ASK_EVERY_S: Final = 2.0
"""As often as a page refreshes; many open pages cost a peer no more than one."""

WITHIN_S: Final = 1.5
"""For resolving a name and an answer. A peer is in the same network; a page that waited longer would seem to hang."""

DOCUMENT_BYTES: Final = 32_768
"""More than a document has with every text at its bound."""

ADDRESSES: Final = 16
"""Addresses of one name that get a request; with the most peers allowed, all answers stay below 16 MB."""

LOOK_UPS: Final = 2
"""Names that are resolved at once, in threads of their own: a DNS that does not answer blocks a thread for many
seconds, and Kafka's client needs those of the event loop."""

NOBODY: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Peers speak plain HTTP; httpx would read the machine's certificates for each client, 28 ms of the event loop."""


@dataclass(frozen=True, slots=True)
class Heard:
    """The answer of one peer: the documents of its processes, or why there are none."""

    peer: Peer
    documents: tuple[StageDocument, ...] = ()
    fault: str | None = None


class Peers:
    """The peers of this process.

    Args:
        peers: as the setting names them.
        clock: seconds that only rise.
        transport: replaces the network, for tests.
    """

    def __init__(
        self,
        peers: Sequence[Peer],
        *,
        clock: Callable[[], float] = time.monotonic,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._peers = peers
        self._clock = clock
        self._transport = transport
        self._look_ups = ThreadPoolExecutor(LOOK_UPS, "status-page-names")
        self._one_at_a_time = asyncio.Lock()
        self._asked_at = -math.inf
        self._heard: tuple[Heard, ...] = ()

    async def heard(self) -> tuple[Heard, ...]:
        """The answer of each peer, no older than `ASK_EVERY_S`; raises for nothing that a peer does."""
        async with self._one_at_a_time:
            if self._peers and self._clock() - self._asked_at >= ASK_EVERY_S:
                self._heard = await self._round()
                self._asked_at = self._clock()
            return self._heard

    async def _round(self) -> tuple[Heard, ...]:
        async with bounded(
            httpx.AsyncClient(
                transport=self._transport,
                verify=NOBODY,
                trust_env=False,
                follow_redirects=False,
                timeout=WITHIN_S,
                headers={"accept": "application/json", "accept-encoding": "identity"},
            )
        ) as client:
            return tuple(await asyncio.gather(*(self._ask(client, peer) for peer in self._peers)))

    async def _addresses(self, peer: Peer) -> list[str]:
        loop = asyncio.get_running_loop()
        look_up = partial(socket.getaddrinfo, peer.host, peer.port, type=socket.SOCK_STREAM)
        found = await loop.run_in_executor(self._look_ups, look_up)
        return list(dict.fromkeys(str(address[0]) for *_, address in found))[:ADDRESSES]

    async def _ask(self, client: httpx.AsyncClient, peer: Peer) -> Heard:
        """Fetch from every address of the peer's name: a name may have several processes."""
        until = time.monotonic() + WITHIN_S
        try:
            async with asyncio.timeout(WITHIN_S):
                addresses = await self._addresses(peer)
        except (OSError, UnicodeError):  # TimeoutError is an OSError; UnicodeError is for a name with an empty part
            return Heard(peer, fault=f"{peer.address} does not answer: its name is not known here")
        left_s = max(until - time.monotonic(), 0.1)
        answers = await asyncio.gather(*(_one(client, peer, address, left_s) for address in addresses))
        documents = tuple(one for one in answers if isinstance(one, StageDocument))
        faults = [one for one in answers if isinstance(one, str)]
        return Heard(peer, documents, None if documents else faults[0])


async def _one(client: httpx.AsyncClient, peer: Peer, address: str, left_s: float) -> StageDocument | str:
    """The document of the process at `address`, or what is wrong with its answer."""
    host = f"[{address}]" if ":" in address else address
    try:
        with within(left_s):
            async with client.stream(
                "GET", f"http://{host}:{peer.port}{STAGE_PATH}", headers={"host": peer.address}
            ) as answer:
                if answer.status_code != httpx.codes.OK:
                    return f"{peer.address} answers {answer.status_code}: is it the port of its probes?"
                body = await _body(answer)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return f"{peer.address} does not answer ({type(error).__name__})"
    if body is None:
        return f"{peer.address} answers with more than {DOCUMENT_BYTES:,} bytes: is it a stage?"
    try:
        document = StageDocument.model_validate_json(body)
    except ValidationError:
        return f"{peer.address} answers with what is no status of a stage"
    if document.stage != peer.stage:
        return f"{peer.address} is a {document.stage}, and PIPELINE_PEERS calls it {peer.stage}"
    return document


async def _body(answer: httpx.Response) -> bytes | None:
    """The whole body, or None when it is too large; never decompressed, since a few bytes can become many."""
    body = b""
    async for piece in answer.aiter_raw():
        body += piece
        if len(body) > DOCUMENT_BYTES:
            return None
    return body
