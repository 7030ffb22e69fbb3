"""What the environment says of proxies is used, or named."""

from __future__ import annotations

import sys
from collections.abc import Callable

import httpx
import pytest
from pydantic import SecretStr

from pipeline import cli
from pipeline.customerio.client import TrackClient
from pipeline.dodo.api.client import DodoApi
from pipeline.errors import SettingsError
from pipeline.proxies import fault, heeding

NAMES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")

UNUSABLE = [
    ("HTTPS_PROXY", "socks5://user:hidden@127.0.0.1:1080", "a SOCKS proxy cannot be used here"),
    ("https_proxy", "socks5h://127.0.0.1:1080", "a SOCKS proxy cannot be used here"),
    ("ALL_PROXY", "nonsense://hidden", "this is no address of a proxy"),
    ("HTTP_PROXY", "http://proxy.example.com:hidden", "this is no address of a proxy"),
    ("NO_PROXY", "10.0.0.0/8,::1/128", "its entry 2 is no host name"),
    ("no_proxy", "localhost, kafka:hidden", "its entry 2 is no host name"),
]

CLIENTS: dict[str, Callable[[], object]] = {
    "Customer.io": lambda: TrackClient("https://track.customer.io", "site", "key"),
    "Dodo": lambda: DodoApi("https://live.dodopayments.com", SecretStr("key")),
}


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy is named yet."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(("name", "value", "text"), UNUSABLE)
def test_unusable(client: str, name: str, value: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that cannot be used is a fault of its variable, whose value is not repeated."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"^{name}: {text}") as caught:
        CLIENTS[client]()
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTPS_PROXY", "http://user:pw@proxy.example.com:3128"),
        ("HTTPS_PROXY", "proxy.example.com:3128"),
        ("HTTPS_PROXY", ""),
        ("NO_PROXY", "localhost,127.0.0.1,::1,10.0.0.0/8,.example.com,kafka:9092,*"),
        ("NO_PROXY", "http://inside.example.com, ,"),
    ],
)
def test_usable(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is a fault that the client takes."""
    monkeypatch.setenv(name, value)
    httpx.Client().close()
    assert fault({name: value}) is None


def test_what_is_no_proxys_fault() -> None:
    """Another error of the making goes on as it is."""

    def broken() -> httpx.Client:
        raise ValueError("something else")

    with pytest.raises(ValueError, match="something else"):
        heeding(broken)


def test_the_command_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`send-test` through such a proxy ends with 2 and one line."""
    monkeypatch.setenv("HTTPS_PROXY", "socks5://127.0.0.1:1080")
    monkeypatch.setenv("PIPELINE_DODO_WEBHOOK_SECRETS", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    monkeypatch.setattr(sys, "argv", ["dodo-cio", "send-test", "--to", "https://hooks.example.com"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith("dodo-cio: HTTPS_PROXY: a SOCKS proxy")
