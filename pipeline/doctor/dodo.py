"""Checks Dodo: the form of the signing secrets, whether its API accepts the key, and which types each endpoint gets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from pipeline.doctor.findings import Finding
from pipeline.dodo.api.client import DodoApi, open_api
from pipeline.dodo.api.requests import RetryPolicy
from pipeline.dodo.catalogue import TYPES
from pipeline.dodo.signature import Verifier
from pipeline.errors import ConfigurationError, DeliveryError, SettingsError
from pipeline.settings import PREFIX, Settings

SECRETS = f"{PREFIX}DODO_WEBHOOK_SECRETS"

ENDPOINT: Final = "webhook endpoint"

PATIENCE: Final = RetryPolicy(attempts=3)
"""A person waits, and what look-ups and a backfill sit out for a minute is worth a line here after seconds."""


def _open(settings: Settings) -> DodoApi:
    return open_api(settings, patience=PATIENCE)


async def dodo(settings: Settings, *, open_: Callable[[Settings], DodoApi] = _open) -> list[Finding]:
    """Whether ingest could verify a webhook, and, with an API key, whether look-ups and a backfill could be made."""
    findings = []
    if not settings.dodo_webhook_secrets and not settings.dodo_test_webhook_secrets:
        text = "not set here: ingest needs it, the other stages do not"
        return [Finding("dodo", SECRETS, "unknown", text, "set it where ingest runs"), *await _api(settings, open_)]
    try:
        Verifier.of(settings)
    except SettingsError as error:
        remedy = "copy it from the endpoint's page at Dodo (Developer, Webhooks)"
        findings.append(Finding("dodo", SECRETS, "fault", str(error), remedy))
    else:
        live, test = len(settings.dodo_webhook_secrets), len(settings.dodo_test_webhook_secrets)
        text = f"{live} of the live endpoint, {test} of the test endpoint, all well formed"
        findings.append(Finding("dodo", SECRETS, "ok", text))
        if not live:
            text = "no secret of the live endpoint: every live webhook is refused"
            findings.append(Finding("dodo", SECRETS, "warning", text, f"set {SECRETS} before the shop goes live"))
    return [*findings, *await _api(settings, open_)]


async def _api(settings: Settings, open_: Callable[[Settings], DodoApi]) -> list[Finding]:
    subject = f"{PREFIX}DODO_API_KEY"
    if settings.dodo_api_key is None:
        return [Finding("dodo", subject, "ok", "not set: no look-ups of customers and products, no backfill")]
    now = datetime.now(UTC)
    try:
        async with open_(settings) as api:
            await api.page("payments", since=now - timedelta(hours=1), until=now, number=0)
            taken = Finding("dodo", subject, "ok", f"{api.base_url} takes the key")
            return [taken, *await _endpoints(settings, api)]
    except ConfigurationError as error:
        remedy = "make a key at Dodo for this mode (Developer, API keys)"
        return [Finding("dodo", subject, "fault", str(error), remedy)]
    except DeliveryError as error:
        return [Finding("dodo", subject, "fault", str(error), "check the network, HTTPS_PROXY and NO_PROXY")]


async def _endpoints(settings: Settings, api: DodoApi) -> list[Finding]:
    """Findings about the endpoints; unknown if the key may read payments but not endpoints."""
    try:
        found = await api.endpoints()
    except (ConfigurationError, DeliveryError) as error:
        return [Finding("dodo", ENDPOINT, "unknown", str(error), "look at the endpoint's page at Dodo")]
    if found is None:
        return [Finding("dodo", ENDPOINT, "unknown", f"{api.base_url} does not tell endpoints")]
    return subscriptions(found, settings.webhook_paths)


def subscriptions(endpoints: Sequence[Mapping[str, Any]], paths: Sequence[str]) -> list[Finding]:
    """Which types the account's endpoints get, for those whose address ends with a path of ingest."""
    ours = [one for one in endpoints if _path(str(one.get("url"))).endswith(tuple(paths))]
    if not ours:
        text = f"none of the account's {len(endpoints)} endpoints has an address that ends with {' or '.join(paths)}"
        remedy = "add one at Dodo (Developer, Webhooks), unless your gateway gives the path another name"
        return [Finding("dodo", ENDPOINT, "unknown" if endpoints else "warning", text, remedy)]
    findings = []
    for one in ours:
        subject = f"endpoint {one.get('url')}"
        wanted = one.get("filter_types")
        missing = [type_ for type_ in TYPES if type_ not in wanted] if isinstance(wanted, list) and wanted else []
        if one.get("disabled") is True:
            text, remedy = "it is switched off: Dodo sends nothing to it", "switch it on at Dodo (Developer, Webhooks)"
            findings.append(Finding("dodo", subject, "fault" if len(ours) == 1 else "warning", text, remedy))
        elif missing:
            text = f"{len(missing)} of {len(TYPES)} types are not sent to it: {', '.join(missing)}"
            remedy = "choose all event types at Dodo, unless you leave these out on purpose"
            findings.append(Finding("dodo", subject, "warning", text, remedy))
        else:
            findings.append(Finding("dodo", subject, "ok", "it is sent every type of webhook"))
    return findings


def _path(address: str) -> str:
    """As Dodo tells it; nobody here has checked it."""
    try:
        return urlsplit(address).path
    except ValueError:
        return ""
