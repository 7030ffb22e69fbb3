"""What is said of the brokers, the way in and its certificate."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any, cast

import pytest

from pipeline.doctor.brokers import FETCH, NEWEST_FETCH, brokers, certificate
from pipeline.doctor.findings import Finding, Verdict
from pipeline.kafka.cluster.admin import Admin
from pipeline.settings import Settings
from tests.kafka.conftest import Authority


class Cluster:
    """A cluster of brokers that know these versions of Fetch; None: one that does not answer."""

    def __init__(self, *fetch: int | None) -> None:
        self._fetch = fetch

    async def brokers(self) -> dict[int, dict[int, int]]:
        """See `Admin.brokers`."""
        return {node: {} if newest is None else {FETCH: newest} for node, newest in enumerate(self._fetch)}


async def seen(*fetch: int | None, **given: Any) -> dict[str, Finding]:
    """By subject, the findings about such a cluster."""
    settings = Settings.load(**given)
    found = {one.subject: one for one in await brokers(settings, cast("Admin", Cluster(*fetch)))}
    found["all"] = found.pop(settings.kafka_bootstrap_servers)
    return found


async def test_a_broker_that_does_not_answer() -> None:
    """It is named by its id, with what to do; the others are counted."""
    found = await seen(17, None, 17)
    assert found["all"].text == "2 of 3 brokers answer, as Apache Kafka 3.9 or 4.0 does"
    assert (found["broker 1"].verdict, found["broker 1"].text) == ("fault", "in the cluster, and does not answer")
    assert "advertised.listeners" in (found["broker 1"].remedy or "")


@pytest.mark.parametrize(("fetch", "version"), [*NEWEST_FETCH, (10, "before 2.3"), (99, NEWEST_FETCH[0][1])])
async def test_the_version(fetch: int, version: str) -> None:
    """By what the brokers speak; old ones do not tell rights, which is a warning."""
    found = await seen(fetch)
    assert found["all"].text.endswith(f"as Apache Kafka {version} does")
    assert ("version" in found) is (fetch < 12)


@pytest.mark.parametrize(
    ("given", "how"),
    [
        ({}, "PLAINTEXT was accepted"),
        ({"kafka_security_protocol": "SSL"}, "SSL was accepted"),
        (
            {"kafka_security_protocol": "SASL_SSL", "kafka_sasl_username": "shop", "kafka_sasl_password": "pw-7"},
            "SASL_SSL as shop (SCRAM-SHA-512) was accepted",
        ),
    ],
)
async def test_the_way_in(given: dict[str, Any], how: str) -> None:
    """Protocol, mechanism and user; no password."""
    found = await seen(17, **given)
    assert (found["connection"].verdict, found["connection"].text) == ("ok", how)
    assert "pw-7" not in str(found)


@pytest.mark.parametrize(
    ("left", "verdict", "told"),
    [
        (dt.timedelta(days=40), "ok", "in 40 days"),
        (dt.timedelta(days=13, hours=1), "warning", "in 13 days"),
        (dt.timedelta(days=-1), "fault", "connections that stand go on, and new ones are refused"),
    ],
)
def test_a_certificate(left: dt.timedelta, verdict: Verdict, told: str, tmp_path: Path) -> None:
    """Days left; below two weeks it should have been renewed, and the remedy says where to write the new one."""
    issued = Authority(tmp_path).issue("worker", lasts=dt.timedelta(days=50))
    found = certificate(issued.pem, issued.certificate.not_valid_after_utc - left)
    assert (found.verdict, told in found.text) == (verdict, True)
    assert verdict == "ok" or "PIPELINE_KAFKA_SSL_CERTFILE" in (found.remedy or "")


async def test_a_certificate_in_the_examination(tmp_path: Path) -> None:
    """It is looked at where there is one; a file that tells nothing leaves it unknown."""
    pem = Authority(tmp_path).issue("worker").pem
    found = await seen(17, kafka_security_protocol="SSL", kafka_ssl_certfile=pem)
    assert found["certificate"].verdict == "warning"  # those of tests last for two days
    assert "certificate" not in await seen(17)
    pem.write_text("nothing")
    assert certificate(pem, dt.datetime.now(dt.UTC)).verdict == "unknown"
