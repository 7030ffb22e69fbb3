"""The line on the terminal says what happened."""

from __future__ import annotations

from pipeline.customerio.sandbox import SandboxConfig
from pipeline.customerio.sandbox.processing import Parsed, process
from pipeline.customerio.sandbox.run import ANY, environment, summary
from pipeline.customerio.sandbox.state import Sandbox

EVENT = {
    "type": "person",
    "identifiers": {"id": "cus_1"},
    "action": "event",
    "name": "x",
    "id": "01ARZ3NDEKTSV4RRFFQ69G5FAV",
}


async def test_summary_counts() -> None:
    """Requests, accepted, refused, absorbed, people and events in one line; throttling only when there was some."""
    sandbox = Sandbox(SandboxConfig())
    request = sandbox.requests.arrive("POST", "/api/v2/batch", 0)
    process(sandbox, request, Parsed([EVENT, EVENT, {"type": "person"}]))
    counted = "1 refused · 1 duplicates absorbed"
    assert summary(sandbox) == f"1 requests · 2 operations accepted · {counted} · 1 people · 1 events"
    sandbox.requests.answered(request, 429, 1.0)
    shown = summary(sandbox, 1234.5)
    assert shown == f"1 requests · 2 operations accepted · 1,234/s · {counted} · 1 throttled · 1 people · 1 events"


def test_environment_names_what_is_accepted() -> None:
    """The printed credentials are those that are taken."""
    assert environment("http://x", SandboxConfig(site_id="s"))["PIPELINE_CUSTOMERIO_SITE_ID"] == "s"
    assert environment("http://x", SandboxConfig())["PIPELINE_CUSTOMERIO_API_KEY"] == ANY


def test_environment_does_not_repeat_a_given_key() -> None:
    """A key that the caller gave is not printed: the output may be somebody's log."""
    assert "k" not in environment("http://x", SandboxConfig(site_id="s", api_key="k")).values()
