"""An ingest that refuses every genuine webhook for its time does not pretend to be ready."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dodo import samples
from pipeline.dodo.signature import TOLERANCE_S, Verifier, sign
from pipeline.errors import SignatureError, StaleError
from pipeline.ingest import PATH
from pipeline.ingest.events import RequestEnded
from pipeline.ingest.timeliness import ALIKE_S, DRIFT, ENOUGH, FORGET_S, LASTS_S, Timeliness

SECRET = "whsec_" + "c2VjcmV0" * 4
NOW_S = 1_800_000_000
DAY_S = 86_400


class Machine:
    """An ingest whose clock is `ahead_s` ahead; `now_s` is the time at Dodo, and the ingest has just been started."""

    def __init__(self, ahead_s: float = 0.0) -> None:
        self.ahead_s = ahead_s
        self.now_s = float(NOW_S)
        self.timeliness = Timeliness(lambda: self.now_s - NOW_S + 100)

    def gets(self, dated_s: int) -> str | None:
        """A genuine webhook of that date; what is wrong then."""
        skew_s = dated_s - self.now_s - self.ahead_s
        if abs(skew_s) <= TOLERANCE_S:
            self.timeliness(RequestEnded("accepted", 200, 0.01, dated_s=dated_s))
        else:
            self.timeliness(RequestEnded("forged", 401, 0.01, skew_s=skew_s, dated_s=dated_s))
        return self.timeliness.trouble

    def gets_new(self, *after_s: float, way_s: float = 0.0) -> str | None:
        """An attempt of Dodo's after each of these times; what is wrong then."""
        for each_s in after_s:
            self.now_s += each_s
            self.gets(int(self.now_s - way_s))
        return self.timeliness.trouble


@pytest.mark.parametrize("ahead_s", [3_600, 86_400, 310, -310, -900, -3_600])
def test_all_refused_for_their_time(ahead_s: int) -> None:
    """Three over two minutes, with the clock's side, also of a clock that becomes wrong; not where one got in."""
    side = "ahead" if ahead_s > 0 else "behind"
    told = f"about {abs(ahead_s)} s {side}; set it right"
    assert told in (Machine(ahead_s).gets_new(0, LASTS_S / 2, LASTS_S / 2) or "")
    machine = Machine()
    assert machine.gets_new(0, 600) is None
    machine.ahead_s = ahead_s
    assert machine.gets_new(60, LASTS_S) is None
    assert told in (machine.gets_new(60) or "")
    machine.ahead_s = 0
    assert machine.gets_new(60) is None
    machine.ahead_s = ahead_s
    assert machine.gets_new(60, LASTS_S) is None


def test_one_webhook_is_enough() -> None:
    """Dodo's attempts of a single one show it: at once, after five seconds, and after five minutes."""
    assert Machine(3_600).gets_new(0, 5) is None
    assert Machine(3_600).gets_new(0, 5, 300) is not None


def test_the_forged_do_not_count() -> None:
    """However many there are."""
    machine = Machine()
    for _ in range(50):
        machine.now_s += 60
        machine.timeliness(RequestEnded("forged", 401, 0.01))
    assert machine.timeliness.trouble is None


@pytest.mark.parametrize("every_s", [0.001, 1.0, 59.0])
def test_one_that_somebody_recorded_is_not_the_clock(every_s: float) -> None:
    """Dodo dates each attempt anew: who sends one recorded request again and again takes no ingest out of service."""
    machine = Machine()
    for _ in range(200):
        machine.now_s += every_s
        assert machine.gets(NOW_S - 3_600) is None


@pytest.mark.parametrize("every_s", [0.1, 2.0, 40.0, LASTS_S])
def test_a_recorded_purchase_is_not_the_clock(every_s: float) -> None:
    """The webhooks of one minute, sent again in their order, every ten minutes, to an ingest that got none yet."""
    machine = Machine()
    for _ in range(100):
        for dated_s in (NOW_S - DAY_S, NOW_S - DAY_S + 2, NOW_S - DAY_S + 7, NOW_S - DAY_S + 59):
            machine.now_s += every_s
            assert machine.gets(dated_s) is None
        machine.now_s += FORGET_S + 1


def test_a_backlog_is_not_the_clock() -> None:
    """What a relay kept of a minute and hands on with its headers, at once or as slowly as it came, is old."""
    for every_s in (0.0, 2.0):
        machine = Machine()
        for number in range(30):
            machine.now_s += every_s
            assert machine.gets(NOW_S - 7_200 + 2 * number) is None


def test_some_of_different_ages_are_not_the_clock() -> None:
    """Neither are several of different times, however long they go on."""
    machine = Machine()
    for age_s in (3_600, 86_400, 7_200, 9_000, 3_000, 1_000, 400, 30_000):
        machine.now_s += 100
        assert machine.gets(int(machine.now_s) - age_s) is None


def test_many_of_one_second() -> None:
    """A burst is dated with one second, and lasts for no time."""
    assert Machine(3_600).gets_new(0, *[0.01] * 50) is None


def test_recorded_ones_hide_no_wrong_clock() -> None:
    """A recording in between is passed over, and what is really wrong is found as soon as without it."""
    machine = Machine(3_600)
    for number in range(ENOUGH):
        machine.gets_new(LASTS_S / 2)
        machine.gets(NOW_S - DAY_S + number)
    assert machine.timeliness.trouble is not None


def test_it_is_forgotten() -> None:
    """Out of service no webhook can show that the clock is right again, so after a while one may try."""
    machine = Machine(3_600)
    assert "NTP" in (machine.gets_new(0, LASTS_S / 2, LASTS_S / 2) or "")
    machine.now_s += FORGET_S + 1
    assert machine.timeliness.trouble is None
    assert machine.gets_new(0) is None
    assert machine.gets_new(LASTS_S / 2, LASTS_S / 2) is not None


recordings = st.lists(st.integers(TOLERANCE_S + 1, 20_000), min_size=1, max_size=20).map(
    lambda ages: sorted({NOW_S - age_s for age_s in ages})
)
posts = st.lists(st.tuples(st.integers(0, 19), st.floats(0, 1_000)), max_size=100)


@given(recordings, posts, st.floats(0, 10))
def test_a_recording_is_old_once_a_webhook_came(
    recorded: list[int], posted: list[tuple[int, float]], way_s: float
) -> None:
    """Whatever is sent again, in any order and at any pace, to an ingest that got one webhook in time is no trouble."""
    machine = Machine()
    machine.gets_new(0, way_s=way_s)
    for number, after_s in posted:
        machine.now_s += after_s
        assert machine.gets(recorded[number % len(recorded)]) is None


@given(recordings, posts)
def test_a_recording_ends(recorded: list[int], posted: list[tuple[int, float]]) -> None:
    """An ingest that got no webhook in time yet is fooled for no longer than was recorded, and never by two minutes."""
    machine = Machine()
    length_s = recorded[-1] - recorded[0]
    ends = math.inf
    for number, after_s in posted:
        machine.now_s += after_s
        ends = min(ends, machine.now_s + (length_s + ALIKE_S) / (1 - DRIFT) + FORGET_S + 1)
        trouble = machine.gets(recorded[number % len(recorded)])
        assert trouble is None or (machine.now_s < ends and length_s >= LASTS_S)


def test_a_long_recording_at_its_own_pace() -> None:
    """It looks as attempts do, so it counts where nothing else is known: once, and never after a webhook."""
    recorded = [NOW_S - DAY_S + 50 * number for number in range(10)]

    def sent_again(machine: Machine) -> list[bool]:
        told = []
        for dated_s in recorded:
            machine.now_s += 50
            told.append(machine.gets(dated_s) is not None)
        machine.now_s += FORGET_S + 1
        return told

    machine = Machine()
    assert any(sent_again(machine))
    assert [any(sent_again(machine)) for _ in range(20)] == [False] * 20
    machine = Machine()
    machine.gets_new(0)
    machine.now_s += 2 * DAY_S  # for days without a webhook too
    assert not any(sent_again(machine))


@given(
    st.floats(TOLERANCE_S + 20, 1e6) | st.floats(-1e6, -TOLERANCE_S - 20),
    st.booleans(),
    st.lists(st.tuples(st.floats(15, 500), st.floats(0, 10)), min_size=12, max_size=30),
    st.lists(st.integers(0, 100_000), min_size=30, max_size=30),
    st.floats(-DRIFT / 2, DRIFT / 2),
)
def test_a_wrong_clock_is_always_found(
    ahead_s: float, before: bool, attempts: list[tuple[float, float]], ages_s: list[int], drift: float
) -> None:
    """However attempts come, whatever old ones come between them, and whether or not webhooks came in time before."""
    machine = Machine()
    machine.timeliness = Timeliness(lambda: (machine.now_s - NOW_S) * (1 + drift))
    if before:
        machine.gets_new(0, DAY_S)
    machine.ahead_s = ahead_s
    for (after_s, way_s), age_s in zip(attempts, ages_s, strict=False):
        machine.gets_new(after_s, way_s=way_s)
        if abs(age_s + machine.ahead_s) > TOLERANCE_S + 2:  # else it gets in, as the clock is wrong
            machine.gets(int(machine.now_s) - age_s)
    assert machine.timeliness.trouble is not None


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
async def test_not_ready_on_kafka(chain_settings: Any, running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """`/ready` says whose clock is wrong, until a webhook gets in; each that does is compared with the brokers'."""
    monkeypatch.setattr("pipeline.ingest.timeliness.LASTS_S", 0.0)
    settings = await chain_settings(partitions=1, dodo_webhook_secrets=SECRET)
    body = samples.load("payment.succeeded--krw")
    async with running(settings) as ingest:

        async def post(number: int, at_s: int) -> int:
            headers = sign(SECRET, f"msg_{number}", at_s, body)
            answer = await ingest.client.post(f"{ingest.url}{PATH}", content=body, headers=headers)
            return int(answer.status_code)

        now_s = int(time.time())
        assert [await post(number, now_s - 3_605 + number) for number in range(ENOUGH)] == [401] * ENOUGH
        words = "were all refused for their time: this machine's clock is about 36"
        async with asyncio.timeout(300):
            while words not in (await ingest.becomes(503)).json()["reason"]:  # noqa: ASYNC110 - a probe is a question
                await asyncio.sleep(0.05)
        assert await post(100, now_s) == 200
        assert (await ingest.becomes(200)).json()["reason"] == "Kafka answers"
        assert [await post(number, now_s) for number in range(101, 104)] == [200] * 3
        metrics = (await ingest.client.get(f"{ingest.url}/metrics")).text
    assert "dodo_cio_clock_ahead_seconds 0.0" in metrics
