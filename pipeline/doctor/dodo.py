"""Dodo: the form of the signing secrets, and whether its API takes the key."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from pipeline.doctor.findings import Finding
from pipeline.dodo.api.client import DodoApi, open_api
from pipeline.dodo.signature import Verifier
from pipeline.errors import ConfigurationError, DeliveryError, SettingsError
from pipeline.settings import PREFIX, Settings

SECRETS = f"{PREFIX}DODO_WEBHOOK_SECRETS"


async def dodo(settings: Settings, *, open_: Callable[[Settings], DodoApi] = open_api) -> list[Finding]:
    """Whether ingest could verify a webhook, and, with an API key, whether look-ups and a backfill could be made."""
    findings = []
    if not settings.dodo_webhook_secrets and not settings.dodo_test_webhook_secrets:
        text = "not set here: ingest needs it, the other stages do not"
        return [Finding("dodo", SECRETS, "unknown", text, "set it where ingest runs"), await _api(settings, open_)]
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
    return [*findings, await _api(settings, open_)]


async def _api(settings: Settings, open_: Callable[[Settings], DodoApi]) -> Finding:
    subject = f"{PREFIX}DODO_API_KEY"
    if settings.dodo_api_key is None:
        return Finding("dodo", subject, "ok", "not set: no look-ups of customers and products, no backfill")
    now = datetime.now(UTC)
    try:
        async with open_(settings) as api:
            await api.page("payments", since=now - timedelta(hours=1), until=now, number=0)
    except ConfigurationError as error:
        return Finding("dodo", subject, "fault", str(error), "make a key at Dodo for this mode (Developer, API keys)")
    except DeliveryError as error:
        return Finding("dodo", subject, "fault", str(error), "check the network, HTTPS_PROXY and NO_PROXY")
    return Finding("dodo", subject, "ok", f"{api.base_url} takes the key")
