"""The connection to Customer.io at start: which host, whether it takes the credentials, waiting while it is down."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from pipeline import logs
from pipeline.customerio.client import TrackClient
from pipeline.customerio.timeouts import Timeouts
from pipeline.customerio.workspace import HOSTS, credentials, find, resolve, try_batches
from pipeline.errors import CredentialError, DeliveryError, RedirectedError, RequestUnansweredError
from pipeline.plain_httpx import httpx
from pipeline.settings import Settings
from pipeline.sink.backoff import recheck

CLOSE_S: Final = 1.0
"""What closing waits for requests that passed their deadline. Their lanes have given them up, and a stop must not."""

REDIRECTED_S: Final = 30.0
"""How long a redirect is waited for that leads to none of Customer.io's hosts: a proxy that is reloaded or whose login
ran out shows its page for seconds. One that stays is a wrong address, which nobody mends by waiting."""

LOOK_S: Final = 0.2
"""How often a start that waits looks whether it is to stop."""

log = logs.get(__name__)


async def connect(
    settings: Settings,
    *,
    waits_for: Callable[[str | None], None],
    stopping: Callable[[], bool],
    transport: httpx.AsyncBaseTransport | None = None,
) -> TrackClient | None:
    """A client to the workspace's host, its credentials checked; None when the process is to stop.

    While Customer.io cannot be reached this waits, and for `REDIRECTED_S` while a proxy shows a page of its own: an
    outage is no fault of the configuration, and a worker without a connection would take partitions from those that
    have one. `waits_for` is called with the reason, and with None in the end. The credentials are tried at every start
    (two requests at most, of the thousand a second that Customer.io documents), so that a replica with a wrong key, or
    an address that leads elsewhere, ends before it takes anything from those that work.

    Raises:
        SettingsError: site id or API key is missing.
        CredentialError: the credentials are refused, or belong to a workspace of the other region, or the address goes
            on redirecting.
    """
    attempts = 0
    redirected_at: float | None = None
    clock = asyncio.get_running_loop().time
    while not stopping():
        try:
            client = await _attempt(settings, transport)
        except (DeliveryError, RedirectedError) as error:
            attempts += 1
            if not isinstance(error, RedirectedError):
                redirected_at = None
            elif redirected_at is None:
                redirected_at = clock()
            elif clock() - redirected_at >= REDIRECTED_S:
                raise
            waits_for(f"Customer.io: {error}")
            pause_s = recheck(attempts)
            log.warning("Customer.io cannot be reached yet", reason=str(error), again_in_s=pause_s)
            await _pause(pause_s, stopping)
        else:
            waits_for(None)
            return client
    return None


async def _attempt(settings: Settings, transport: httpx.AsyncBaseTransport | None) -> TrackClient:
    base_url = await resolve(settings, transport=transport)
    site_id, api_key = credentials(settings)
    client = TrackClient(
        base_url, site_id, api_key, lanes=settings.lanes, transport=transport, timeouts=Timeouts(close_s=CLOSE_S)
    )
    try:
        if not await _is_checked(client, is_given=bool(settings.customerio_url)):
            log.info("The credentials could not be checked", url=client.base_url)
    except BaseException:
        await client.aclose()
        raise
    return client


async def _is_checked(client: TrackClient, *, is_given: bool) -> bool:
    """Whether the credentials are known to be taken where batches go, as a rule by one request.

    The region is remembered for a day, the key is not. An address of one's own (`is_given`) may not know regions, or
    know the right one and lead batches to the other all the same: it is tried by what deliveries use, and asked for the
    region only where that gave no answer.

    Raises:
        CredentialError: they are refused, or batches are redirected.
        RequestUnansweredError: no answer.
    """
    if is_given and client.base_url in HOSTS.values() and await _knows_region(client):
        return True
    try:
        taken = await try_batches(client)
    except RequestUnansweredError as error:
        # What hangs behind an address that answers is waited for with what there is to send.
        if not (is_given and error.sent and await _knows_region(client)):
            raise
        return True
    return taken or (is_given and await _knows_region(client))


async def _knows_region(client: TrackClient) -> bool:
    """Whether the given address answers where the workspace lives: a proxy or stand-in may not have that endpoint.

    Raises:
        CredentialError: it refuses the credentials, or is not the workspace's region.
    """
    try:
        workspace = await find(client)
    except RequestUnansweredError:
        raise
    except DeliveryError:
        return False
    right = HOSTS[workspace.region]
    if client.base_url in HOSTS.values() and client.base_url != right:
        raise CredentialError(
            f"the workspace lives in Customer.io's {workspace.region} region, but PIPELINE_CUSTOMERIO_URL is "
            f"{client.base_url}: remove it, or set it to {right}"
        )
    return True


async def _pause(seconds: float, stopping: Callable[[], bool]) -> None:
    clock = asyncio.get_running_loop().time
    until = clock() + seconds
    while not stopping() and (left_s := until - clock()) > 0:  # noqa: ASYNC110 - Faust shows a stop only by a property
        await asyncio.sleep(min(left_s, LOOK_S))
