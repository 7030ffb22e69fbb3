"""`dodo-cio send-test`: signs a webhook as Dodo would, and posts it to an ingest."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Optional

import typer

from pipeline.cli.screen import say
from pipeline.ingest import PATH

if TYPE_CHECKING:
    from pipeline.settings import Settings

TIMEOUT_S: Final = 15.0
"""Dodo's own timeout, for connecting and reading together."""

DEFAULT: Final = "payment.succeeded"
PROGRESS_FROM: Final = 20
OK: Final = 200


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("send-test")(send_test)


def send_test(
    *,
    sample: Annotated[
        Optional[str],
        typer.Option(
            help=f"Type or name of a sample body, e.g. refund.succeeded--partial. [default: {DEFAULT}]", metavar="TYPE"
        ),
    ] = None,
    file: Annotated[
        Optional[Path], typer.Option(help="Send this file's bytes as they are instead; - reads stdin.", metavar="FILE")
    ] = None,
    to: Annotated[
        Optional[str],
        typer.Option(help="The endpoint. [default: this machine, PIPELINE_PORT or 8080]", metavar="URL"),
    ] = None,
    webhook_id: Annotated[
        Optional[str], typer.Option("--id", help="The webhook-id; a repeated one is a redelivery. [default: a new one]")
    ] = None,
    as_is: Annotated[
        bool,
        typer.Option(
            "--as-is", help="Send the sample with the dates and ids that it has; with --id, a true redelivery."
        ),
    ] = False,
    test_mode: Annotated[bool, typer.Option("--test-mode", help="Sign as the test-mode endpoint.")] = False,
    count: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many, each with an id of its own.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answers as JSON.")] = False,
) -> None:
    """Sign a sample webhook with the first configured secret and post it, as Dodo would.

    A sample happens now, under ids of its own, so that Customer.io starts the campaign; a file goes out as it is.
    Without `--test-mode` it is a genuine live webhook to the pipeline: the sample's customer (an example.com address)
    reaches Customer.io. Printed are the event to expect, the person, and where to look for it. Exit code 0: all were
    answered 200; 1: try again later; 2: something must be changed.

    **Examples**

    dodo-cio send-test

    dodo-cio send-test --sample subscription.cancelled --to https://hooks.example.com

    dodo-cio send-test --sample refund.succeeded --as-is --id msg_1

    dodo-cio send-test --file body.json --test-mode --json
    """
    from pipeline.dodo import samples
    from pipeline.dodo.signature import ID, MAX_ID_CHARS
    from pipeline.errors import InputError
    from pipeline.settings import Settings
    from pipeline.transform.policy import Policy

    if webhook_id is not None and not ID.fullmatch(webhook_id):
        raise InputError(f"--id must be 1 to {MAX_ID_CHARS} visible ASCII characters: any other is answered 401")
    if webhook_id is not None and count > 1:
        raise InputError("--id and --count do not go together: redeliveries are sent one by one")
    if sample is not None and file is not None:
        raise InputError("--sample and --file do not go together: one body is sent")
    settings = Settings.load()
    Policy.of(settings)  # raises for its faults before anything is sent
    secret = _secret(settings, test_mode=test_mode)
    name = _sample(DEFAULT if sample is None else sample) if file is None else None
    body = samples.load(name) if name is not None else _read(file or Path("-"))
    url = _endpoint(to or f"http://127.0.0.1:{settings.port_of('ingest')}")
    answers = []
    renewed = name is not None and not as_is
    for answer in _with_progress(_post(url, secret, body, webhook_id, count, renewed=renewed), count, quiet=as_json):
        answers.append(answer)
        if not as_json and (count < PROGRESS_FROM or not answer["ok"]):
            say(_line(answer), indent=4)
        if answer["advice"] and not as_json:
            say(f"  {answer['advice']}", indent=2, err=True)
        if answer["exit_code"]:
            break  # the same body to the same place: the rest would get the same answer
    accepted = sum(answer["ok"] for answer in answers)
    expected = _expected(answers[-1].pop("body"), settings, answers[-1]["webhook_id"], test_mode=test_mode)
    for answer in answers[:-1]:
        del answer["body"]
    if as_json:
        document = {"url": url, "wanted": count, "accepted": accepted, "expected": expected, "answers": answers}
        typer.echo(json.dumps(document, indent=2))
    else:
        if count > 1:
            say(f"{accepted} of {count} accepted")
        if accepted:
            for line in _where_to_look(expected, settings):
                say(line, indent=12)
    raise typer.Exit(answers[-1]["exit_code"])


def _sample(words: str) -> str:
    """The one sample, or the one main sample, that these words match."""
    from pipeline.dodo import samples

    found = samples.find(words)
    if not all(part in name for name in found for part in words.lower().replace(".", " ").split()):
        found = ()  # misspelt: a guess is not sent to a live pipeline
    main = [name for name in found if "--" not in name]
    if len(found) == 1 or len(main) == 1:
        return (main or list(found))[0]
    samples.load(words)  # raises, and names those that may be meant
    return words


def _expected(body: bytes, settings: Settings, webhook_id: str, *, test_mode: bool) -> dict[str, Any]:
    """What the pipeline makes of the body alone, without a state: the event's name as it is sent, and the person."""
    import orjson

    from pipeline.transform.explain import explain

    explanation = explain(body, settings, webhook_id=webhook_id, mode="test" if test_mode else "live")
    operations = [orjson.loads(operation.body) for operation in explanation.operations]
    events = [one["name"] for one in operations if one["action"] == "event"]
    person = next((next(iter(one["identifiers"].values())) for one in operations), None)
    email = next((one["attributes"]["email"] for one in operations if one["attributes"].get("email")), None)
    return {"verdict": explanation.verdict, "events": events, "person": person, "email": email,
            "class": explanation.class_, "reason": explanation.reason}  # fmt: skip


def _where_to_look(expected: dict[str, Any], settings: Settings) -> Iterator[str]:
    """The event, the person, and the place where both appear."""
    if expected["verdict"] == "dead_letter":
        yield f"  it is taken and becomes a dead letter, class {expected['class']}: {expected['reason']}"
        yield "  look at   `dodo-cio dlq list --since 10m`, then `dodo-cio dlq show` with the letter's place"
        return
    if expected["verdict"] != "operations":
        yield f"  nothing reaches Customer.io: {expected['reason']}"
        return
    address = expected["email"]
    who = expected["person"] + (f" ({address})" if address not in {None, expected["person"]} else "")
    what = ", ".join(expected["events"]) or "no event, the profile alone"
    yield f"  expect    {what}"
    yield f"  person    {who}"
    base = settings.customerio_url
    if base is not None and not base.rstrip("/").endswith("customer.io"):
        yield f"  look at   {base.rstrip('/')}/__sandbox/people and /__sandbox/events, if that is the sandbox"
    else:
        yield "  look at   Customer.io: People, the person, tab Activity; the campaign: tab Journeys of the person"
    yield "  not there after a minute? `dodo-cio lag` says what waits, `dodo-cio dlq list` what was refused; with the"
    yield "  customers' state another event may be right, `dodo-cio explain` says when"


def _secret(settings: Settings, *, test_mode: bool) -> str:
    from pipeline.dodo.signature import VARIABLES
    from pipeline.errors import SettingsError

    secrets = settings.dodo_test_webhook_secrets if test_mode else settings.dodo_webhook_secrets
    if not secrets:
        variable = VARIABLES["test" if test_mode else "live"]
        hint = "" if test_mode else ", or sign as the test-mode endpoint with --test-mode"
        raise SettingsError(f"{variable} is not set: give it the same value as the ingest has{hint}")
    return secrets[0].get_secret_value()


def _read(file: Path) -> bytes:
    from pipeline.errors import InputError

    try:
        return sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror or type(error).__name__}") from None


def _endpoint(to: str) -> str:
    """The URL, with ingest's path where none was given."""
    from pipeline.errors import InputError
    from pipeline.plain_httpx import httpx
    from pipeline.urls import check_host

    try:
        url = httpx.URL(to)
    except (httpx.InvalidURL, UnicodeError) as error:
        raise InputError(f"--to is no URL: {error}") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise InputError(f"--to must be like https://hooks.example.com{PATH}, not {to!r}")
    try:
        check_host(url.raw_host.decode("ascii"))
    except ValueError as error:
        raise InputError(f"--to: {error}") from None
    return str(url.copy_with(path=PATH) if url.path in ("", "/") else url)


def _post(
    url: str, secret: str, body: bytes, webhook_id: str | None, count: int, *, renewed: bool
) -> Iterator[dict[str, Any]]:
    import secrets
    import time
    from datetime import UTC, datetime

    from pipeline.dodo.envelope import parse
    from pipeline.dodo.samples.fresh import fresh
    from pipeline.dodo.signature import sign
    from pipeline.errors import UnreadableBodyError
    from pipeline.plain_httpx import httpx
    from pipeline.proxies import heeding

    sample = body
    try:
        type_ = parse(body).type
    except UnreadableBodyError:
        type_ = None  # ingest makes it a dead letter, which one may want to test too
    loopback = httpx.URL(url).host in ("127.0.0.1", "localhost", "::1")
    with heeding(lambda: httpx.Client(timeout=TIMEOUT_S, trust_env=not loopback)) as client:
        for _ in range(count):
            id_ = webhook_id or f"msg_{secrets.token_hex(14)[:27]}"
            body = fresh(sample, datetime.now(UTC), id_) if renewed else sample
            headers = {"content-type": "application/json", **sign(secret, id_, int(time.time()), body)}
            began = time.perf_counter()
            status, text, fault = 0, "", None
            try:
                response = client.post(url, content=body, headers=headers)
                status, text = response.status_code, response.text[:500]
            except httpx.HTTPError as error:
                fault = error
            advice, exit_code = _advise(status, fault, url)
            yield {
                "webhook_id": id_,
                "type": type_,
                "status": status or None,
                "seconds": round(time.perf_counter() - began, 4),
                "answer": text,
                "ok": status == OK,
                "advice": advice,
                "exit_code": exit_code,
                "body": body,
            }


def _advise(status: int, fault: Exception | None, url: str) -> tuple[str | None, int]:
    """Advice for the caller about an answer, or its absence, and the exit code."""
    from pipeline.plain_httpx import httpx

    match fault:
        case httpx.ConnectError() if "CERTIFICATE" in str(fault).upper() or "SSL" in str(fault).upper():
            return f"TLS failed: {fault}. Dodo would refuse this certificate too.", 2
        case httpx.ConnectError():
            return f"nothing listens at {url}: start `dodo-cio ingest`, or give its address with --to ({fault}).", 1
        case httpx.TimeoutException():
            return f"no answer within {TIMEOUT_S:.0f} s, when Dodo gives up too: look at the ingest's log and load.", 1
        case Exception():
            return f"the connection broke: {type(fault).__name__}: {fault}", 1
    match status:
        case 200:
            return None, 0
        case 401:
            text = (
                "the ingest does not know this secret (its PIPELINE_DODO_WEBHOOK_SECRETS is another one, or a proxy "
                "changes the body), or the clocks differ by more than five minutes."
            )
            return text, 2
        case 404 | 405:
            return f"no ingest there: its path is {PATH}.", 2
        case 413:
            return "the body is larger than the ingest, or a proxy before it, takes.", 2
        case 503:
            return "Kafka does not confirm, or the ingest is overloaded: see its /ready. Dodo would try again.", 1
        case _ if 300 <= status < 400:  # noqa: PLR2004 - redirects
            return "a redirect is a failed delivery to Dodo: give the final address.", 2
        case _:
            return "not an answer of dodo-cio ingest; what is in front of it?", 1


def _line(answer: dict[str, Any]) -> str:
    status = answer["status"] or "no answer"
    return f"{status}  {answer['seconds'] * 1000:.0f} ms  {answer['type'] or 'unreadable'}  {answer['webhook_id']}"


def _with_progress(answers: Iterator[dict[str, Any]], count: int, *, quiet: bool) -> Iterator[dict[str, Any]]:
    if quiet or count < PROGRESS_FROM or not sys.stderr.isatty():
        yield from answers
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(answers, total=count, description="Sending", console=Console(stderr=True))
