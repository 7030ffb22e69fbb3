"""An address that passes can be asked, and one that no client can use does not pass."""

from __future__ import annotations

import contextlib
from typing import Final

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.urls import base_address, is_port, web_address

MALFORMED: Final = (
    "https://[",
    "https://]",
    "https://[::1",
    "https://::1]",
    "https://[::1]x",
    "https://[::1]x:80",
    "https://x[::1]:80",
    "https://[::1::]",
    "https://[10.0.0.7]",
    "https://[v1.a]",
    "https://[fe80::1%25eth0]",
    "https://[fe80::1%eth0]",
    "https://",
    "https:///path",
    "https://:8080",
    "https://?query",
    "https:api.example.com",
    "api.example.com",
    "api.example.com:443",
    "//api.example.com",
    "ftp://api.example.com",
    "file:///etc/passwd",
    "https://api.example.com:",
    "https://api.example.com:0",
    "https://api.example.com:65536",
    "https://api.example.com:99999999999999999999",
    "https://api.example.com:https",
    "https://api.example.com:-1",
    "https://api.example.com:\u0661",
    "https://a:b:c",
    "https://api example.com",
    " https://api.example.com",
    "https://api.example.com ",
    "https://api.example.com\n",
    "https://api.example.com/\tx",
    "https://api.example.com/\u00a0",
    "https://api.example.com/\u202e",
    "https://api.example.com\\@other.example.com",
    "https://someone@api.example.com",
    "https://someone:secret@api.example.com",
    "https://@api.example.com",
    "https://api..example.com",
    "https://.example.com",
    "https://example.com..",
    "https://.",
    "https://10.0.0.7.",
    "https://-api.example.com",
    "https://api-.example.com",
    "https://b\u00fccher.example.com",
    "https://api%2eexample.com",
    "https://10.0.0.256",
    "https://10.1",
    "https://" + "a" * 64 + ".example.com",
    "https://" + ".".join(["a" * 60] * 5),
    "https://{host}",
)


@pytest.mark.parametrize("address", MALFORMED)
def test_malformed(address: str) -> None:
    """Each is refused in words that do not repeat it."""
    with pytest.raises(ValueError, match=r"^(must|its) ") as caught:
        web_address(address)
    assert address == "https://" or address not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "https://api.example.com", "http://localhost:8090", "HTTPS://API.example.com/v1/", "https://10.0.0.7:1",
        "https://[fd00::7]", "https://[::ffff:10.0.0.7]:65535/x", "http://customerio_sandbox:8090", "http://collector.monitoring.svc.cluster.local.:4318",
        "https://xn--bcher-kva.example.com", "https://api.example.com/a@b",
    ],
)  # fmt: skip
def test_well_formed(address: str) -> None:
    """Each is as it was written, and what the client asks is what it names."""
    assert base_address(address) == address
    assert httpx.URL(address).raw_host.decode() in address.lower()


def test_a_part_of_a_page_is_no_address() -> None:
    """Nothing behind a # is ever sent."""
    with pytest.raises(ValueError, match="must have no #"):
        web_address("https://api.example.com/#part")


def test_a_query_where_paths_are_appended() -> None:
    """It would swallow them."""
    assert web_address("https://api.example.com/?a=b") == "https://api.example.com/?a=b"
    with pytest.raises(ValueError, match="must have no query"):
        base_address("https://api.example.com/?a=b")


HOSTS = st.text("ab0.-_:[]%@/\\?# {}\u00fc", max_size=16)


@given(
    st.tuples(st.sampled_from(["https://", "http://", "", "//"]), HOSTS, st.text(":0169/x", max_size=8)).map("".join)
)
@example("https://[::1]")
def test_what_passes_can_be_asked(address: str) -> None:
    """Whatever is accepted, the HTTP client takes for the same host and port, and raises nothing."""
    with contextlib.suppress(ValueError):
        web_address(address)
        url = httpx.URL(address)
        assert url.scheme in ("http", "https")
        assert url.host
        assert not url.userinfo
        rest = address.partition("://")[2]
        authority = rest.replace("?", "/").partition("/")[0]
        assert url.netloc.decode() in (authority, authority.removesuffix(":443").removesuffix(":80"))


@pytest.mark.parametrize(
    ("text", "right"),
    [("1", True), ("65535", True), ("00080", True), ("0", False), ("65536", False), ("", False), ("+1", False),
     ("\u0661", False), ("1_0", False), ("9" * 5000, False)],
)  # fmt: skip
def test_ports(text: str, right: bool) -> None:
    """1 to 65535 in digits."""
    assert is_port(text) is right
