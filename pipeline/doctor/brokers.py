"""Checks the cluster: which brokers answer, their version of Kafka, and how this client is authenticated."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pipeline.doctor.findings import Finding
from pipeline.kafka.certificates import WARN_BEFORE, end_of
from pipeline.kafka.cluster.admin import Admin
from pipeline.settings import PREFIX, Settings

FETCH: Final = 1
NEWEST_FETCH: Final = (
    (18, "4.1 or newer"), (17, "3.9 or 4.0"), (16, "3.7 or 3.8"), (14, "3.5 or 3.6"), (13, "3.1 to 3.4"),
    (12, "2.7 to 3.0"), (11, "2.3 to 2.6"),
)  # fmt: skip
"""The newest version of Fetch of each release, as in org.apache.kafka's FetchRequest.json. Brokers do not report their
release, but the versions of requests that they know. For other products that speak the protocol it is the release that
they behave like."""

OLD: Final = 12
"""From Kafka 2.8 on brokers report what a user may do, and an idempotent producer needs no right of its own."""

RENEW: Final = f"write a new one to {PREFIX}KAFKA_SSL_CERTFILE and its key; no restart is needed"


async def brokers(settings: Settings, admin: Admin) -> list[Finding]:
    """Findings about every broker of the cluster, and about the connection's security.

    Raises:
        BrokerUnreachableError: no broker answered.
    """
    known = await admin.brokers()
    silent = sorted(node for node, versions in known.items() if not versions)
    spoken = sorted({_version(versions) for versions in known.values() if versions})
    found = [
        Finding(
            "brokers", settings.kafka_bootstrap_servers, "ok",
            f"{len(known) - len(silent)} of {len(known)} brokers answer, as Apache Kafka {' and '.join(spoken)} does",
        )
    ]  # fmt: skip
    if silent:
        found.append(
            Finding(
                "brokers", f"broker {', '.join(map(str, silent))}", "fault", "in the cluster, and does not answer",
                "start it, or make its advertised.listeners reachable from here",
            )
        )  # fmt: skip
    if any(versions and versions.get(FETCH, 0) < OLD for versions in known.values()):
        found.append(
            Finding(
                "brokers", "version", "warning", "brokers before Kafka 2.8 do not tell what this user may do",
                "rights are then found out when something is refused; upgrade the brokers",
            )
        )  # fmt: skip
    how = settings.kafka_security_protocol
    name = settings.kafka_sasl_username or settings.kafka_oauth_client_id or "this machine's AWS identity"
    user = f" as {name} ({settings.kafka_sasl_mechanism})" if "SASL" in how else ""
    found.append(Finding("brokers", "connection", "ok", f"{how}{user} was accepted"))
    if settings.kafka_ssl_certfile is not None:
        found.append(certificate(settings.kafka_ssl_certfile, dt.datetime.now(dt.UTC)))
    return found


def certificate(file: Path, now: dt.datetime) -> Finding:
    """How long the client certificate in its file is valid; a worker uses a renewed one from its next connection on."""
    ends = end_of(file)
    if ends is None:
        return Finding("brokers", "certificate", "unknown", f"{file} does not tell when its certificate ends")
    days = (ends - now).days
    text = f"{file} ends on {ends:%Y-%m-%d}, in {days} days"
    if ends <= now:
        text = f"{file} ended on {ends:%Y-%m-%d}: connections that stand go on, and new ones are refused"
        return Finding("brokers", "certificate", "fault", text, RENEW)
    if ends - now < WARN_BEFORE:
        return Finding("brokers", "certificate", "warning", text, RENEW)
    return Finding("brokers", "certificate", "ok", text)


def _version(versions: Mapping[int, int]) -> str:
    newest = versions.get(FETCH, 0)
    return next((name for fetch, name in NEWEST_FETCH if newest >= fetch), "before 2.3")
