"""Journeys as data: customers' lives webhook by webhook, fed through `decide` into a stand-in of Customer.io.

A file of `tests/data/journeys` has
- `about`: one line; `why`: which wrong, doubled or missing mail it guards against;
- `settings`: as `Settings` takes them, where they are not the default (`product_names` from this folder);
  `began`: when the state began (default 2026);
- `objects`: a place for YAML anchors, not read;
- `webhooks`: in the order of arrival, each `type`, `at` (envelope time), `delivered` (the attempt's time, default two
  seconds later), `id` (default `msg_<number>`), `data` over the sample's (`sample`: another one than the type's; a
  subscription's is always the active one, so that the journey alone says what changes), and what it `sends`:
  `identify` (`first`: with a barrier, `again`, `unchanged`: held back, `none`), `event`, some of its `attributes`,
  attributes that it must be `without`, `further` events beside it, the same of the `profile` (`profile_without`), the
  `person`, the event's time `at`, `notes`, whether it is `warned`, `dead_letter` or `dropped`;
- `holds`: what Customer.io ends with: `people` (by id or address: `email` and exactly these `attributes`), `events` by
  name, and `may_hold`: attributes that no rule settles, with the reason;
- `order_decides`: what legitimately depends on the order of arrival, with the reason: `events` (by name, the least and
  the most that any order gives), `person` (the ids of which the order chooses one), `left_behind` (people of a former
  address, who may know less, or not exist) or `stand_in` (ids that stood in, with events alone or not at all).

`!money ["49.00", 4900]` stands for the three forms of an amount and `!date "…"` for the two of a date.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from pipeline.customerio.sandbox.actions import validate
from pipeline.customerio.sandbox.config import SandboxConfig
from pipeline.customerio.sandbox.workspace import Arrival, Workspace
from pipeline.dodo import samples
from pipeline.dodo.simulator import Delivery
from pipeline.settings import Settings
from pipeline.statestore.store import MemoryStore
from pipeline.transform.decision import decide
from pipeline.transform.mapping import map_webhook
from pipeline.transform.policy import Policy
from pipeline.transform.verdicts import DeadLettered, Decided, Dropped, Operations, SentOn

DATA = Path(__file__).parents[2] / "data" / "journeys"
BEGAN = "2026-01-01T00:00:00Z"
DEEP = ("customer", "billing", "metadata")
"""Objects that a journey changes field by field; others it gives whole."""


@dataclass(frozen=True)
class Money:
    """An amount as text and in minor units."""

    text: str
    minor: int


@dataclass(frozen=True)
class Date:
    """A moment as sent."""

    text: str


class Loader(yaml.SafeLoader):
    """YAML in which moments stay texts."""


Loader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Loader.add_constructor("!money", lambda loader, node: Money(*loader.construct_sequence(node)))  # type: ignore[arg-type]
Loader.add_constructor("!date", lambda loader, node: Date(str(loader.construct_scalar(node))))  # type: ignore[arg-type]


def moment_ms(text: str) -> int:
    """Unix milliseconds."""
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def expanded(attributes: dict[str, Any]) -> dict[str, Any]:
    """Attributes with each amount in its three forms and each date in its two."""
    into: dict[str, Any] = {}
    for name, value in attributes.items():
        match value:
            case Money(text, minor):
                number = float(text)
                into |= {name: text, f"{name}_value": number, f"{name}_minor": minor}
            case Date(text):
                into |= {name: text, f"{name}_unix": moment_ms(text) // 1000}
            case _:
                into[name] = value
    return into


@dataclass(frozen=True)
class Webhook:
    """One delivery, as the record in which it lies, and what the journey says that it sends."""

    webhook_id: str
    type: str
    value: bytes
    headers: tuple[tuple[str, bytes], ...]
    timestamp: int
    sends: dict[str, Any] = field(default_factory=dict)
    key: bytes | None = None
    topic: str = "dodo.webhooks"
    partition: int = 0
    offset: int = 0

    @property
    def mode(self) -> str:
        """Which endpoint it came through."""
        return dict(self.headers)["dodo-mode"].decode()

    @property
    def data(self) -> dict[str, Any]:
        """The body's `data`."""
        data: dict[str, Any] = orjson.loads(self.value)["data"]
        return data


def webhook_of(number: int, step: dict[str, Any]) -> Webhook:
    """The step as a complete delivery: the sample's body with the step's fields over it."""
    type_, at = step["type"], step["at"]
    usual = "subscription.active" if type_.startswith("subscription.") else type_
    body = orjson.loads(samples.load(step.get("sample", usual)))
    data = body["data"]
    for name, value in step.get("data", {}).items():
        nested = name in DEEP and isinstance(value, dict) and isinstance(data.get(name), dict)
        data[name] = data[name] | value if nested else value
    body |= {"type": type_, "timestamp": at}
    delivered_s = moment_ms(step["delivered"]) // 1000 if "delivered" in step else moment_ms(at) // 1000 + 2
    webhook_id = step.get("id", f"msg_{number}")
    return Webhook(
        webhook_id=webhook_id,
        type=type_,
        value=orjson.dumps(body),
        headers=(
            ("webhook-id", webhook_id.encode()),
            ("webhook-timestamp", b"%d" % delivered_s),
            ("dodo-type", type_.encode()),
            ("dodo-mode", step.get("mode", "live").encode()),
            ("received-at", b"%d" % (delivered_s * 1000 + 250)),
        ),
        timestamp=delivered_s * 1000 + 260,
        sends=step.get("sends", {}),
        offset=number,
    )


def recorded(delivery: Delivery) -> Webhook:
    """A simulated delivery as ingest would write it."""
    return Webhook(
        webhook_id=delivery.webhook_id,
        type=delivery.type or "",
        value=delivery.body,
        headers=(
            ("webhook-id", delivery.webhook_id.encode()),
            ("webhook-timestamp", b"%d" % delivery.timestamp),
            ("dodo-mode", b"live"),
            ("received-at", b"%d" % (delivery.timestamp * 1000 + 250)),
        ),
        timestamp=delivery.timestamp * 1000 + 260,
    )


@dataclass(frozen=True)
class Journey:
    """One file."""

    name: str
    policy: Policy
    began_at_ms: int
    webhooks: tuple[Webhook, ...]
    holds: dict[str, Any]
    order_decides: dict[str, Any]

    def world(self) -> World:
        """A new workspace and an empty state."""
        return World(self.policy, MemoryStore(began_at_ms=self.began_at_ms))


def policy_of(settings: dict[str, Any]) -> Policy:
    """The policy of a file's settings; a file of product names lies beside the journeys."""
    names = {"product_names": DATA / settings["product_names"]} if "product_names" in settings else {}
    return Policy.of(Settings.load(**settings | names))


def journey_at(path: Path) -> Journey:
    """The journey of a file."""
    document = yaml.load(path.read_bytes(), Loader)
    return Journey(
        name=path.stem,
        policy=policy_of(document.get("settings", {})),
        began_at_ms=moment_ms(document.get("began", BEGAN)),
        webhooks=tuple(webhook_of(number, step) for number, step in enumerate(document["webhooks"], 1)),
        holds=document["holds"],
        order_decides=document.get("order_decides", {}),
    )


@dataclass(frozen=True)
class Sent:
    """What one webhook sent."""

    verdict: str
    """`operations`, or the code of a drop or a dead letter."""

    identify: dict[str, Any] | None = None
    barrier: bool = False
    event: dict[str, Any] | None = None
    further: tuple[str, ...] = ()
    """Events beside it, of the same webhook."""

    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    sums: dict[str, Any] = field(default_factory=dict)
    """Attributes of the identify that followed from the customer's share, where people go by their address."""

    @property
    def profile(self) -> dict[str, Any]:
        """What the person's profile was told."""
        return {**({} if self.identify is None else self.identify["attributes"]), **self.sums}

    @property
    def person(self) -> str | None:
        """Whom the operations are about."""
        operation = self.identify or self.event
        return None if operation is None else next(iter(operation["identifiers"].values()))

    @property
    def name(self) -> str | None:
        """The event's name."""
        return None if self.event is None else self.event["name"]


class World:
    """One partition of the transform, its state, and the workspace that takes what it sends.

    `emitted` counts the ids of the live events that were sent, before Customer.io drops repetitions.
    """

    def __init__(self, policy: Policy, store: MemoryStore) -> None:
        self.policy = policy
        self.store = store
        self.workspace = Workspace(SandboxConfig())
        self.emitted: Counter[str] = Counter()

    def feed(self, webhook: Webhook) -> Sent:
        """Decide one webhook and let Customer.io take what it sends, in order, then what follows from the shares."""
        decision = decide(webhook, self.policy, map_webhook, self.store)
        sent = self._take(webhook, decision.verdict)
        sums: dict[str, Any] = {}
        for command in decision.commands:
            assert command.value is not None
            record = replace(webhook, webhook_id="", type="", value=command.value, headers=command.headers)
            followed = decide(record, self.policy, map_webhook, self.store)
            assert followed.commands == (), "commands go round"
            told = self._take(record, followed.verdict)
            if told.identify is not None and told.person == sent.person:
                sums = told.identify["attributes"]
        return replace(sent, sums=sums) if sums else sent

    def _take(self, webhook: Webhook, verdict: Decided) -> Sent:
        match verdict:
            case Operations(operations=operations, notes=notes, warnings=warnings):
                pass
            case Dropped(reason=reason):
                return Sent(reason)
            case DeadLettered(class_=class_, reason=reason):
                assert "bug" not in reason, reason
                return Sent(class_)
            case SentOn():
                raise AssertionError("there is one partition")
        identify = event = None
        further: list[str] = []
        barrier = False
        for index, operation in enumerate(operations):
            body = orjson.loads(operation.body)
            assert validate(body) == []
            self.workspace.apply(body, Arrival(webhook.timestamp, webhook.offset), index)
            if operation.kind == "identify":
                assert event is None, "the event goes before its identify"
                identify, barrier = body, operation.barrier
            elif operation.kind == "event":
                if event is None:
                    event = body
                else:
                    further.append(body["name"])
                if webhook.mode == "live":
                    self.emitted[body["id"]] += 1
        return Sent("operations", identify, barrier, event, tuple(further), notes, warnings)

    def settled(self, journey: Journey) -> dict[str, dict[str, Any]]:
        """The people without the attributes that no rule settles, each of which has the one value that it may have."""
        allowed = journey.holds.get("may_hold", {}).get("attributes", {})
        settled = {}
        for name, person in self.people.items():
            attributes = dict(person["attributes"])
            for attribute, value in allowed.items():
                assert attributes.pop(attribute, value) == value
            settled[name] = {"email": person["email"], "attributes": attributes}
        return settled

    def crash(self, changelog: list[tuple[bytes, bytes | None]]) -> None:
        """Lose all but what the changelog has; what Customer.io took stays."""
        self.store = MemoryStore(began_at_ms=self.store.began_at_ms)
        for key, value in changelog:
            self.store.put(key, value)

    @property
    def people(self) -> dict[str, dict[str, Any]]:
        """Every person by id or address, as `email` and `attributes`."""
        return {
            person.id or str(person.email): {"email": person.email, "attributes": person.attributes}
            for person in self.workspace.people
        }

    @property
    def events(self) -> Counter[str]:
        """How often each event is on the timelines."""
        return Counter(event.name for event in self.workspace.events)


@pytest.fixture
def new_world() -> Callable[[], World]:
    """Builder of a workspace and an empty state under the default policy, from before anything began."""
    return lambda: World(Policy(), MemoryStore())


@pytest.fixture
def record_of() -> Callable[[Any], Webhook]:
    """The record in which a delivery of the simulated shop lies."""
    return recorded


@pytest.fixture
def expand() -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Attributes of a file in the forms in which they are sent."""
    return expanded


@pytest.fixture
def holdings(expand: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[Journey], dict[str, Any]]:
    """The people whom a journey's end must show."""

    def of(journey: Journey) -> dict[str, Any]:
        return {
            name: {"email": person["email"], "attributes": expand(person["attributes"])}
            for name, person in journey.holds["people"].items()
        }

    return of


PATHS = sorted(DATA.glob("*.yaml"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that asks for a `journey` runs for each."""
    if "journey" in metafunc.fixturenames:
        metafunc.parametrize("journey", PATHS, indirect=True, ids=lambda path: path.stem)


@pytest.fixture
def journey(request: pytest.FixtureRequest) -> Journey:
    """One journey after the other."""
    path: Path = request.param
    return journey_at(path)


@pytest.fixture
def read_journey() -> Callable[[Path], Journey]:
    """Reads the journey of a file."""
    return journey_at
