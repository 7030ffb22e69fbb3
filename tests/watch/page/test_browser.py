"""The page in a real browser, of a chain with real traffic: one chain and one session, looked at in turn.

`STATUS_PICTURES=docs/status` keeps the pictures that docs/status.md shows.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import httpx
import pytest

from pipeline.demo.chain import Chain
from pipeline.dodo.samples import load
from pipeline.dodo.signature import sign
from pipeline.kafka.cluster.lag_reader import read_lag
from tests.asking import local_client
from tests.kafka.shared import SharedKafka
from tests.watch.page.browser import CHROMIUM, DRIVER, PATIENCE_S, SPACE, TAB, Browser, browsing

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.skipif(
        CHROMIUM is None or DRIVER is None, reason="no browser (Debian: apt-get install chromium chromium-driver)"
    ),
]

AXE: Final = (Path(__file__).parents[2] / "data" / "axe" / "axe.min.js").read_text(encoding="utf-8")
RULES: Final = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")

HOSTILE: Final = "<b id=hostile>"
"""A type that somebody made up; what it becomes is a dead letter."""

Looks = Literal["desktop-light", "desktop-dark", "phone"]
SIZES: Final[Mapping[Looks, tuple[int, int, Literal["light", "dark"]]]] = {
    "desktop-light": (1200, 900, "light"),
    "desktop-dark": (1200, 900, "dark"),
    "phone": (390, 844, "light"),
}

PICTURE_HEIGHT: Final = 1200
"""Of those that are kept: what comes below is more of the same."""

SNAPSHOT: Final = """{
  places: [...document.querySelectorAll('#flow > li')].map(li => [li.id, li.innerText]),
  events: [...document.querySelectorAll('#events tr')].map(row => [...row.cells].map(cell => cell.innerText)),
  letters: [...document.querySelectorAll('#letters tr')].map(row => [...row.cells].map(cell => cell.innerText)),
  troubles: [...document.querySelectorAll('#troubles li')].map(li => li.innerText),
  injected: document.querySelectorAll('#hostile').length,
  title: document.title,
}"""
"""What is to be seen, all at one time: on a busy machine a peer may answer too late, and is there at the next look."""

ALL_THREE: Final = "document.querySelectorAll('#processes tr').length === 3"

DELIVERED: Final = """
  document.querySelectorAll('#letters tr').length === 2
  && /\\b[4-9] so far/.test(document.getElementById('sink').innerText)
  && ['webhooks', 'operations'].every(id => document.getElementById(id).innerText.includes('0 waiting'))
  && ['ingest', 'transform', 'sink'].every(id => document.getElementById(id).innerText.includes('✓ Flows'))
  && [...document.querySelectorAll('.place .big')].every(rate => rate.textContent.endsWith(' / s'))
"""

HELD: Final = """
  document.getElementById('sink').innerText.includes('Held back')
  && /\\b[12] waiting/.test(document.getElementById('operations').innerText)
  && document.querySelectorAll('#troubles li').length === 1
"""
"""What a stage says of its records is as old as its last look at the brokers."""

CONNECTION: Final = "document.getElementById('connection')"

MARKED: Final = "document.querySelector('#processes tr:last-child').marked"
"""Of this process, which is there at every look."""


@dataclass
class Seen:
    """What was to be seen, in the order of looking."""

    without_scripts: str = ""
    flowing: dict[str, Any] = field(default_factory=dict)
    unflickered: bool = False
    pages: dict[str, list[str]] = field(default_factory=dict)
    focused: list[str] = field(default_factory=list)
    paused: list[str] = field(default_factory=list)
    held: dict[str, Any] = field(default_factory=dict)
    faults: dict[str, list[str]] = field(default_factory=dict)
    widths: dict[str, list[int]] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)
    failing: str = ""
    broken: str = ""
    kept: dict[str, Any] = field(default_factory=dict)


@pytest.fixture(scope="module")
def seen(kafka: SharedKafka, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """One run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIPELINE_KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap_servers)
        return asyncio.run(_seen(tmp_path_factory.mktemp("browser")))


async def _seen(directory: Path) -> Seen:
    seen = Seen()
    with browsing(directory) as browser:
        async with Chain(directory, partitions=3, say=lambda _: None) as chain, local_client() as client:
            await _traffic(chain, client)
            await asyncio.to_thread(_flowing, browser, chain, seen)
            seen.pages = {
                name: await _stages(client, getattr(chain.addresses, name)) for name in ("probes", "transform")
            }
            await _pausing(browser, chain, client, seen)
            await _held(chain, client)
            await asyncio.to_thread(_looks, browser, seen)
        await asyncio.to_thread(_broken, browser, seen)
    return seen


# --- what is done to the chain ---------------------------------------------------------------------------------------


async def _traffic(chain: Chain, client: httpx.AsyncClient) -> None:
    """Three payments, one of a person whom Customer.io refuses; a made-up type, and a request that is forged."""
    await _fault(chain, client, {"match": {"person": "cus_refused"}, "refuse_items": "matched", "times": "always"})
    for number, customer in enumerate(("cus_one", "cus_two", "cus_refused")):
        await _post(chain, client, f"msg_{number}", _payment(customer))
    await _post(chain, client, "msg_hostile", _payment("cus_one", type=HOSTILE))
    answer = await client.post(f"{chain.addresses.ingest}/webhooks/dodo", content=b"{}")
    assert answer.status_code == 401


def _payment(customer: str, **fields: str) -> bytes:
    body = json.loads(load("payment.succeeded"))
    body["data"]["customer"] |= {"customer_id": customer, "email": f"{customer}@example.com", "name": "Ann Smith"}
    body["data"]["payment_id"] = f"pay_{customer}"
    return json.dumps({**body, **fields}).encode()


async def _post(chain: Chain, client: httpx.AsyncClient, webhook_id: str, body: bytes) -> None:
    headers = sign(chain.secret, webhook_id, int(time.time()), body)
    answer = await client.post(f"{chain.addresses.ingest}/webhooks/dodo", content=body, headers=headers)
    assert answer.status_code == 200


async def _fault(chain: Chain, client: httpx.AsyncClient, step: dict[str, Any]) -> None:
    answer = await client.post(f"{chain.addresses.sandbox}/__sandbox/faults", json=[step])
    assert answer.is_success, answer.text


async def _held(chain: Chain, client: httpx.AsyncClient) -> None:
    """From here on Customer.io takes no key; what came before is delivered, so that one payment alone waits."""
    async with asyncio.timeout(PATIENCE_S):
        while any(row.records != 0 for row in await read_lag(chain.settings)):  # noqa: ASYNC110 - a question
            await asyncio.sleep(0.05)
    await _fault(chain, client, {"status": 401, "times": "always", "match": {"path": "/api/v2/batch"}})
    await _post(chain, client, "msg_held", _payment("cus_held"))


async def _stages(client: httpx.AsyncClient, url: str) -> list[str]:
    """The stages whose processes a page shows, once all of them have answered it in time."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            found = [one["stage"] for one in (await client.get(f"{url}/page.json")).json()["processes"]]
            if len(set(found)) == 3:
                return found
            await asyncio.sleep(0.1)


# --- what is looked at -----------------------------------------------------------------------------------------------


def _snapshot(browser: Browser, condition: str) -> dict[str, Any]:
    """What is to be seen as soon as the condition is met."""
    found: dict[str, Any] = browser.until(f"{condition} && {SNAPSHOT}")
    return {**found, "places": dict(found["places"])}


def _flowing(browser: Browser, chain: Chain, seen: Seen) -> None:
    browser.look(*SIZES["desktop-light"])
    browser.scripts(on=False)
    browser.open(f"{chain.addresses.sink}/")
    seen.without_scripts = browser.run("return document.body.innerText")
    browser.scripts(on=True)
    browser.open(f"{chain.addresses.sink}/")
    # All three stages, the dead letters of two of them, and every operation of both customers.
    seen.flowing = _snapshot(browser, f"{ALL_THREE} && {DELIVERED}")
    browser.run(f"{MARKED} = true")
    before = browser.run("return document.getElementById('updated').textContent")
    browser.until("document.getElementById('updated').textContent !== arguments[0]", before)
    seen.unflickered = browser.run(f"return {MARKED} === true")


async def _pausing(browser: Browser, chain: Chain, client: httpx.AsyncClient, seen: Seen) -> None:
    """By keyboard alone: paused, the page stays as it is while more comes; then it goes on."""

    def state() -> str:
        return str(browser.run("return document.getElementById('pause').getAttribute('aria-pressed')"))

    browser.press(TAB)
    seen.focused.append(browser.run("return document.activeElement.id"))
    browser.press(SPACE)
    seen.paused.append(state())
    await _post(chain, client, "msg_meanwhile", _payment("cus_three"))
    async with asyncio.timeout(PATIENCE_S):
        while "msg_meanwhile" not in (await client.get(f"{chain.addresses.probes}/page.json")).text:  # noqa: ASYNC110 - a question
            await asyncio.sleep(0.05)
    shown = "document.getElementById('events').innerText.includes('msg_meanwhile')"
    seen.paused.append(str(browser.run(f"return {shown}")))
    browser.press(SPACE)
    seen.paused.append(state())
    await asyncio.to_thread(browser.until, shown)
    for _ in range(4):
        browser.press(TAB)
        seen.focused.append(browser.run("return document.activeElement.getAttribute('aria-labelledby')"))


def _looks(browser: Browser, seen: Seen) -> None:
    seen.held = _snapshot(browser, f"{ALL_THREE} && {HELD}")
    kept = os.environ.get("STATUS_PICTURES")
    browser.run(AXE)
    for name, (width, height, scheme) in SIZES.items():
        browser.look(width, height, scheme)
        seen.widths[name] = browser.run("return [document.documentElement.scrollWidth, window.innerWidth]")
        found = browser.run("return axe.run(document, {runOnly: arguments[0]}).then(found => found.violations)", RULES)
        seen.faults[name] = [f"{one['id']}: {node['html']}" for one in found for node in one["nodes"]]
        if kept:
            browser.picture(Path(kept) / f"{name}.png", width, PICTURE_HEIGHT)
    seen.complaints = browser.complaints()
    browser.run("window.real = window.fetch; window.fetch = async () => new Response('', {status: 500})")
    browser.until(f"!{CONNECTION}.hidden")
    seen.failing = browser.run(f"return {CONNECTION}.innerText")
    browser.run("window.fetch = window.real")
    browser.until(f"{CONNECTION}.hidden")


def _broken(browser: Browser, seen: Seen) -> None:
    """The chain has ended."""
    browser.until(f"!{CONNECTION}.hidden")
    seen.broken = browser.run(f"return {CONNECTION}.innerText")
    seen.kept = _snapshot(browser, "true")["places"]


# --- the promises ----------------------------------------------------------------------------------------------------


def test_the_flow_is_drawn(seen: Seen) -> None:
    """Each place of the way, with what it did and what waits before it."""
    places = seen.flowing["places"]
    assert list(places) == ["ingest", "webhooks", "transform", "operations", "sink", "customerio"]
    for stage in ("ingest", "transform", "sink"):
        assert "✓ Flows" in places[stage]
        assert "/ s" in places[stage]
    assert "1 forged" in places["ingest"]
    assert "4 so far" in places["ingest"]
    for topic, name in (("webhooks", "dodo.webhooks"), ("operations", "customerio.operations")):
        assert name in places[topic]
        assert "0 waiting" in places[topic]
        assert "3 partitions" in places[topic]
    assert "of 100 requests / s" in places["customerio"]
    assert seen.flowing["title"] == "sink · flows"


def test_dead_letters_have_their_command(seen: Seen) -> None:
    """By class, with the stage that gave them up."""
    found = {row[0]: (row[2], row[3]) for row in seen.flowing["letters"]}
    assert found == {
        "refused": ("sink", "dodo-cio dlq list --class refused"),
        "unknown-type": ("transform", "dodo-cio dlq list --class unknown-type"),
    }


def test_the_last_events_tell_nothing_of_a_person(seen: Seen) -> None:
    """Types, outcomes and ids of all three stages; what a sender writes is text, never markup."""
    assert {row[1] for row in seen.flowing["events"]} == {"ingest", "transform", "sink"}
    text = json.dumps(seen.flowing["events"])
    assert "msg_1" in text
    assert "payment_completed" in text
    assert "@" not in text
    assert "Ann" not in text
    assert HOSTILE in text
    assert seen.flowing["injected"] == 0


def test_nothing_flickers(seen: Seen) -> None:
    """What is still the same keeps its node when the page looks again."""
    assert seen.unflickered


def test_every_page_shows_every_stage(seen: Seen) -> None:
    """Those of ingest and transform as well, each process once."""
    stages = ["ingest", "transform", "sink"]
    assert seen.pages == {"probes": stages, "transform": stages}


def test_a_hold_is_said_in_words(seen: Seen) -> None:
    """At its stage, and among what to look at with what to do; the title of a tab that nobody looks at says it too."""
    places = seen.held["places"]
    assert "Held back" in places["sink"]
    assert "1 waiting" in places["operations"] or "2 waiting" in places["operations"]
    (said,) = seen.held["troubles"]
    assert "Customer.io refuses the credentials" in said
    assert "dodo-cio doctor" in said
    assert seen.held["title"] == "sink · 1 to look at"


def test_it_can_be_used_by_keyboard(seen: Seen) -> None:
    """The first stop pauses it and lets it go on, the next ones are what can be scrolled."""
    assert seen.focused == ["pause", "letters-title", "processes-title", "events-title", None]
    assert seen.paused == ["true", "False", "false"]


@pytest.mark.parametrize("look", SIZES)
def test_everybody_can_read_it(seen: Seen, look: Looks) -> None:
    """Contrast, names and structure by the rules of axe-core; nothing is wider than the screen."""
    assert seen.faults[look] == []
    wide, screen = seen.widths[look]
    assert wide <= screen


def test_the_browser_has_nothing_to_complain_of(seen: Seen) -> None:
    """No violation of the policy, no error of a script."""
    assert seen.complaints == []


def test_without_scripts_it_says_what_to_do(seen: Seen) -> None:
    """Where the same is told."""
    assert "Pause" not in seen.without_scripts
    for word in ("JavaScript", "/status", "/metrics", "dodo-cio doctor", "dodo-cio lag"):
        assert word in seen.without_scripts


def test_a_broken_connection_is_said(seen: Seen) -> None:
    """With how old is what it shows, which stays; a process that answers with a fault is not one that has ended."""
    assert seen.failing.startswith("This process answers 500: its log says why.")
    assert seen.broken.startswith("No answer from this process")
    assert " s old" in seen.broken
    assert "Held back" in seen.kept["sink"]
