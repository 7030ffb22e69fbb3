"""The connection at start."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipeline.customerio.client import TrackClient
from pipeline.errors import CredentialError, RedirectedError, SettingsError
from pipeline.settings import Settings
from pipeline.sink.connection import connect

Virtual = Callable[[Any], Any]
US, EU = "https://track.customer.io", "https://track-eu.customer.io"


def settings_for(tmp_path: Path, **overrides: Any) -> Settings:
    """Settings with credentials."""
    return Settings.load(
        **{"customerio_site_id": "site", "customerio_api_key": "key", "data_dir": tmp_path, **overrides}
    )


class Api:
    """Answers each question for the region with the next of a list, the last one for ever."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []
        self.waited_for: list[str | None] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        self.asked.append(str(request.url))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer.status_code, content=answer.content, headers=answer.headers)

    async def connect(self, settings: Settings, stopping: Callable[[], bool] = lambda: False) -> TrackClient | None:
        """Connect through this API."""
        transport = httpx.MockTransport(self)
        client = await connect(settings, waits_for=self.waited_for.append, stopping=stopping, transport=transport)
        if client is not None:
            await client.aclose()
        return client


def lives_in(region: str) -> httpx.Response:
    """The region endpoint's answer."""
    return httpx.Response(200, json={"url": "x", "region": region, "environment_id": 1})


DOWN = httpx.ConnectError("refused")


def test_region_is_asked_for(virtual: Virtual, tmp_path: Path) -> None:
    """Without an address the workspace's own region decides."""
    client = virtual(Api(lives_in("eu")).connect(settings_for(tmp_path)))
    assert client.base_url == EU


@pytest.mark.parametrize("override", [{}, {"customerio_url": "http://stand-in"}])
def test_refused_credentials(virtual: Virtual, tmp_path: Path, override: dict[str, str]) -> None:
    """Credentials that are refused at start end it, also at an address of one's own."""
    with pytest.raises(CredentialError, match="PIPELINE_CUSTOMERIO_SITE_ID"):
        virtual(Api(httpx.Response(401)).connect(settings_for(tmp_path, **override)))


def test_other_region(virtual: Virtual, tmp_path: Path) -> None:
    """An address of the region in which the workspace does not live ends the start, and names the right one."""
    with pytest.raises(CredentialError, match="track-eu"):
        virtual(Api(lives_in("eu")).connect(settings_for(tmp_path, customerio_url=US)))


def test_missing_credentials(virtual: Virtual, tmp_path: Path) -> None:
    """A missing key is a fault of the settings, named, whatever Customer.io would say."""
    with pytest.raises(SettingsError, match="PIPELINE_CUSTOMERIO_API_KEY"):
        virtual(Api(DOWN).connect(settings_for(tmp_path, customerio_api_key=None)))


@pytest.mark.parametrize("status", [404, 405, 503])
def test_address_without_the_endpoint(virtual: Virtual, tmp_path: Path, status: int) -> None:
    """A proxy or stand-in that knows no regions is taken as it is."""
    client = virtual(Api(httpx.Response(status)).connect(settings_for(tmp_path, customerio_url="http://stand-in/x/")))
    assert client.base_url == "http://stand-in/x"


@pytest.mark.parametrize("override", [{}, {"customerio_url": "http://stand-in"}])
def test_outage(virtual: Virtual, tmp_path: Path, override: dict[str, str]) -> None:
    """An outage is waited for, with its reason told and the end of it too; never asked more than every few seconds."""
    api = Api(DOWN, DOWN, DOWN, lives_in("us"))

    async def scenario() -> float:
        assert await api.connect(settings_for(tmp_path, **override)) is not None
        return asyncio.get_running_loop().time()

    assert virtual(scenario()) == pytest.approx(5 + 10 + 20, abs=1)
    *reasons, last = api.waited_for
    assert len(reasons) == 3
    assert all("did not answer" in str(reason) for reason in reasons)
    assert last is None


def test_stop_while_waiting(virtual: Virtual, tmp_path: Path) -> None:
    """A start that waits ends when the process is to stop."""

    async def scenario() -> float:
        loop = asyncio.get_running_loop()
        api = Api(DOWN)
        assert await api.connect(settings_for(tmp_path), stopping=lambda: loop.time() > 100) is None
        return loop.time()

    assert virtual(scenario()) == pytest.approx(100, abs=1)


class Host:
    """An address that may know no regions, and what it answers to batches; keeps the bodies."""

    def __init__(self, region: httpx.Response, batch: httpx.Response) -> None:
        self.region = region
        self.batch = batch
        self.bodies: list[bytes] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        if request.url.path.endswith("/api/v2/batch"):
            self.bodies.append(request.content)
            answer = self.batch
        else:
            answer = self.region
        return httpx.Response(answer.status_code, content=answer.content, headers=answer.headers)

    async def connect(self, settings: Settings) -> str:
        """The address of a connection to it."""
        transport = httpx.MockTransport(self)
        client = await connect(settings, waits_for=lambda _: None, stopping=lambda: False, transport=transport)
        assert client is not None
        await client.aclose()
        return client.base_url


NO_REGIONS = httpx.Response(404)
ELSEWHERE = httpx.Response(301, headers={"Location": "https://track-eu.customer.io/api/v2/batch"})


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (httpx.Response(401), "PIPELINE_CUSTOMERIO_API_KEY"),
        (httpx.Response(403), "PIPELINE_CUSTOMERIO_API_KEY"),
        (ELSEWHERE, "PIPELINE_CUSTOMERIO_REGION"),
    ],
)
def test_address_that_knows_no_regions(virtual: Virtual, tmp_path: Path, answer: httpx.Response, message: str) -> None:
    """Where nobody can say whose the credentials are, a batch without operations shows that they are refused."""
    host = Host(NO_REGIONS, answer)
    with pytest.raises(CredentialError, match=message):
        virtual(host.connect(settings_for(tmp_path, customerio_url="http://stand-in")))
    assert host.bodies == [b'{"batch":[]}']


@pytest.mark.parametrize("status", [200, 400, 404, 429, 503])
def test_a_batch_without_operations_may_be_answered_anyhow(virtual: Virtual, tmp_path: Path, status: int) -> None:
    """What Customer.io says to an empty batch is documented nowhere; only a refusal of the key ends the start."""
    host = Host(NO_REGIONS, httpx.Response(status))
    assert virtual(host.connect(settings_for(tmp_path, customerio_url="http://stand-in"))) == "http://stand-in"


def test_withdrawn_since_the_region_was_asked(virtual: Virtual, tmp_path: Path) -> None:
    """The region is remembered for a day, the key is not: one that was withdrawn since ends the next start."""
    host = Host(lives_in("eu"), httpx.Response(400))
    assert virtual(host.connect(settings_for(tmp_path))) == EU
    host.region, host.batch = httpx.Response(500), httpx.Response(401)
    with pytest.raises(CredentialError, match="PIPELINE_CUSTOMERIO_API_KEY"):
        virtual(host.connect(settings_for(tmp_path)))


REGION_BY_REDIRECT = httpx.Response(301, headers={"Location": "https://track-eu.customer.io/api/v1/accounts/region"})
RIGHT = "PIPELINE_CUSTOMERIO_URL lead to https://track-eu"


@pytest.mark.parametrize("region", [lives_in("eu"), REGION_BY_REDIRECT, NO_REGIONS])
def test_an_address_that_leads_to_the_other_region(virtual: Virtual, tmp_path: Path, region: httpx.Response) -> None:
    """It ends the start before the group is joined, although it may know where the workspace lives."""
    host = Host(region, ELSEWHERE)

    async def scenario() -> float:
        with pytest.raises(CredentialError, match=RIGHT):
            await host.connect(settings_for(tmp_path, customerio_url="http://stand-in"))
        return asyncio.get_running_loop().time()

    assert virtual(scenario()) < 1
    assert host.bodies == [b'{"batch":[]}']


def test_batches_that_hang_behind_an_address_that_answers(virtual: Virtual, tmp_path: Path) -> None:
    """The key was taken and nothing leads elsewhere: no reason to stay away from the group."""
    api = Api(lives_in("us"), DOWN)
    client = virtual(api.connect(settings_for(tmp_path, customerio_url="http://stand-in")))
    assert client.base_url == "http://stand-in"
    assert api.waited_for == [None]


LOGIN = httpx.Response(302, headers={"Location": "https://login.example.com/?to=track"})


@pytest.mark.parametrize("portal", [LOGIN, httpx.Response(307), httpx.Response(301, headers={"Location": "http://[x"})])
def test_a_proxy_s_page_of_a_moment(virtual: Virtual, tmp_path: Path, portal: httpx.Response) -> None:
    """It is waited for, with its reason told, since nothing about the settings is wrong."""
    api = Api(lives_in("us"), portal, lives_in("us"), portal, lives_in("us"))
    client = virtual(api.connect(settings_for(tmp_path, customerio_url="http://stand-in")))
    assert client.base_url == "http://stand-in"
    *reasons, last = api.waited_for
    assert len(reasons) == 2
    assert all("redirects batches" in str(reason) for reason in reasons)
    assert last is None


def test_a_proxy_s_page_that_stays(virtual: Virtual, tmp_path: Path) -> None:
    """After half a minute it is a fault of the settings."""
    host = Host(NO_REGIONS, LOGIN)

    async def scenario() -> float:
        with pytest.raises(RedirectedError, match=r"not to a host of Customer\.io's"):
            await host.connect(settings_for(tmp_path, customerio_url="http://stand-in"))
        return asyncio.get_running_loop().time()

    assert virtual(scenario()) == pytest.approx(5 + 10 + 20, abs=1)
    assert RedirectedError.exit_code == 2


def test_an_address_that_knows_regions(virtual: Virtual, tmp_path: Path) -> None:
    """It has checked the key; what it says to a batch without operations ends the start only where it sends us away."""
    host = Host(lives_in("us"), httpx.Response(500))
    assert virtual(host.connect(settings_for(tmp_path, customerio_url="http://stand-in"))) == "http://stand-in"
    assert host.bodies == [b'{"batch":[]}']
