"""An ingest that refuses every genuine webhook for its time does not pretend to be ready."""

from __future__ import annotations

import time
from typing import Any

import pytest

from pipeline.dodo import samples
from pipeline.dodo.signature import TOLERANCE_S, Verifier, sign
from pipeline.errors import SignatureError, StaleError
from pipeline.ingest import PATH
from pipeline.ingest.events import RequestEnded
from pipeline.ingest.timeliness import ENOUGH, FORGET_S, Timeliness

SECRET = "whsec_" + "c2VjcmV0" * 4
LATE = RequestEnded("forged", 401, 0.01, skew_s=-3_600.0)
FORGED = RequestEnded("forged", 401, 0.01)
ACCEPTED = RequestEnded("accepted", 200, 0.01)


def heard(*events: RequestEnded, every_s: float = 1.0) -> str | None:
    """What is wrong after these."""
    now = 100.0
    timeliness = Timeliness(lambda: now)
    for event in events:
        now += every_s
        timeliness(event)
    return timeliness.trouble


def test_all_refused_for_their_time() -> None:
    """Three in a row, with the clock's side; where one got in, or they are merely forged, it is not the clock."""
    assert heard(*[LATE] * ENOUGH) is not None
    assert "about 3600 s ahead; set it right" in (heard(*[LATE] * ENOUGH) or "")
    assert "s behind; set" in (heard(*[RequestEnded("forged", 401, 0.01, skew_s=900.0)] * ENOUGH) or "")
    assert heard(*[LATE] * (ENOUGH - 1)) is None
    assert heard(*[LATE] * ENOUGH, ACCEPTED) is None
    assert heard(LATE, LATE, ACCEPTED, LATE) is None
    assert heard(*[FORGED] * 50) is None


def late(skew_s: float) -> RequestEnded:
    """A genuine one that was refused for its time."""
    return RequestEnded("forged", 401, 0.01, skew_s=skew_s)


@pytest.mark.parametrize("every_s", [0.001, 1.0, 59.0])
def test_one_that_somebody_recorded_is_not_the_clock(every_s: float) -> None:
    """Dodo dates each attempt anew: who sends one recorded request again and again takes no ingest out of service."""
    assert heard(*[late(-3_600 - number * every_s) for number in range(20)], every_s=every_s) is None


def test_some_that_somebody_recorded_are_not_the_clock() -> None:
    """Neither do several of different times, nor a second round of some that once followed each other."""
    assert heard(late(-3_600), late(-86_400), late(-7_200), late(-9_000)) is None
    round_ = [late(-3_600)] * (ENOUGH - 1)
    again = [late(-3_600 - 10 - ENOUGH)] * ENOUGH
    assert heard(*round_, *[FORGED] * 10, *again) is None


def test_many_of_one_second() -> None:
    """A burst is dated with one second; with the next attempts it shows that it is the clock."""
    burst = [late(-3_600 - number / 100) for number in range(10)]
    assert heard(*burst, every_s=0.01) is None
    assert heard(*[late(-3_600 - number % 20 / 20) for number in range(20 * ENOUGH)], every_s=1 / 20) is not None


def test_it_is_forgotten() -> None:
    """Out of service no webhook can show that the clock is right again, so after a while one may try."""
    now = 100.0
    timeliness = Timeliness(lambda: now)
    for _ in range(ENOUGH):
        now += 1
        timeliness(LATE)
    assert "NTP" in (timeliness.trouble or "")
    now += FORGET_S + 1
    assert timeliness.trouble is None
    timeliness(LATE)
    assert timeliness.trouble is None


def test_only_genuine_webhooks_count() -> None:
    """A forger cannot take an ingest out of service with old dates."""
    now_s = 1_800_000_000
    verifier = Verifier([SECRET], clock=lambda: now_s)
    old = now_s - TOLERANCE_S - 60
    with pytest.raises(StaleError) as told:
        verifier.verify(sign(SECRET, "msg_1", old, b"{}"), b"{}")
    assert told.value.skew_s == old - now_s
    with pytest.raises(SignatureError) as refused:
        verifier.verify({**sign(SECRET, "msg_1", old, b"{}"), "webhook-signature": "v1,AAAA"}, b"{}")
    assert not isinstance(refused.value, StaleError)
    assert str(refused.value) == str(told.value)  # and learns nothing from the answer


@pytest.mark.kafka
async def test_not_ready_on_kafka(chain_settings: Any, running: Any) -> None:
    """`/ready` says whose clock is wrong, until a webhook gets in; each that does is compared with the brokers'."""
    settings = await chain_settings(partitions=1, dodo_webhook_secrets=SECRET)
    body = samples.load("payment.succeeded--krw")
    async with running(settings) as ingest:

        async def post(number: int, at_s: int) -> int:
            headers = sign(SECRET, f"msg_{number}", at_s, body)
            answer = await ingest.client.post(f"{ingest.url}{PATH}", content=body, headers=headers)
            return int(answer.status_code)

        now_s = int(time.time())
        assert [await post(number, now_s - 3_605 + number) for number in range(ENOUGH)] == [401] * ENOUGH
        unready = await ingest.becomes(503)
        assert "were all refused for their time: this machine's clock is about 36" in unready.json()["reason"]
        assert await post(100, now_s) == 200
        assert (await ingest.becomes(200)).json()["reason"] == "Kafka answers"
        assert [await post(number, now_s) for number in range(101, 104)] == [200] * 3
        metrics = (await ingest.client.get(f"{ingest.url}/metrics")).text
    assert "dodo_cio_clock_ahead_seconds 0.0" in metrics
