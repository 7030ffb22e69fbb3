"""Checks Customer.io: that it answers, accepts the credentials, is of this region, and its clock agrees with ours."""

from __future__ import annotations

import time
from collections.abc import Callable

from pipeline.customerio.client import Response, TrackClient
from pipeline.customerio.workspace import HOSTS, NO_OPERATIONS, REDIRECTS, credentials, found_in, try_batches
from pipeline.doctor.findings import Finding
from pipeline.errors import CredentialError, DeliveryError, SettingsError
from pipeline.plain_httpx import httpx
from pipeline.retry import unix_s
from pipeline.settings import PREFIX, Settings

CLOCK_S = 30.0
"""More than clocks with NTP ever differ; from five minutes on Dodo's signatures are refused."""


async def customerio(
    settings: Settings,
    *,
    transport: httpx.AsyncBaseTransport | None = None,
    now_s: Callable[[], float] = time.time,
) -> list[Finding]:
    """Ask Customer.io which workspace the credentials belong to; no operation is sent."""
    if not settings.customerio_site_id and not settings.customerio_api_key:
        text = "not set here: the sink needs them, the other stages do not"
        return [Finding("customerio", "credentials", "unknown", text, "set them where the sink runs")]
    try:
        site_id, api_key = credentials(settings)
        url = (
            settings.customerio_url
            or HOSTS["us" if settings.customerio_region == "auto" else settings.customerio_region]
        )
        client = TrackClient(url.rstrip("/"), site_id, api_key, lanes=1, transport=transport)
    except SettingsError as error:
        return [
            Finding("customerio", "credentials", "fault", str(error), f"set {PREFIX}CUSTOMERIO_SITE_ID and _API_KEY")
        ]
    async with client:
        try:
            response = await client.ask_region()
            return [*await _workspace(settings, client, response), *_clock(response, now_s())]
        except CredentialError as error:
            return [Finding("customerio", client.base_url, "fault", str(error), "copy both anew from its settings")]
        except DeliveryError as error:
            remedy = "check the network, HTTPS_PROXY and NO_PROXY from this very machine"
            return [Finding("customerio", client.base_url, "fault", str(error), remedy)]


async def _workspace(settings: Settings, client: TrackClient, response: Response) -> list[Finding]:
    try:
        region = found_in(client, response).region
    except CredentialError:
        raise
    except DeliveryError as error:
        if not settings.customerio_url:
            raise
        # A proxy or stand-in may not have that endpoint; an empty batch shows whether it accepts the credentials.
        if await try_batches(client):
            return [Finding("customerio", client.base_url, "ok", "it takes batches with these credentials")]
        return [Finding("customerio", client.base_url, "unknown", f"whether it takes the credentials: {error}")]
    if settings.customerio_url:
        right = HOSTS[region]
        if client.base_url in HOSTS.values() and client.base_url != right:
            text = f"the workspace lives in the {region} region, and this address is the other one's"
            return [Finding("customerio", client.base_url, "fault", text, f"remove {PREFIX}CUSTOMERIO_URL")]
        # An address that the operator set may answer for the workspace, and still forward to the other region's host.
        if client.base_url != right and (status := (await client.send_batch(NO_OPERATIONS)).status) in REDIRECTS:
            text = f"the workspace lives in the {region} region, and this address redirects batches ({status})"
            remedy = f"let {PREFIX}CUSTOMERIO_URL lead to {right}, or remove it"
            return [Finding("customerio", client.base_url, "fault", text, remedy)]
    elif settings.customerio_region not in {"auto", region}:
        text = f"the workspace lives in the {region} region, and {settings.customerio_region} is configured"
        return [
            Finding("customerio", client.base_url, "fault", text, f"set {PREFIX}CUSTOMERIO_REGION={region} or auto")
        ]
    return [
        Finding(
            "customerio", client.base_url, "ok", f"the credentials are taken; the workspace is in the {region} region"
        )
    ]


def _clock(response: Response, now_s: float) -> list[Finding]:
    dated_s = unix_s(response.headers.get("date", ""))
    if dated_s is None:
        return [
            Finding("customerio", "clock", "unknown", "its answer has no date to compare this machine's clock with")
        ]
    apart_s = now_s - dated_s
    if abs(apart_s) <= CLOCK_S:
        return [Finding("customerio", "clock", "ok", f"this machine's clock agrees with it within {CLOCK_S:.0f} s")]
    text = f"this machine's clock is {abs(apart_s):,.0f} s {'ahead of' if apart_s > 0 else 'behind'} Customer.io's"
    return [
        Finding("customerio", "clock", "fault", text, "let NTP set it: webhooks are refused by their time otherwise")
    ]
