"""The right host is found, remembered, and no other gets the credentials."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from pipeline.customerio.client import TrackClient
from pipeline.customerio.workspace import HOSTS, REMEMBERED_S, Workspace, credentials, find, resolve, try_batches
from pipeline.errors import CredentialError, DeliveryError, SettingsError
from pipeline.settings import Settings

Answer = Callable[[httpx.Request], httpx.Response]

NOW_S = 1_792_567_680.0


class CustomerIo(httpx.AsyncBaseTransport):
    """Both hosts of Customer.io; records who was asked."""

    def __init__(self, answer: Answer, site_id: str = "site") -> None:
        self.answer = answer
        self.credentials = f"{site_id}:key".encode()
        self.asked: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer as the test says."""
        self.asked.append(f"{request.url.scheme}://{request.url.host}")
        assert request.url.path == "/api/v1/accounts/region"
        assert request.headers["authorization"] == "Basic " + base64.b64encode(self.credentials).decode()
        return self.answer(request)


def in_region(region: str, site_id: str = "site") -> CustomerIo:
    """A workspace of `region`; either host says so."""
    answer = {"url": HOSTS.get(region, ""), "region": region, "environment_id": 3}
    return CustomerIo(lambda _: httpx.Response(200, json=answer), site_id)


def settings(tmp_path: Path, **changes: Any) -> Settings:
    """Settings with credentials and a data directory that does not exist yet."""
    return Settings.load(
        **{"customerio_site_id": "site", "customerio_api_key": SecretStr("key"), "data_dir": tmp_path / "data"}
        | changes
    )


@pytest.mark.parametrize("region", ["us", "eu"])
async def test_auto_asks_the_us_host(tmp_path: Path, region: str) -> None:
    """`auto` asks once and sends where the workspace lives."""
    customerio = in_region(region)
    assert await resolve(settings(tmp_path), transport=customerio) == HOSTS[region]
    assert customerio.asked == [HOSTS["us"]]


async def test_an_answer_is_remembered_for_a_day(tmp_path: Path) -> None:
    """Restarts do not ask again; after a day one does."""
    customerio = in_region("eu")
    for now_s in (NOW_S, NOW_S + 1, NOW_S + REMEMBERED_S - 1):
        assert await resolve(settings(tmp_path), transport=customerio, now_s=now_s) == HOSTS["eu"]
    assert len(customerio.asked) == 1
    await resolve(settings(tmp_path), transport=customerio, now_s=NOW_S + REMEMBERED_S)
    assert len(customerio.asked) == 2


async def test_another_workspace_is_asked_for(tmp_path: Path) -> None:
    """What is remembered belongs to one site id, which its file name does not show."""
    await resolve(settings(tmp_path), transport=in_region("eu"))
    other = settings(tmp_path, customerio_site_id="other")
    customerio = in_region("us", site_id="other")
    assert await resolve(other, transport=customerio) == HOSTS["us"]
    assert customerio.asked == [HOSTS["us"]]
    names = [path.name for path in (tmp_path / "data").iterdir()]
    assert len(names) == 2
    assert not any("site" in name or "other" in name for name in names)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"region":"mars"}', b'{"url":"https://evil.example.com"}'])
async def test_a_damaged_memory_is_asked_anew(tmp_path: Path, text: bytes) -> None:
    """What cannot be read is asked for again, and no file can name a host of its own."""
    customerio = in_region("eu")
    await resolve(settings(tmp_path), transport=customerio)
    (memory,) = (tmp_path / "data").iterdir()
    memory.write_bytes(text)
    assert await resolve(settings(tmp_path), transport=customerio) == HOSTS["eu"]
    assert len(customerio.asked) == 2
    assert [path.name for path in (tmp_path / "data").iterdir()] == [memory.name]


async def test_a_read_only_disk_only_costs_the_memory(tmp_path: Path) -> None:
    """Without a place to remember, each start asks."""
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    customerio = in_region("us")
    for _ in range(2):
        assert await resolve(settings(tmp_path, data_dir=blocked / "data"), transport=customerio) == HOSTS["us"]
    assert len(customerio.asked) == 2


async def test_an_own_address_wins(tmp_path: Path) -> None:
    """PIPELINE_CUSTOMERIO_URL is taken as it is and nothing is asked."""
    customerio = in_region("eu")
    given = settings(tmp_path, customerio_url="http://127.0.0.1:9/", customerio_region="us")
    assert await resolve(given, transport=customerio) == "http://127.0.0.1:9"
    assert customerio.asked == []


@pytest.mark.parametrize(("configured", "lives_in"), [("us", "eu"), ("eu", "us")])
async def test_the_wrong_region_is_told(tmp_path: Path, configured: str, lives_in: str) -> None:
    """A region that is not the workspace's stops the start and says what to set, now and from memory."""
    customerio = in_region(lives_in)
    for _ in range(2):
        with pytest.raises(
            CredentialError, match=rf"lives in .* {lives_in} .*PIPELINE_CUSTOMERIO_REGION is {configured}"
        ):
            await resolve(settings(tmp_path, customerio_region=configured), transport=customerio)
    assert customerio.asked == [HOSTS[configured]]


@pytest.mark.parametrize("region", ["us", "eu"])
async def test_the_right_region_is_confirmed(tmp_path: Path, region: str) -> None:
    """A region that is the workspace's is asked at its own host."""
    customerio = in_region(region)
    assert await resolve(settings(tmp_path, customerio_region=region), transport=customerio) == HOSTS[region]
    assert customerio.asked == [HOSTS[region]]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_names_the_region(tmp_path: Path, status: int) -> None:
    """A redirect to the other published host is read as its region, and not followed."""
    customerio = CustomerIo(
        lambda _: httpx.Response(status, headers={"location": f"{HOSTS['eu']}/api/v1/accounts/region"})
    )
    assert await resolve(settings(tmp_path), transport=customerio) == HOSTS["eu"]
    assert customerio.asked == [HOSTS["us"]]


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("region", ["us", "auto"])
async def test_refused_credentials_name_the_settings(tmp_path: Path, status: int, region: str) -> None:
    """A refused key stops the start and names both variables, never their values, and is not remembered."""
    with pytest.raises(CredentialError, match=r"PIPELINE_CUSTOMERIO_SITE_ID.*PIPELINE_CUSTOMERIO_API_KEY") as caught:
        await resolve(
            settings(tmp_path, customerio_region=region), transport=CustomerIo(lambda _: httpx.Response(status))
        )
    assert str(status) in str(caught.value)
    assert not (tmp_path / "data").exists()


UNUSABLE: dict[str, Answer] = {
    "outage": lambda _: httpx.Response(503),
    "html": lambda _: httpx.Response(200, html="<html>"),
    "mars": lambda _: httpx.Response(200, json={"region": "mars"}),
    "elsewhere": lambda _: httpx.Response(301, headers={"location": "https://evil.example.com/"}),
    "nowhere": lambda _: httpx.Response(301),
}


def unreachable(_: httpx.Request) -> httpx.Response:
    """No connection."""
    raise httpx.ConnectError("refused")


@pytest.mark.parametrize("answer", [*UNUSABLE.values(), unreachable], ids=[*UNUSABLE, "unreachable"])
async def test_an_outage_stops_only_who_must_ask(
    tmp_path: Path, answer: Callable[[httpx.Request], httpx.Response]
) -> None:
    """Without a usable answer `auto` cannot start; a configured region can, and so can a remembered one."""
    customerio = CustomerIo(answer)
    with pytest.raises(DeliveryError):
        await resolve(settings(tmp_path), transport=customerio)
    assert await resolve(settings(tmp_path, customerio_region="eu"), transport=customerio) == HOSTS["eu"]
    await resolve(settings(tmp_path), transport=in_region("eu"), now_s=NOW_S)
    later_s = NOW_S + 2 * REMEMBERED_S
    assert await resolve(settings(tmp_path), transport=customerio, now_s=later_s) == HOSTS["eu"]


@pytest.mark.parametrize(
    ("missing", "named"),
    [
        ({"customerio_site_id": None}, ["SITE_ID"]),
        ({"customerio_site_id": "  "}, ["SITE_ID"]),
        ({"customerio_api_key": None}, ["API_KEY"]),
        ({"customerio_api_key": SecretStr("")}, ["API_KEY"]),
        ({"customerio_site_id": None, "customerio_api_key": None}, ["SITE_ID", "API_KEY"]),
    ],
)
def test_missing_credentials_are_named(tmp_path: Path, missing: dict[str, Any], named: list[str]) -> None:
    """Each missing variable is named, and only those."""
    with pytest.raises(SettingsError) as caught:
        credentials(settings(tmp_path, **missing))
    assert [name for name in ("SITE_ID", "API_KEY") if f"PIPELINE_CUSTOMERIO_{name}" in str(caught.value)] == named


async def test_find_tells_the_workspace() -> None:
    """The region endpoint's answer is kept with the workspace's number."""
    async with TrackClient(HOSTS["us"], "site", "key", transport=in_region("us")) as client:
        assert await find(client) == Workspace("us", 3)


@pytest.mark.parametrize(("status", "means"), [(200, True), (400, True), (404, False), (500, False)])
async def test_a_batch_of_nothing_shows_whether_the_key_is_taken(status: int, means: bool) -> None:
    """200 and 400 answer the credentials; any other status says nothing about them."""
    transport = httpx.MockTransport(lambda _: httpx.Response(status, json={}))
    async with TrackClient("https://track.example.com", "site", "key", transport=transport) as client:
        assert await try_batches(client) is means


@pytest.mark.parametrize(("status", "words"), [(401, "401"), (403, "403"), (308, "not to a host of Customer")])
async def test_a_batch_of_nothing_that_is_refused(status: int, words: str) -> None:
    """A refused key and a redirect are errors that a person must mend."""
    transport = httpx.MockTransport(lambda _: httpx.Response(status, headers={"location": "https://example.com"}))
    async with TrackClient("https://track.example.com", "site", "key", transport=transport) as client:
        with pytest.raises(CredentialError, match=words):
            await try_batches(client)
