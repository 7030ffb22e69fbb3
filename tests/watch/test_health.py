"""The four routes."""

from __future__ import annotations

import httpx
import pytest

from pipeline import __version__
from pipeline.watch.health import Health
from pipeline.watch.metrics import Metrics
from pipeline.watch.vitals import Verdict


def client_of(health: Health) -> httpx.AsyncClient:
    """A client that talks to the routes without a socket."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=health.app()), base_url="http://probe")


def health_of(*, ready: Verdict, live: Verdict) -> Health:
    """A health with these verdicts and one detail."""
    return Health(Metrics("transform"), ready=lambda: ready, live=lambda: live, status=lambda: {"generation": 7})


YES = Verdict(ok=True, reason="fine")
NO = Verdict(ok=False, reason="the consumer group is rebalancing")


@pytest.mark.parametrize("question", ["live", "ready"])
@pytest.mark.parametrize(("verdict", "status"), [(YES, 200), (NO, 503)])
async def test_probes(question: str, verdict: Verdict, status: int) -> None:
    """A probe answers 200 or 503 with its reason, and no proxy may keep the answer."""
    health = health_of(ready=verdict if question == "ready" else YES, live=verdict if question == "live" else YES)
    async with client_of(health) as client:
        response = await client.get(f"/{question}")
    assert response.status_code == status
    assert response.json() == {question: verdict.ok, "reason": verdict.reason}
    assert response.headers["cache-control"] == "no-store"


async def test_status() -> None:
    """The status holds both verdicts and the details in one answer, always 200: it is for people."""
    async with client_of(health_of(ready=NO, live=YES)) as client:
        response = await client.get("/status")
    assert response.status_code == 200
    assert response.json() == {
        "stage": "transform",
        "version": __version__,
        "ready": False,
        "ready_reason": NO.reason,
        "live": True,
        "live_reason": "fine",
        "generation": 7,
    }


async def test_metrics_in_both_formats() -> None:
    """Prometheus gets its text format, and OpenMetrics when it asks for it."""
    health = health_of(ready=NO, live=YES)
    health.beat()
    async with client_of(health) as client:
        plain = await client.get("/metrics")
        modern = await client.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert plain.headers["content-type"].startswith("text/plain; version=")
    assert "dodo_cio_ready 0.0\n" in plain.text
    assert "dodo_cio_live 1.0\n" in plain.text
    assert f'dodo_cio_build_info{{stage="transform",version="{__version__}"}} 1.0\n' in plain.text
    assert modern.headers["content-type"].startswith("application/openmetrics-text")
    assert modern.text.endswith("# EOF\n")


async def test_nothing_else_is_served() -> None:
    """Other paths and methods are refused."""
    async with client_of(health_of(ready=YES, live=YES)) as client:
        assert (await client.get("/")).status_code == 404
        assert (await client.post("/live")).status_code == 405
