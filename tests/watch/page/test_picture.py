"""What the page draws, as a function of what processes say."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.settings import Peer, Stage
from pipeline.watch.page.document import EVENTS, StageDocument
from pipeline.watch.page.peers import Heard
from pipeline.watch.page.picture import picture
from tests.watch.page.building import document

ADDRESSES: dict[Stage, Peer] = {
    "ingest": Peer("ingest", "ingest", 9080),
    "transform": Peer("transform", "transform", 8081),
    "sink": Peer("sink", "sink", 8082),
}


def heard(*documents: StageDocument) -> list[Heard]:
    """Each from a peer of its stage."""
    return [Heard(ADDRESSES[one.stage], (one,)) for one in documents]


def fault(stage: Stage, text: str) -> Heard:
    """A peer that does not answer as it should."""
    return Heard(ADDRESSES[stage], fault=text)


def test_all_is_well() -> None:
    """Every stage flows, the topics are those that the stages read, and there is nothing to look at."""
    drawn = picture(
        document("sink", reads="operations", lag_records=3, lag_seconds=0.5, partitions=4, rate_per_second=9.0,
                 budget_per_second=100.0, budget_used_per_second=40.0),
        heard(document("ingest", rate_per_second=7.0, done=70),
              document("transform", reads="webhooks", lag_records=0, lag_seconds=0.0, partitions=4)),
    )  # fmt: skip
    assert {stage: one["state"] for stage, one in drawn["flow"].items()} == dict.fromkeys(ADDRESSES, "flows")
    assert (drawn["flow"]["ingest"]["rate_per_second"], drawn["flow"]["ingest"]["done"]) == (7.0, 70)
    assert drawn["topics"]["transform"] == {
        "name": "webhooks", "lag_records": 0, "lag_seconds": 0.0, "lost_records": None, "partitions": 4,
    }  # fmt: skip
    assert drawn["topics"]["sink"]["name"] == "operations"
    assert drawn["budget"] == {"per_second": 100.0, "used_per_second": 40.0}
    assert (drawn["troubles"], drawn["letters"], drawn["unnamed"]) == ([], [], [])
    assert json.loads(json.dumps(drawn)) == drawn


def test_processes_of_a_stage_are_one() -> None:
    """Counts and rates add up, of ages the worst is shown; this process counts once, although it is its own peer."""
    own = document("sink", "a", lag_records=3, lag_seconds=2.0, rate_per_second=1.5, done=5, partitions=2)
    other = document("sink", "b", lag_records=4, lag_seconds=9.0, rate_per_second=2.0, done=6, partitions=1)
    drawn = picture(own, heard(own, other, other))
    assert drawn["flow"]["sink"]["processes"] == 2
    assert (drawn["flow"]["sink"]["rate_per_second"], drawn["flow"]["sink"]["done"]) == (3.5, 11)
    topic = drawn["topics"]["sink"]
    assert (topic["lag_records"], topic["lag_seconds"], topic["partitions"]) == (7, 9.0, 3)
    assert [(one["id"], one["is_here"]) for one in drawn["processes"]] == [("a", True), ("b", False)]


def test_what_is_unknown_is_no_zero() -> None:
    """A stage that nobody named has no figures, and the page says so."""
    drawn = picture(document("transform"), [])
    assert drawn["unnamed"] == ["ingest", "sink"]
    assert drawn["flow"]["sink"]["state"] == "unknown"
    assert drawn["flow"]["sink"]["rate_per_second"] is None
    assert drawn["flow"]["sink"]["done"] is None
    assert set(drawn["topics"]["sink"].values()) == set(drawn["budget"].values()) == {None}
    assert drawn["troubles"] == []


@pytest.mark.parametrize(
    ("fields", "state", "said"),
    [
        ({"hold": "credentials refused (401)"}, "held", "held: credentials refused (401)"),
        ({"ready": False, "ready_reason": "held until somebody acts: 401", "hold": "401"}, "held", "held: 401"),
        ({"ready": False, "ready_reason": "rebalancing"}, "not ready", "rebalancing"),
        ({"ready": False, "restoring": "half restored"}, "not ready", "half restored"),
        ({"live": False, "live_reason": "stands still"}, "stuck", "stands still"),
        ({"live": False, "live_reason": "stands still", "hold": "401"}, "stuck", "stands still"),
    ],
)
def test_what_is_wrong_is_said_in_words(fields: dict[str, Any], state: str, said: str) -> None:
    """The state of a stage is the worst of its processes', and its reason stands among what to look at."""
    drawn = picture(document("sink", "a"), heard(document("sink", "b", **fields)))
    assert drawn["flow"]["sink"]["state"] == state
    assert drawn["troubles"][0] == {"stage": "sink", "text": said, "command": "dodo-cio doctor"}


def test_a_peer_that_does_not_answer() -> None:
    """It is away, which is no flowing, and why is said once however many of its name there are."""
    away = fault("ingest", "ingest:9080 does not answer (ConnectError)")
    drawn = picture(document("sink"), [away, away])
    assert drawn["flow"]["ingest"]["state"] == "away"
    assert drawn["unnamed"] == ["transform"]
    assert drawn["troubles"] == [{"stage": "ingest", "text": away.fault, "command": None}]


def test_one_of_several_peers_does_not_answer() -> None:
    """The stage flows, and what is wrong is said."""
    drawn = picture(document("sink"), [*heard(document("ingest")), fault("ingest", "ingest-1:9080 does not answer")])
    assert drawn["flow"]["ingest"]["state"] == "flows"
    assert [one["text"] for one in drawn["troubles"]] == ["ingest-1:9080 does not answer"]


def test_dead_letters_have_a_command() -> None:
    """By class over all stages, those of most letters first; a class without letters is none."""
    drawn = picture(
        document("sink", letters={"refused": 2, "oversize": 1}),
        heard(document("transform", letters={"oversize": 4, "unmappable": 0})),
    )
    assert [(one["class"], one["count"], one["stages"]) for one in drawn["letters"]] == [
        ("oversize", 5, ["transform", "sink"]),
        ("refused", 2, ["sink"]),
    ]
    assert drawn["letters"][1]["command"] == "dodo-cio dlq list --class refused"


def test_lost_records_are_a_trouble() -> None:
    """They are said with their number and the command that goes on from there."""
    drawn = picture(document("sink", lost_records=1234), [])
    assert drawn["topics"]["sink"]["lost_records"] == 1234
    (trouble,) = drawn["troubles"]
    assert trouble["text"] == "1,234 records were deleted before they were processed"
    assert trouble["command"] == "dodo-cio lag"


def test_the_last_events_of_all_stages() -> None:
    """Newest first, as many as one process shows."""
    events = [{"at_ms": number, "what": f"e{number}", "outcome": "accepted"} for number in range(0, 2 * EVENTS, 2)]
    others = [{**event, "at_ms": int(str(event["at_ms"])) + 1, "what": "other"} for event in events]
    drawn = picture(document("sink", events=events), heard(document("ingest", events=others)))
    times = [event["at_ms"] for event in drawn["events"]]
    assert times == sorted(times, reverse=True)
    assert len(times) == EVENTS
    assert {event["stage"] for event in drawn["events"]} == {"sink", "ingest"}
