"""What single looks say of settings, groups, Customer.io and Dodo, without a broker."""

from __future__ import annotations

from email.utils import formatdate
from functools import partial
from time import asctime, gmtime, tzset
from typing import Any

import httpx
import pytest
from aiokafka.structs import TopicPartition

from pipeline.cli import doctor
from pipeline.doctor.clock import judged
from pipeline.doctor.customerio import customerio
from pipeline.doctor.dodo import dodo, subscriptions
from pipeline.doctor.findings import CHECKS, Finding, Verdict, exit_code
from pipeline.doctor.groups import company, of_group
from pipeline.doctor.mapping import mapping
from pipeline.doctor.settings import faults, oddities
from pipeline.dodo.catalogue import TYPES
from pipeline.kafka.cluster.lag import GroupLag, PartitionLag
from pipeline.kafka.cluster.members import Member
from pipeline.settings import Settings
from tests.dodo.stand_in import LIVE_KEY, Account, error, serving

NOW_S = 1_795_000_000.0
KEYS = {"customerio_site_id": "site", "customerio_api_key": "key"}
SECRET = "whsec_" + "c2VjcmV0" * 4


def verdicts(findings: list[Finding]) -> list[Verdict]:
    """Of each finding."""
    return [finding.verdict for finding in findings]


@pytest.mark.parametrize(
    ("found", "code"),
    [([], 0), (["ok", "unknown"], 0), (["warning", "ok"], 1), (["fault", "warning"], 2)],
)
def test_exit_codes(found: list[Verdict], code: int) -> None:
    """0 as far as can be seen all is well, 1 a warning, 2 a fault; what cannot be seen is none."""
    assert exit_code(Finding("brokers", "x", verdict, "") for verdict in found) == code


def test_faulty_settings() -> None:
    """A malformed value is a fault of its variable, a name that nothing reads a warning with the one that was meant."""
    found = faults(
        ["PIPELINE_LANES: no number", "two are the same"], {"PIPELINE_LANE": "PIPELINE_LANES", "PIPELINE_X": None}
    )
    assert [(one.subject, one.verdict) for one in found] == [
        ("PIPELINE_LANES", "fault"), ("together", "fault"), ("PIPELINE_LANE", "warning"), ("PIPELINE_X", "warning"),
    ]  # fmt: skip
    assert found[2].remedy == "did you mean PIPELINE_LANES?"


@pytest.mark.parametrize(
    ("given", "subject"),
    [
        ({"customerio_api_key": "key "}, "PIPELINE_CUSTOMERIO_API_KEY"),
        ({"dodo_webhook_secrets": (SECRET, f"\n{SECRET}")}, "PIPELINE_DODO_WEBHOOK_SECRETS"),
        ({"forward_test_mode": True}, "PIPELINE_FORWARD_TEST_MODE"),
        ({"customerio_url": "http://proxy.example.com"}, "PIPELINE_CUSTOMERIO_URL"),
    ],
)
def test_settings_that_look_like_an_accident(given: dict[str, Any], subject: str) -> None:
    """Each is a warning about its variable, and no value of a secret is in it."""
    found = oddities(Settings.load(**given))
    assert [(one.subject, one.verdict) for one in found] == [(subject, "warning")]
    assert "c2VjcmV0" not in found[0].text


def test_settings_that_are_right() -> None:
    """One line says so."""
    assert verdicts(oddities(Settings.load())) == ["ok"]


def group(members: int | None, state: str | None = "Stable", **row: Any) -> GroupLag:
    """A group with one partition."""
    rows = (PartitionLag("g", "t", 0, **{"records": 0, "seconds": 0.0, "lost": 0, "held": 0, **row}),)
    return GroupLag("g", "t", state, members, rows)


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (group(1), ["ok", "ok"]),
        (group(0, "Empty", records=3, seconds=4.0), ["warning", "ok"]),
        (group(2, "PreparingRebalance"), ["warning", "ok"]),
        (group(None, None), ["unknown", "ok"]),
        (group(1, records=9, seconds=4000.0), ["ok", "warning"]),
        (group(1, records=None, seconds=None, note="who knows"), ["ok", "unknown"]),
        (group(1, lost=7), ["ok", "ok", "fault"]),
        (group(1, held=7), ["ok", "ok", "warning"]),
    ],
)
def test_groups(seen: GroupLag, expected: list[Verdict]) -> None:
    """Members and lag are two lines; losses and open transactions are lines of their own; unknown is never 0."""
    found = of_group(seen)
    assert verdicts(found) == expected
    assert all(one.remedy for one in found if one.verdict in {"warning", "fault"})


def member(client_id: str = "dodo-cio", topics: set[str] | None = frozenset({"t"}), *given: int) -> Member:  # type: ignore[assignment]
    """One that reads topic t, or others, with these partitions of it."""
    assigned = frozenset(TopicPartition("t", number) for number in given)
    return Member(client_id, "10.0.0.7", None if topics is None else frozenset(topics), assigned)


@pytest.mark.parametrize(
    ("members", "expected", "told"),
    [
        ([member("dodo-cio", {"t"}, 0, 1)], ["ok"], "all read t and nothing else, from 10.0.0.7"),
        ([member("dodo-cio", {"t"}, 1), member("dodo-cio", {"t"}, 0), member()], ["ok"], "all read t"),
        ([member("dodo-cio", {"t"}, 0), member("shop-b", {"t"}, 1)], ["warning"], "dodo-cio, shop-b: are two"),
        (
            [member("dodo-cio", {"t"}, 0, 1), member("dodo-cio", {"b.t"})], ["fault"],
            "dodo-cio at 10.0.0.7 reads b.t, and this deployment's group is for t alone",
        ),
        ([member("dodo-cio", {"t", "x"}, 0, 1)], ["fault"], "reads t, x"),
        ([member("dodo-cio", {"t"}, 0)], ["fault"], "partitions 1 of t were given to none"),
        ([member("dodo-cio", {"t"}, 0, 1), member("dodo-cio", None)], ["unknown"], "is not told while"),
        ([member("dodo-cio", {"t"}, 0), member("dodo-cio", {"b.t"})], ["fault", "fault"], "reads b.t"),
    ],
)  # fmt: skip
def test_two_deployments_in_one_group(members: list[Member], expected: list[Verdict], told: str) -> None:
    """Seen by what members read, how they call themselves, and by partitions that nobody has."""
    found = company("g", "t", 2, members)
    assert verdicts(found) == expected
    assert told in found[0].text
    assert all(one.remedy for one in found if one.verdict in {"warning", "fault"})


@pytest.mark.parametrize(
    ("newest_s", "verdict", "told"),
    [
        (None, "unknown", "no record"),
        (NOW_S - 3, "ok", "agrees"),
        (NOW_S + 29, "ok", "agrees"),
        (NOW_S + 400, "fault", "at least 400 s behind"),
        (NOW_S - 400, "unknown", "400 s old"),
    ],
)
def test_the_brokers_clock(newest_s: float | None, verdict: Verdict, told: str) -> None:
    """A record of the future is a clock that is behind; that it is ahead can be told by a new record alone."""
    found = judged(None if newest_s is None else int(newest_s * 1000), NOW_S)
    assert found.verdict == verdict
    assert told in found.text


OURS = "https://shop.example.com/hooks/webhooks/dodo"


@pytest.mark.parametrize(
    ("endpoints", "expected", "told"),
    [
        ([{"url": OURS, "filter_types": None}], ["ok"], "every type"),
        ([{"url": OURS, "filter_types": []}, {"url": "https://other.example.com/x"}], ["ok"], "every type"),
        ([{"url": OURS, "filter_types": [*TYPES, "new.type"]}], ["ok"], "every type"),
        ([{"url": OURS, "filter_types": [one for one in TYPES if one != "refund.succeeded"]}], ["warning"],
         f"1 of {len(TYPES)} types are not sent to it: refund.succeeded"),
        ([{"url": OURS, "disabled": True}], ["fault"], "switched off"),
        ([{"url": OURS, "disabled": True}, {"url": OURS, "disabled": False}], ["warning", "ok"], "switched off"),
        ([{"url": "https://shop.example.com/other"}], ["unknown"], "none of the account's 1 endpoints"),
        ([{"url": None}], ["unknown"], "none of"),
        ([{"url": "https://["}, {"url": OURS}], ["ok"], "every type"),
        ([], ["warning"], "none of the account's 0 endpoints"),
    ],
)  # fmt: skip
def test_subscribed_types(endpoints: list[dict[str, Any]], expected: list[Verdict], told: str) -> None:
    """An endpoint at ingest's path that is off, or is not sent every type, is told with the types."""
    found = subscriptions(endpoints, Settings.load().webhook_paths)
    assert verdicts(found) == expected
    assert told in found[0].text


async def test_endpoints_of_an_account() -> None:
    """Asked of a strict stand-in over pages; a key that may not read them leaves it unknown, and is no fault."""
    account = Account()
    account.endpoints = [{"id": f"ep_{n}", "url": f"https://{n}.example.com/x"} for n in range(120)]
    account.endpoints.append({"id": "ep_ours", "url": OURS, "filter_types": ["payment.succeeded"], "disabled": False})
    async with serving(account) as url:
        settings = Settings.load(dodo_api_key=LIVE_KEY, dodo_api_url=url, dodo_webhook_secrets=SECRET)
        found = await dodo(settings)
        assert verdicts(found) == ["ok", "ok", "warning"]
        assert found[-1].text.startswith(f"{len(TYPES) - 1} of {len(TYPES)} types")
        account.faults.append(lambda request: error(403, "FORBIDDEN") if "webhooks" in request.url.path else None)
        found = await dodo(settings)
        assert verdicts(found) == ["ok", "ok", "unknown"]
        account.faults.append(lambda request: error(404, "NOT_FOUND") if "webhooks" in request.url.path else None)
        assert verdicts(await dodo(settings)) == ["ok", "ok", "unknown"]


def answering(status: int, body: bytes = b"", **headers: str) -> httpx.MockTransport:
    """A Customer.io that answers everything so."""
    return httpx.MockTransport(lambda _: httpx.Response(status, content=body, headers=headers))


US = b'{"region":"us","data_center":"us","environment_id":1}'
dated = partial(formatdate, usegmt=True)


@pytest.mark.parametrize(
    ("given", "transport", "expected", "told"),
    [
        ({}, answering(200, US, Date=dated(NOW_S)), ["ok", "ok"], "the workspace is in the us region"),
        ({"customerio_region": "eu"}, answering(200, US, Date=dated(NOW_S)), ["fault", "ok"], "eu is configured"),
        ({}, answering(200, US, Date=dated(NOW_S - 400)), ["ok", "fault"], "the credentials are taken"),
        ({}, answering(200, US), ["ok", "unknown"], "the credentials are taken"),
        ({}, answering(401), ["fault"], "refused the credentials"),
        ({}, answering(401), ["fault"], "the App API's"),
        ({}, answering(503), ["fault"], "503"),
        ({"customerio_url": "https://proxy.example.com"}, answering(200, b"{}"), ["ok", "unknown"], "takes batches"),
        (
            {"customerio_url": "https://track-eu.customer.io"}, answering(200, US), ["fault", "unknown"],
            "this address is the other one's",
        ),
    ],
)  # fmt: skip
async def test_customerio(
    given: dict[str, Any], transport: httpx.MockTransport, expected: list[str], told: str
) -> None:
    """Credentials, region and clock, from one question; nothing that a workspace would notice is sent."""
    found = await customerio(Settings.load(**KEYS, **given), transport=transport, now_s=lambda: NOW_S)
    assert verdicts(found) == expected
    assert told in found[0].text


async def test_a_date_without_a_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is UTC, wherever this machine stands (RFC 9110 §5.6.7)."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    tzset()
    try:
        transport = answering(200, US, Date=asctime(gmtime(NOW_S)))
        found = await customerio(Settings.load(**KEYS), transport=transport, now_s=lambda: NOW_S)
    finally:
        monkeypatch.undo()
        tzset()
    assert verdicts(found) == ["ok", "ok"]


async def test_an_address_that_leads_to_the_other_region() -> None:
    """A proxy that knows the workspace and whose host redirects batches takes nothing: that is no `ok`."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, content=b'{"region": "eu"}')
        return httpx.Response(301, headers={"location": "https://track-eu.customer.io/api/v2/batch"})

    settings = Settings.load(**KEYS, customerio_url="https://proxy.example.com")
    (found, _) = await customerio(settings, transport=httpx.MockTransport(answer))
    assert found.verdict == "fault"
    assert "the workspace lives in the eu region, and this address redirects batches (301)" in found.text
    assert "https://track-eu.customer.io" in (found.remedy or "")


async def test_customerio_without_an_answer() -> None:
    """A network that leads nowhere is a fault with the proxy's variables in the remedy."""

    def refuse(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no route")

    (found,) = await customerio(Settings.load(**KEYS), transport=httpx.MockTransport(refuse))
    assert found.verdict == "fault"
    assert "HTTPS_PROXY" in (found.remedy or "")


async def test_stages_that_need_neither() -> None:
    """Without Customer.io's keys and Dodo's secrets nothing is wrong on a machine of another stage."""
    assert verdicts(await customerio(Settings.load())) == ["unknown"]
    assert verdicts(await dodo(Settings.load())) == ["unknown", "ok"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"dodo_webhook_secrets": SECRET}, ["ok", "ok"]),
        ({"dodo_webhook_secrets": "whsec_cGVyaGFwcw"}, ["fault", "ok"]),
        ({"dodo_test_webhook_secrets": SECRET}, ["ok", "warning", "ok"]),
    ],
)
async def test_secrets(given: dict[str, Any], expected: list[str]) -> None:
    """A malformed secret is a fault, a missing live one a warning; none is ever shown."""
    found = await dodo(Settings.load(**given))
    assert verdicts(found) == expected
    assert not any("c2VjcmV0" in one.text or "cGVyaGFwcw" in one.text for one in found)


@pytest.mark.parametrize(
    ("key", "fault", "told"),
    [
        ("wrong", None, "PIPELINE_DODO_API_KEY"),
        (LIVE_KEY, 500, "500"),
    ],
)
async def test_a_key_that_dodo_does_not_take(key: str, fault: int | None, told: str) -> None:
    """Refused, or nobody answers: a fault with what to do, and the key is not in it."""
    account = Account()
    if fault is not None:
        account.faults += [lambda _: error(fault, "INTERNAL")] * 20
    async with serving(account) as url:
        settings = Settings.load(dodo_api_key=key, dodo_api_url=url, dodo_webhook_secrets=SECRET)
        found = await dodo(settings)
    assert verdicts(found) == ["ok", "fault"]
    assert told in found[1].subject + found[1].text
    assert key not in str(found)


@pytest.mark.parametrize("host", ["test.dodopayments.com", "TEST.dodopayments.com", "test.dodopayments.com.:443"])
async def test_a_key_of_test_mode(host: str) -> None:
    """Its data must never reach real people: the address is a fault, before anybody is asked."""
    given = {"dodo_api_key": LIVE_KEY, "dodo_api_url": f"https://{host}"}
    found = await dodo(Settings.load(**given, dodo_webhook_secrets=SECRET))
    assert verdicts(found) == ["ok", "fault"]
    assert "test-mode data" in found[1].text


def test_a_mapping_that_cannot_be_made() -> None:
    """A function of one's own that is not there is a fault of the setting."""
    (found,) = mapping(Settings.load(transform="nowhere.to_be_found:shape"))
    assert (found.verdict, found.remedy) == ("fault", "change the setting")


def test_mapping() -> None:
    """All types become something with the defaults, and quickly enough to be part of every examination."""
    (found,) = mapping(Settings.load())
    assert found.verdict == "ok"
    assert f"of {len(TYPES)} types" in found.text


def test_every_check_is_offered() -> None:
    """The command's help names each check."""
    named = str(doctor.doctor.__annotations__["only"])
    assert all(check in named for check in CHECKS)
