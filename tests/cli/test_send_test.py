"""`dodo-cio send-test`: what goes out is genuine, and what comes back is explained."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from pipeline.cli import build
from pipeline.dodo import samples
from pipeline.dodo.samples.fresh import fresh
from pipeline.dodo.signature import Verifier
from pipeline.errors import InputError, SettingsError
from pipeline.ingest import PATH
from pipeline.kafka.local.ports import free_port

LIVE = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NEXT = "whsec_bmV4dG5leHRuZXh0bmV4dG5leHRuZXh0"
TEST = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"


@dataclass
class Receiver:
    """An endpoint that keeps what it gets and answers `status`."""

    url: str
    status: int = 200
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """One on a free port."""
    kept = Receiver("")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            kept.requests.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            self.send_response(kept.status)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    kept.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield kept
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_DODO_WEBHOOK_SECRETS", f"{LIVE},{NEXT}")
    monkeypatch.setenv("PIPELINE_DODO_TEST_WEBHOOK_SECRETS", TEST)


def _send(*arguments: str, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(build(), ["send-test", *arguments], input=stdin)


@pytest.mark.parametrize(("flags", "mode", "secret"), [((), "live", LIVE), (("--test-mode",), "test", TEST)])
def test_what_goes_out_is_genuine(flags: tuple[str, ...], mode: str, secret: str, receiver: Receiver) -> None:
    """The sample's bytes are signed with the first secret of the mode and posted to ingest's path."""
    result = _send("--to", receiver.url, "--sample", "refund.succeeded--partial", "--as-is", *flags)
    assert result.exit_code == 0, result.output
    [(path, headers, body)] = receiver.requests
    assert path == PATH
    assert body == samples.load("refund.succeeded--partial")
    verifier = Verifier([secret], []) if mode == "live" else Verifier([], [secret])
    assert verifier.verify(headers, body) == mode
    assert headers["webhook-id"] in result.output
    assert "refund.succeeded" in result.output


def test_a_file_goes_out_as_it_is(tmp_path: Path, receiver: Receiver) -> None:
    """Not a byte of a given file is changed, whatever it holds."""
    file = tmp_path / "body.json"
    file.write_bytes(b'{ "type" : "a.b",\r\n "data":{} }\n\xff')
    assert _send("--to", f"{receiver.url}/other/path", "--file", str(file)).exit_code == 0
    [(path, headers, body)] = receiver.requests
    assert path == "/other/path"
    assert body == file.read_bytes()
    assert Verifier([LIVE]).verify(headers, body) == "live"


def test_stdin_is_a_file_too(receiver: Receiver) -> None:
    """`--file -` sends what is piped in."""
    assert _send("--to", receiver.url, "--file", "-", stdin=b"not json").exit_code == 0
    assert receiver.requests[0][2] == b"not json"


def test_many_have_ids_of_their_own(receiver: Receiver) -> None:
    """`--count` sends as many webhooks, not one many times; JSON tells of each."""
    result = _send("--to", receiver.url, "--count", "25", "--json")
    assert result.exit_code == 0
    told = json.loads(result.output)
    assert (told["wanted"], told["accepted"]) == (25, 25)
    ids = [headers["webhook-id"] for _, headers, _ in receiver.requests]
    assert len(set(ids)) == 25
    assert [answer["webhook_id"] for answer in told["answers"]] == ids


@pytest.mark.parametrize(
    ("body", "class_"),
    [
        (b"not json", "unreadable"),
        (samples.load("payment.succeeded").replace(b'"payment.succeeded"', b'"payment.imagined"'), "unknown-type"),
    ],
)
def test_a_dead_letter_is_said(body: bytes, class_: str, receiver: Receiver) -> None:
    """What is taken and cannot go on is called a dead letter, with its class and the command that shows it."""
    result = _send("--to", receiver.url, "--file", "-", stdin=body)
    assert result.exit_code == 0
    assert f"becomes a dead letter, class {class_}: " in result.output
    assert "dodo-cio dlq list" in result.output
    told = json.loads(_send("--to", receiver.url, "--file", "-", "--json", stdin=body).output)
    assert (told["expected"]["verdict"], told["expected"]["class"]) == ("dead_letter", class_)


def test_a_redelivery_can_be_sent(receiver: Receiver) -> None:
    """A given id is used, so that the same webhook can come twice."""
    for _ in range(2):
        assert _send("--to", receiver.url, "--id", "msg_again").exit_code == 0
    assert [headers["webhook-id"] for _, headers, _ in receiver.requests] == ["msg_again"] * 2


@pytest.mark.parametrize(
    ("status", "code", "advice"),
    [
        (401, 2, "does not know this secret"),
        (404, 2, PATH),
        (405, 2, PATH),
        (413, 2, "larger"),
        (307, 2, "final address"),
        (503, 1, "/ready"),
        (500, 1, "in front of it"),
    ],
)
def test_a_refusal_is_explained(status: int, code: int, advice: str, receiver: Receiver) -> None:
    """Each refusal says what to do; the exit code tells "change something" from "later"."""
    receiver.status = status
    result = _send("--to", receiver.url, "--count", "3")
    assert result.exit_code == code
    assert str(status) in result.output
    assert advice in result.output
    assert len(receiver.requests) == 1


def test_nothing_there_is_explained() -> None:
    """A refused connection says how to start an ingest."""
    result = _send("--to", f"http://127.0.0.1:{free_port()}", "--json")
    assert result.exit_code == 1
    [answer] = json.loads(result.output)["answers"]
    assert answer["status"] is None
    assert "dodo-cio ingest" in answer["advice"]


def test_the_default_is_this_machines_ingest(monkeypatch: pytest.MonkeyPatch, receiver: Receiver) -> None:
    """Without `--to` the configured port on this machine is used."""
    monkeypatch.setenv("PIPELINE_PORT", receiver.url.rsplit(":", 1)[1])
    assert _send().exit_code == 0
    assert len(receiver.requests) == 1


@pytest.mark.parametrize("to", ["hooks.example.com", "ftp://hooks.example.com", "http://", "http://[::1", ""])
def test_what_is_no_address_is_refused(to: str) -> None:
    """A malformed address is the caller's to mend."""
    result = _send("--to", to) if to else _send("--to", "://")
    assert isinstance(result.exception, InputError)
    assert "--to" in str(result.exception)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--sample", "payment.suceeded"), "payment.succeeded"),
        (("--file", "/not/there.json"), "/not/there.json"),
        (("--id", "msg_1", "--count", "2"), "--count"),
        (("--sample", "payment.succeeded", "--file", "-"), "--sample and --file"),
    ],
)
def test_what_cannot_be_sent_is_refused(arguments: tuple[str, ...], message: str, receiver: Receiver) -> None:
    """An unknown sample, a missing file and contradicting flags end with their name, and nothing is sent."""
    result = _send("--to", receiver.url, *arguments)
    assert isinstance(result.exception, InputError)
    assert message in str(result.exception)
    assert receiver.requests == []


@pytest.mark.parametrize(
    ("variable", "flags"),
    [("PIPELINE_DODO_WEBHOOK_SECRETS", ()), ("PIPELINE_DODO_TEST_WEBHOOK_SECRETS", ("--test-mode",))],
)
def test_a_missing_secret_is_named(
    variable: str, flags: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, receiver: Receiver
) -> None:
    """Without the mode's secret nothing can be signed; the message says which variable to set."""
    monkeypatch.delenv(variable)
    result = _send("--to", receiver.url, *flags)
    assert isinstance(result.exception, SettingsError)
    assert variable in str(result.exception)


def test_a_sample_happens_now_under_ids_of_its_own(receiver: Receiver) -> None:
    """Moments moved by one distance, so that periods stay periods; two are two facts; the person is the same."""
    for _ in range(2):
        assert _send("--to", receiver.url, "--sample", "subscription.renewed").exit_code == 0
    sample = json.loads(samples.load("subscription.renewed"))
    bodies = [json.loads(body) for _, _, body in receiver.requests]
    now = datetime.now(UTC)
    for body in bodies:
        assert abs(datetime.fromisoformat(body["timestamp"]) - now) < timedelta(minutes=5)
        for name in ("created_at", "next_billing_date"):
            was, then = (
                datetime.fromisoformat(one["data"][name]) - datetime.fromisoformat(one["timestamp"])
                for one in (sample, body)
            )
            assert was == then
        for name in ("customer", "product_id", "metadata", "recurring_pre_tax_amount"):
            assert body["data"][name] == sample["data"][name]
    ids = {body["data"]["subscription_id"] for body in bodies} | {sample["data"]["subscription_id"]}
    assert len(ids) == 3
    assert all(one.startswith("sub_") for one in ids)


def test_it_says_what_to_expect_and_where(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """The event in the operator's style, the person with the address, Customer.io or the sandbox; or why nothing."""
    out = _send("--to", receiver.url).output
    for said in ("expect    payment_completed", "cus_0NExampleCustomer0001 (jiwoo.han@example.com)", "tab Activity"):
        assert said in out
    monkeypatch.setenv("PIPELINE_EVENT_NAME_STYLE", "title")
    monkeypatch.setenv("PIPELINE_CUSTOMERIO_URL", "http://localhost:9000")
    out = _send("--to", receiver.url, "--sample", "license").output
    assert "expect    License Key Created" in out
    assert "http://localhost:9000/__sandbox/people" in out
    out = _send("--to", receiver.url, "--sample", "payout.success").output
    assert "nothing reaches Customer.io: a payout" in out
    told = json.loads(_send("--to", receiver.url, "--json").output)
    assert told["expected"]["events"] == ["Payment Completed"]
    assert told["expected"]["person"] == "cus_0NExampleCustomer0001"


@pytest.mark.parametrize("webhook_id", ["", "msg 1", "msg_1\n", "caf\u00e9", "msg_\udcff", "x" * 256])
def test_an_id_that_no_webhook_has(receiver: Receiver, webhook_id: str) -> None:
    """It is refused: of an empty variable a redelivery would become a webhook of its own, any other is answered 401."""
    result = _send("--to", receiver.url, "--id", webhook_id)
    assert isinstance(result.exception, InputError)
    assert "--id" in str(result.exception)
    assert receiver.requests == []


@pytest.mark.parametrize("to", ["http://..:1/", "http://a..b/", "http://\udcff/", "http://127.0.0.1/\udcff"])
def test_a_host_that_nobody_has(to: str) -> None:
    """An address that no client can ask is a wrong option, and no failed connection."""
    result = _send("--to", to)
    assert isinstance(result.exception, InputError)
    assert str(result.exception).startswith("--to")


def test_words_that_mean_several_samples(receiver: Receiver) -> None:
    """They are named, and nothing is sent."""
    result = _send("--to", receiver.url, "--sample", "trial")
    assert isinstance(result.exception, InputError)
    assert "subscription.active--trial" in str(result.exception)
    assert receiver.requests == []


@pytest.mark.parametrize("name", samples.names())
def test_any_sample_can_happen_now(name: str) -> None:
    """It stays a webhook of its type with the same fields, its own time is now, and the mapping dates it so."""
    now = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
    was, made = json.loads(samples.load(name)), json.loads(fresh(samples.load(name), now, "seed"))
    assert made.keys() == was.keys()
    assert made["type"] == was["type"]
    assert made["data"].keys() == was["data"].keys()
    assert datetime.fromisoformat(made["timestamp"]).replace(microsecond=0) == now
    assert len(made["timestamp"]) == len(was["timestamp"])
    assert fresh(samples.load(name), now, "seed") == fresh(samples.load(name), now, "seed")


def test_what_is_no_sample_stays_as_it_is() -> None:
    """No JSON, no object, no time."""
    now = datetime(2030, 1, 2, tzinfo=UTC)
    for body in (b"nothing", b"[1]", b'{"type":"a","data":{"at":"2026-01-01T00:00:00Z"}}'):
        assert fresh(body, now, "seed") == body
