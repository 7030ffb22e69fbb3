"""Whoever is in trouble through no fault of its own is never given up, and whoever is the trouble is found.

Each file of `tests/data/troubles` is a story of minutes to hours: what Customer.io answers to whom by chance and by the
clock, which records it never takes, and what must come of it. Time is virtual, chance is seeded.
`TROUBLE_SEEDS=100` tells each story so many times.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest
import structlog
import yaml
from structlog.testing import CapturingLogger

from pipeline.customerio.client import Response
from pipeline.errors import RequestUnansweredError
from pipeline.kafka.records import text_header
from pipeline.sink import gate, letters, trouble

Virtual = Callable[[Any], Any]

STORIES = sorted((Path(__file__).parents[1] / "data" / "troubles").glob("*.yaml"))
SEEDS = range(int(os.environ.get("TROUBLE_SEEDS", "1")))
TOLD_BY = (gate, trouble)
PAGE = b"<html>Bad Request</html>"
TURN_S = 0.5


@dataclass
class Story:
    """One run of a story: a world that answers by the file, and the sink in it."""

    told: dict[str, Any]
    seed: int
    api: Any
    make: Any
    held: list[float] = field(default_factory=list)
    requests: int = 0
    count: int = 0
    found: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.rig = self.make.rig(self.api, lanes=self.told["lanes"], rate=100.0, post=self.post)
        self.culprits: dict[int, tuple[float, Any]] = {}
        self.trouble_until = max((one["to"] for one in self.told["trouble"]), default=0.0)

    async def post(self, body: bytes) -> Response:
        """What this world says to one request."""
        await asyncio.sleep(self.chance.uniform(0.05, 0.15))
        self.requests += 1
        operations = orjson.loads(body)["batch"]
        now = asyncio.get_running_loop().time()
        for one in self.told["trouble"]:
            in_burst = (now - one["from"]) % one["every_s"] < one["for_s"] if "every_s" in one else True
            if one["from"] <= now < one["to"] and in_burst and self.chance.random() < one["share"]:
                return await self.say(one["status"])
        poison = next((one["poison"] for one in operations if "poison" in one), None)
        if poison is not None:
            return await self.say(poison)
        self.api.accept(operations)
        return Response(200, {}, b"{}")

    async def say(self, status: Any) -> Response:
        """An answer of that kind."""
        if status == "silent":
            await asyncio.sleep(8)
            raise RequestUnansweredError("nothing came", sent=True)
        if status == "page":
            return Response(400, {}, PAGE)
        return Response(status, {"Location": "https://proxy.example.com/blocked"} if status == 302 else {}, b"")

    async def feed(self) -> None:
        """Records come in as the story says, whatever else happens."""
        clock = asyncio.get_running_loop().time
        culprits = sorted(self.told["culprits"], key=lambda one: one["at"])
        offset, owed = 0, 0.0
        while clock() < self.told["seconds"]:
            owed += self.told["records_per_second"] * TURN_S
            people: list[tuple[str, dict[str, Any]]] = [
                (f"p{self.chance.randrange(self.told['people'])}", {}) for _ in range(int(owed))
            ]
            owed -= int(owed)
            while culprits and culprits[0]["at"] <= clock():
                one = culprits.pop(0)
                people += [(f"bad{offset}-{n}", {"poison": one["status"]}) for n in range(one.get("people", 1))]
            records = []
            for person, extra in people:
                if extra:
                    self.culprits[offset] = (clock(), extra["poison"])
                records.append(self.make.record(person, offset, **extra))
                offset += 1
            if records:
                await self.rig.take(*records)
            await asyncio.sleep(TURN_S)
        self.count = offset

    async def watch(self) -> None:
        """Note when lanes were held, and when a record was given up."""
        clock = asyncio.get_running_loop().time
        while True:
            if self.rig.sink.gate.held:
                self.held.append(clock())
            for letter in self.rig.producer.letters[len(self.found) :]:
                self.found[int(str(text_header(letter.headers, "dlq-source")).split("/")[2])] = clock()
            await asyncio.sleep(TURN_S)

    async def run(self) -> None:
        """Tell it to the end: nobody waits any more."""
        async with self.rig:
            watching = asyncio.create_task(self.watch())
            await self.feed()
            await self.rig.settled()
            await asyncio.sleep(120)
            watching.cancel()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_story(
    virtual: Virtual, api: Any, make: Any, monkeypatch: pytest.MonkeyPatch, *, path: Path, seed: int
) -> None:
    """No innocent record is given up, every culprit is in time, all others arrive, each person's in order."""
    journal = CapturingLogger()
    for module in TOLD_BY:
        monkeypatch.setattr(module, "log", structlog.wrap_logger(journal, processors=[lambda _, __, e: ((), e)]))
    monkeypatch.setattr(letters, "log", structlog.wrap_logger(CapturingLogger(), processors=[]))
    story = Story(yaml.safe_load(path.read_text(encoding="utf-8")), seed, api, make)
    random.seed(seed)
    virtual(story.run())
    expect = story.told["expect"]
    innocents = sorted(set(story.found) - set(story.culprits))
    assert not innocents
    assert set(story.found) == set(story.culprits)
    first = list(dict.fromkeys(api.accepted))
    assert sorted(n for _, n in first) == [n for n in range(story.count) if n not in story.culprits]
    latest: dict[Any, int] = {}
    for person, number in first:
        assert number > latest.get(person, -1)
        latest[person] = number
    for offset, (came_at, status) in story.culprits.items():
        begins = came_at if expect.get("while_trouble") else max(came_at, story.trouble_until)
        assert story.found[offset] <= begins + expect["culprits_within_s"], (offset, status)
    if "held_within_s" in expect:
        assert story.held[0] <= story.told["trouble"][0]["from"] + expect["held_within_s"]
    if "held_s" in expect:
        assert len(story.held) * TURN_S <= expect["held_s"]
    if "told" in expect:
        lowest, highest = expect["told"]
        assert lowest <= len(journal.calls) <= highest, [call.kwargs for call in journal.calls]


def test_every_story_is_there() -> None:
    """The situations that the sink's judgement is made for are among the files."""
    names = {path.stem for path in STORIES}
    assert names >= {"brown-out-503", "brown-out-429", "flapping", "outage", "firewall", "wrong-key", "culprit"}
