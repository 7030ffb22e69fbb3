"""Finds the host of a workspace: by the configured region, or by Customer.io's own answer, kept in a file.

Customer.io is asked once a day at most, since a check at every start of every replica ran others into the rate limit
(https://github.com/PostHog/customerio-plugin, commit 880da2f). Only the two published hosts ever get the credentials,
whatever an answer or the file contains.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

import orjson
from pydantic import SecretStr

from pipeline import logs
from pipeline.customerio.client import Response, TrackClient
from pipeline.errors import CredentialError, DeliveryError, RedirectedError, SettingsError
from pipeline.plain_httpx import httpx
from pipeline.settings import Settings

HOSTS: Final = {"us": "https://track.customer.io", "eu": "https://track-eu.customer.io"}

REMEMBERED_S: Final = 24 * 3600
"""A workspace never moves; the daily request finds credentials that were withdrawn while nothing was sent."""

NO_OPERATIONS: Final = b'{"batch":[]}'

REDIRECTS: Final = frozenset({301, 302, 307, 308})

log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class Workspace:
    """The answer of the region endpoint: the workspace that the credentials belong to."""

    region: Literal["us", "eu"]
    environment_id: int | None = None


def credentials(settings: Settings) -> tuple[str, SecretStr]:
    """Site id and API key.

    Raises:
        SettingsError: one of them is missing.
    """
    missing = [
        variable
        for variable, value in (
            ("PIPELINE_CUSTOMERIO_SITE_ID", (settings.customerio_site_id or "").strip()),
            (
                "PIPELINE_CUSTOMERIO_API_KEY",
                settings.customerio_api_key and settings.customerio_api_key.get_secret_value(),
            ),
        )
        if not value
    ]
    if missing or settings.customerio_site_id is None or settings.customerio_api_key is None:
        raise SettingsError(
            f"{' and '.join(missing)} must be set: the Track API's site id and API key (Customer.io, Settings → "
            "Workspace → API credentials)"
        )
    return settings.customerio_site_id, settings.customerio_api_key


async def resolve(
    settings: Settings, *, transport: httpx.AsyncBaseTransport | None = None, now_s: float | None = None
) -> str:
    """The base address to send to.

    `PIPELINE_CUSTOMERIO_URL` is used as it is, without a request. A region given as us or eu is checked against the
    workspace's own if that is in the file or Customer.io answers; an outage then does not stop a start. `auto` needs
    the answer, from now or from the file.

    Raises:
        SettingsError: site id or API key is missing.
        CredentialError: the credentials are refused, or the workspace lives in the other region than configured.
        DeliveryError: the region is `auto`, the file has none, and Customer.io gave no usable answer.
    """
    site_id, api_key = credentials(settings)
    if settings.customerio_url:
        return settings.customerio_url.rstrip("/")
    configured = settings.customerio_region
    now_s = time.time() if now_s is None else now_s
    path = _memory(settings.data_dir, site_id)
    workspace, fresh = _recall(path, now_s)
    if not fresh:
        asked = HOSTS["us" if configured == "auto" else configured]
        try:
            async with TrackClient(asked, site_id, api_key, lanes=1, transport=transport) as client:
                workspace = await find(client)
        except DeliveryError as error:
            if workspace is None and configured == "auto":
                raise
            log.warning("the workspace's region could not be checked", reason=str(error))
        else:
            _remember(path, workspace, now_s)
    lives_in = workspace.region if workspace else configured
    if configured not in {"auto", lives_in}:
        raise CredentialError(
            f"the workspace lives in Customer.io's {lives_in} region, but PIPELINE_CUSTOMERIO_REGION is {configured}: "
            f"set it to {lives_in} or auto"
        )
    return HOSTS[lives_in]


async def find(client: TrackClient) -> Workspace:
    """Ask the host of `client` which workspace its credentials belong to.

    Raises:
        CredentialError: they are refused.
        DeliveryError: no usable answer.
    """
    return found_in(client, await client.ask_region())


def found_in(client: TrackClient, response: Response) -> Workspace:
    """The workspace in what the host of `client` answered.

    Raises:
        CredentialError: they are refused.
        DeliveryError: the answer is not usable.
    """
    _raise_for_refusal(response.status)
    workspace = _workspace(response)
    if workspace is None:
        raise DeliveryError(f"{client.base_url} answered {response.status} and named no region")
    return workspace


async def try_batches(client: TrackClient) -> bool:
    """Send a batch without operations to the host of `client`; return whether it surely accepted the credentials.

    Customer.io has nothing to apply, and deliveries use the same path. The answer to an empty batch is not documented:
    200 and 400 both mean that the credentials were accepted, any other status that nobody knows.

    Raises:
        CredentialError: they are refused, or the host redirects to that of the other region.
        RedirectedError: it redirects to somewhere else; a page for maintenance or a login may be gone in a moment.
        RequestUnansweredError: no answer.
    """
    response = await client.send_batch(NO_OPERATIONS)
    _raise_for_refusal(response.status)
    if response.status in REDIRECTS:
        raise _redirected(client, response)
    return response.status in {200, 400}


def _redirected(client: TrackClient, response: Response) -> CredentialError:
    told = f"{client.base_url} redirects batches ({response.status})"
    region = _pointed_to(response)
    if region is not None or client.base_url in HOSTS.values():
        lives = "the other" if region is None else f"Customer.io's {region}"
        to = "an address that takes them" if region is None else HOSTS[region]
        return CredentialError(
            f"{told}: the workspace lives in {lives} region. Remove PIPELINE_CUSTOMERIO_URL and set "
            f"PIPELINE_CUSTOMERIO_REGION to auto, or let PIPELINE_CUSTOMERIO_URL lead to {to}"
        )
    return RedirectedError(
        f"{told}, and not to a host of Customer.io's: whatever answers there, a proxy or a login, takes no batch. Let "
        "PIPELINE_CUSTOMERIO_URL lead to Customer.io without it"
    )


def _raise_for_refusal(status: int) -> None:
    if status in {401, 403}:
        raise CredentialError(
            f"Customer.io refused the credentials ({status}): check PIPELINE_CUSTOMERIO_SITE_ID and "
            "PIPELINE_CUSTOMERIO_API_KEY. They are the Track API's (Settings → Workspace → API credentials), not "
            "the App API's"
        )


def _workspace(response: Response) -> Workspace | None:
    if response.status in REDIRECTS:
        # Not documented for this path, but how the other region's host answers elsewhere.
        region = _pointed_to(response)
        return None if region is None else Workspace(region)
    if response.status != 200:  # noqa: PLR2004 - the documented success
        return None
    return _decode(response.body)


def _pointed_to(response: Response) -> Literal["us", "eu"] | None:
    """The region whose host a redirect names; the target is only read."""
    try:
        host = urlsplit(response.headers.get("location", "")).hostname
    except ValueError:
        return None
    return next((region for region, url in _regions() if urlsplit(url).hostname == host), None)


def _regions() -> tuple[tuple[Literal["us", "eu"], str], ...]:
    return (("us", HOSTS["us"]), ("eu", HOSTS["eu"]))


def _decode(text: bytes) -> Workspace | None:
    """The workspace in the endpoint's answer, or in the file, which has the same form."""
    try:
        answer = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(answer, dict) or answer.get("region") not in HOSTS:
        return None
    environment_id = answer.get("environment_id")
    return Workspace(answer["region"], environment_id if isinstance(environment_id, int) else None)


def _memory(data_dir: Path, site_id: str) -> Path:
    digest = hashlib.sha256(site_id.strip().encode()).hexdigest()[:16]
    return data_dir / f"customerio-workspace-{digest}.json"


def _recall(path: Path, now_s: float) -> tuple[Workspace | None, bool]:
    """The workspace in the file, if readable, and whether it is recent enough not to ask again."""
    try:
        text, age_s = path.read_bytes(), now_s - path.stat().st_mtime
    except OSError:
        return None, False
    workspace = _decode(text)
    return workspace, workspace is not None and 0 <= age_s < REMEMBERED_S


def _remember(path: Path, workspace: Workspace, now_s: float) -> None:
    text = orjson.dumps({"region": workspace.region, "environment_id": workspace.environment_id})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name, delete=False) as file:
            file.write(text)
        os.utime(file.name, (now_s, now_s))
        Path(file.name).replace(path)
    except OSError as error:
        log.warning("the workspace's region cannot be remembered", path=str(path), reason=type(error).__name__)
