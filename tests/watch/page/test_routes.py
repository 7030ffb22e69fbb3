"""The page over HTTP: what it answers, and what it lets nobody do."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from pipeline.watch.health import Health
from pipeline.watch.metrics import Metrics
from pipeline.watch.page.document import Look, StageDocument, Words
from pipeline.watch.page.own import Own
from pipeline.watch.page.peers import Peers
from pipeline.watch.page.routes import Page
from pipeline.watch.server import HealthServer
from pipeline.watch.vitals import Verdict
from tests.asking import local_client
from tests.watch.page.building import YES, look

HOSTILE = "</script><img src=x onerror=alert(1)>"
PATHS = ("/", "/page.json", "/stage.json")


@asynccontextmanager
async def served(reason: str = "fine") -> AsyncIterator[httpx.AsyncClient]:
    """A client of a page that stands beside the probes of a real server."""

    async def seen() -> Look:
        return look(ready=Verdict(ok=True, reason=reason), words=Words(reads="operations"))

    page = Page(Own("sink", seen).document, Peers(()))
    health = Health(Metrics("sink"), ready=lambda: YES, live=lambda: YES)
    server = HealthServer("127.0.0.1", 0, health, page.routes())
    await server.start()
    try:
        async with local_client(f"http://127.0.0.1:{server.bound_port}") as client:
            yield client
    finally:
        await server.stop()


async def test_it_stands_beside_the_probes() -> None:
    """One port has both; the page's figures are a picture, and a peer's are a document that can be read."""
    async with served() as client:
        assert (await client.get("/live")).status_code == 200
        assert (await client.get("/")).headers["content-type"] == "text/html; charset=utf-8"
        drawn = (await client.get("/page.json")).json()
        document = StageDocument.model_validate_json((await client.get("/stage.json")).content)
    assert (drawn["stage"], drawn["topics"]["sink"]["name"]) == ("sink", "operations")
    assert document.stage == "sink"


@pytest.mark.parametrize("path", PATHS)
async def test_it_can_be_read_only(path: str) -> None:
    """HEAD is answered without a body, and nothing else than GET and HEAD is taken."""
    async with served() as client:
        read = await client.get(path)
        head = await client.head(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-type"] == read.headers["content-type"]
        for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
            answer = await client.request(method, path)
            assert answer.status_code == 405
            assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}


@pytest.mark.parametrize("path", PATHS)
async def test_headers(path: str) -> None:
    """Nothing of it is kept, guessed, framed, sent on or read by another site's page."""
    async with served() as client:
        headers = (await client.get(path, headers={"origin": "https://example.com"})).headers
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert not [name for name in headers if name.startswith("access-control-") or name == "set-cookie"]


async def test_the_policy_allows_only_the_pages_own_script_and_style() -> None:
    """The digests are those of what stands in the page, and it names nothing from elsewhere."""
    async with served() as client:
        answer = await client.get("/")
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    for tag in ("script", "style"):
        (inside,) = re.findall(f"<{tag}>(.*?)</{tag}>", answer.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert policy.pop(f"{tag}-src") == f"'sha256-{digest}'"
    assert policy == {
        "default-src": "'none'", "connect-src": "'self'", "base-uri": "'none'", "form-action": "'none'",
        "frame-ancestors": "'none'",
    }  # fmt: skip
    assert not re.search(r"https?:|//[a-z]|url\(|innerHTML|outerHTML|insertAdjacent| style=| on[a-z]+=", answer.text)


async def test_what_comes_from_outside_is_in_no_markup() -> None:
    """The page is the same bytes whatever happens; what happens is JSON, which a browser does not take for a page."""
    async with served(HOSTILE) as hostile, served() as plain:
        assert (await hostile.get("/")).content == (await plain.get("/")).content
        answer = await hostile.get("/page.json")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["processes"][0]["ready_reason"] == HOSTILE


async def test_a_query_changes_nothing() -> None:
    """Nobody can have the stage ask an address, or anything else, by what stands in a URL."""
    async with served() as client:
        answer = await client.get("/page.json?peers=sink=127.0.0.1:1&url=http://127.0.0.1:1/", headers={"host": "a.b"})
    assert answer.status_code == 200
    assert answer.json()["unnamed"] == ["ingest", "transform"]
