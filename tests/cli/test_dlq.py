"""`dodo-cio dlq` on a real Apache Kafka: what is listed, what is shown, and what goes back where."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord
from typer.testing import CliRunner

from pipeline.cli import build
from pipeline.cli.dlq import Class, Stage
from pipeline.deadletters.envelope import CLASSES, dead_letter_of
from pipeline.deadletters.pace import chunk_size
from pipeline.dodo import samples
from pipeline.errors import BrokerUnreachableError, InputError, PipelineError, TopicError
from pipeline.kafka.local.broker import free_port
from pipeline.kafka.producer.partitioner import partition_of
from pipeline.kafka.records import OutRecord, int_header
from pipeline.settings import Settings
from pipeline.transform.customers.facts import CLOCKS_S
from tests import forked

pytestmark = pytest.mark.kafka

ChainSettings = Callable[..., Awaitable[Settings]]

HOUR_MS = 3_600_000
PARTITIONS = 4
PAYMENT = samples.load("payment.succeeded")
OPERATION = json.dumps(
    {
        "type": "person",
        "action": "identify",
        "identifiers": {"id": "u_7"},
        "attributes": {"name": "Jane Doe", "email": "jane@example.com"},
    }
).encode()


class Desk:
    """A dead-letter topic with the commands at hand."""

    def __init__(self, settings: Settings, environ: dict[str, str]) -> None:
        self.settings = settings
        self.environ = environ
        self.written = 0
        self.now_ms = time.time_ns() // 1_000_000
        """The letters' ages count from here, not from the start of a run that may last for longer than they are old."""

    def letter(self, **about: Any) -> OutRecord:
        """A transform's letter, by default, from a source of its own."""
        self.written += 1
        number = self.written
        given: dict[str, Any] = {
            "key": b"cus_%d" % number,
            "value": PAYMENT,
            "headers": (("webhook-id", b"msg_%d" % number), ("dodo-type", b"payment.succeeded")),
            "source": f"{self.settings.webhooks_topic}/0/{number}",
            "stage": "transform",
            "class_": "unmappable",
            "reason": "no",
            "at_ms": self.now_ms - HOUR_MS + number,
        } | about
        return dead_letter_of(**given)

    def forgets(self, facts: dict[bytes, bytes | None]) -> None:
        """Put records into the customers' topic, as the transform does when it carries out requests to be forgotten."""
        asyncio.run(self._forgets(facts))

    async def _forgets(self, facts: dict[bytes, bytes | None]) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self.settings.kafka_bootstrap_servers)
        await producer.start()
        for key, value in facts.items():
            partition = partition_of(key.split(b"\0")[0], PARTITIONS)
            await producer.send(self.settings.customers_topic, value, key, partition=partition)
        await producer.stop()

    def write(self, *letters: OutRecord) -> Sequence[OutRecord]:
        """Append letters to the topic, which has one partition: the first lies at 0/0."""
        asyncio.run(self._write(letters))
        return letters

    async def _write(self, letters: Sequence[OutRecord]) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self.settings.kafka_bootstrap_servers)
        await producer.start()
        for letter in letters:
            await producer.send(
                self.settings.dead_letters_topic, letter.value, letter.key, headers=list(letter.headers)
            )
        await producer.stop()

    def stored(self, topic: str) -> list[ConsumerRecord]:
        """Everything that lies in a topic, partition by partition."""
        return asyncio.run(self._stored(topic))

    async def _stored(self, topic: str) -> list[ConsumerRecord]:
        consumer = AIOKafkaConsumer(
            topic, bootstrap_servers=self.settings.kafka_bootstrap_servers, auto_offset_reset="earliest"
        )
        await consumer.start()
        try:
            found: list[ConsumerRecord] = []
            ends = await consumer.end_offsets(consumer.assignment())
            while [tp for tp, end in ends.items() if await consumer.position(tp) < end]:
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    found += records
            return sorted(found, key=lambda record: (record.partition, record.offset))
        finally:
            await consumer.stop()

    @property
    def webhooks(self) -> list[ConsumerRecord]:
        """What lies in the webhooks' topic."""
        return self.stored(self.settings.webhooks_topic)

    @property
    def operations(self) -> list[ConsumerRecord]:
        """What lies in the operations' topic."""
        return self.stored(self.settings.operations_topic)

    def run(self, *arguments: str, exit_code: int = 0, **environ: str) -> str:
        """Standard output of `dodo-cio dlq …`, which must end with this code and no error."""
        result = CliRunner().invoke(build(), ["dlq", *arguments], env=self.environ | environ)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert result.exit_code == exit_code, result.output
        return result.stdout

    def fails(self, *arguments: str, **environ: str) -> PipelineError:
        """The error that `dodo-cio dlq …` ends with."""
        result = CliRunner().invoke(build(), ["dlq", *arguments], env=self.environ | environ)
        assert isinstance(result.exception, PipelineError), result.output
        return result.exception

    def listed(self, *arguments: str) -> list[dict[str, Any]]:
        """The letters of `dodo-cio dlq list --json`."""
        return [json.loads(line) for line in self.run("list", "--json", *arguments).splitlines()]

    def places(self, *arguments: str) -> list[int]:
        """Their offsets."""
        return [letter["offset"] for letter in self.listed(*arguments)]

    def summary(self, *arguments: str, exit_code: int = 0) -> dict[str, Any]:
        """The summary of `dodo-cio dlq replay --yes --json`."""
        found: dict[str, Any] = json.loads(self.run("replay", "--yes", "--json", *arguments, exit_code=exit_code))
        return found

    def process(self, *arguments: str, **more: Any) -> subprocess.Popen[str]:
        """`dodo-cio dlq …` in a process of its own."""
        pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        command = [sys.executable, "-m", "pipeline", "dlq", *arguments]
        return forked.Popen(command, **{"env": self.environ, "text": True, **pipes, **more})

    def until_webhooks(self, count: int, process: subprocess.Popen[str]) -> None:
        """Return once so many webhooks are back, while the process goes on."""
        deadline = time.monotonic() + 300
        while len(self.webhooks) < count:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline


@pytest.fixture
def desk(chain_settings: ChainSettings, environment: Callable[[Settings], dict[str, str]]) -> Desk:
    """A pipeline's topics, empty."""
    settings = asyncio.run(_settings(chain_settings))
    return Desk(settings, environment(settings))


async def _settings(chain_settings: ChainSettings) -> Settings:
    return await chain_settings(partitions=PARTITIONS)


@pytest.fixture
def full(desk: Desk) -> Desk:
    """A letter of every stage and class."""
    operation = {"stage": "sink", "key": b"u_7", "value": OPERATION, "status": 207, "attempts": 2}
    source = f"{desk.settings.operations_topic}/1/"
    desk.write(
        desk.letter(stage="ingest", class_="unreadable", key=b"msg_1", value=b"{oops", source="http", headers=()),
        desk.letter(class_="unreadable", value=b"{oops", headers=()),
        desk.letter(
            class_="unknown-type",
            value=PAYMENT.replace(b'"payment.succeeded"', b'"payment.imagined"'),
            headers=(("dodo-type", b"payment.imagined"),),
            at_ms=desk.now_ms - 50 * HOUR_MS,
        ),
        desk.letter(class_="unmappable", field="customer_id", reason="no id for jiwoo.han@example.com"),
        desk.letter(class_="oversize"),
        desk.letter(**operation, class_="refused", source=f"{source}5", reason="email of Jane Doe is invalid"),
        desk.letter(**operation, class_="oversize", source=f"{source}6"),
        desk.letter(**operation, class_="undeliverable", source=f"{source}7", at_ms=desk.now_ms),
        desk.letter(stage="sink", class_="unreadable", key=None, value=b"[]", source=f"{source}8", headers=()),
    )
    return desk


def test_the_words_are_the_envelopes() -> None:
    """What can be filtered for is what the stages write."""
    assert tuple(map(str, Class)) == CLASSES
    assert list(map(str, Stage)) == ["ingest", "transform", "sink"]


def test_filters(full: Desk) -> None:
    """Each filter means exactly its letters; together they mean what all of them mean."""
    cases: dict[tuple[str, ...], list[int]] = {
        (): [0, 1, 2, 3, 4, 5, 6, 7, 8],
        ("--stage", "transform"): [1, 2, 3, 4],
        ("--stage", "sink", "--stage", "ingest"): [0, 5, 6, 7, 8],
        ("--class", "unreadable"): [0, 1, 8],
        ("--class", "unknown-type", "--class", "oversize"): [2, 4, 6],
        ("--type", "payment.*"): [2, 3, 4, 5, 6, 7],
        ("--customer", "cus_0NExampleCustomer0001"): [2, 3, 4],
        ("--customer", "u_7"): [5, 6, 7],
        ("--customer", "JANE@example.com"): [5, 6, 7],
        ("--since", "1d"): [0, 1, 3, 4, 5, 6, 7, 8],
        ("--since", "3d", "--until", "30m"): [0, 1, 2, 3, 4, 5, 6, 8],
        ("--stage", "sink", "--class", "oversize", "--customer", "u_7", "--type", "payment.succeeded"): [6],
        ("--stage", "ingest", "--class", "refused"): [],
    }
    assert {arguments: full.places(*arguments) for arguments in cases} == cases


def test_json_lines(full: Desk) -> None:
    """One object a line with all that is known; what is unknown is null."""
    found = {letter["offset"]: letter for letter in full.listed()}
    assert found[5] == {
        "letter": "0/5",
        "partition": 0,
        "offset": 5,
        "at": found[5]["at"],
        "stage": "sink",
        "class": "refused",
        "type": "payment.succeeded",
        "customer": "u_7",
        "email": "[email]",
        "name": "[name]",
        "reason": "email of [private] is invalid",
        "field": None,
        "status": 207,
        "source": f"{full.settings.operations_topic}/1/5",
        "attempts": 2,
        "replays": 0,
        "put_back": 0,
        "put_back_at": None,
        "webhook_id": "msg_6",
        "op_id": None,
        "bytes": len(OPERATION),
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found[5]["at"])
    assert (found[0]["type"], found[0]["customer"], found[0]["source"]) == (None, None, "http")
    assert found[3]["field"] == "customer_id"


def test_the_table(full: Desk) -> None:
    """A line for each letter, the newest last, then how many of each class; without a terminal nothing is wrapped."""
    lines = full.run("list").splitlines()
    assert lines[0].split()[:6] == ["when", "letter", "stage", "class", "type", "customer"]
    rows = lines[1:10]
    assert [row.split()[2] for row in rows] == ["0/2", "0/0", "0/1", "0/3", "0/4", "0/5", "0/6", "0/8", "0/7"]
    assert re.search(
        r"0/3 +transform +unmappable +payment\.succeeded +cus_0NExampleCustomer0001 +no id for \[email\] "
        r"\(field customer_id\) +\S+/0/4 +1 +0 +no$",
        rows[3].rstrip(),
    )
    assert (
        lines[-1]
        == "9 dead letters: 3 unreadable, 2 oversize, 1 unknown-type, 1 unmappable, 1 refused, 1 undeliverable"
    )


def test_limit_keeps_the_newest(full: Desk) -> None:
    """Of nine the newest two, in the table and as JSON; the counts are of all."""
    assert full.places("--limit", "2") == [8, 7]
    out = full.run("list", "--limit", "2")
    assert "0/7" in out
    assert "0/6" not in out
    assert "9 dead letters" in out
    assert "The newest 2 are shown" in out


def test_personal_data(full: Desk) -> None:
    """Neither list nor show says who somebody is, unless asked to, to people or to programs."""
    private = ("jane@example.com", "Jane Doe", "jiwoo.han@example.com", "Han Ji-woo")
    for command in (("list",), ("list", "--json"), ("show", "0/5"), ("show", "0/3", "--json")):
        out = full.run(*command)
        assert not [word for word in private if word in out]
    for command in (("list", "--reveal"), ("list", "--json", "--reveal")):
        out = full.run(*command)
        assert not [word for word in private if word not in out]
    assert "Han Ji-woo" in full.run("show", "0/3", "--reveal")


def test_nothing_there(desk: Desk) -> None:
    """An empty topic is an answer, not an error."""
    assert desk.run("list") == "No dead letters.\n"
    assert desk.listed() == []
    assert desk.summary()["planned"] == 0


def test_a_stranger_in_the_topic(desk: Desk) -> None:
    """What is no dead letter is listed as what it is, and never sent anywhere."""
    desk.write(OutRecord(b"k", b"hello"))
    assert "1 dead letter: 1 no dead letter" in desk.run("list")
    assert desk.summary(exit_code=1)["refused"] == 1
    assert desk.webhooks == desk.operations == []


def test_show(full: Desk) -> None:
    """Everything about one letter: fault, headers, body, what a replay would do and what the transform says now."""
    out = full.run("show", "0/3")
    for expected in (
        r"letter +0/3 of \S+\.dead-letters",
        r"failed +\S+Z at transform",
        r"class +unmappable",
        r"reason +no id for \[email\]",
        r"field +customer_id",
        r"put back +never",
        rf"replay +to {full.settings.webhooks_topic}\n",
        r"now +2 operations: identify, event payment_completed",
        r"webhook-id: msg_4",
        r"dlq-at: \d{13}",
        r'"payment_id": "pay_0NExamplePayment00001"',
        r'"name": "\[name\]"',
    ):
        assert re.search(expected, out), expected


def test_show_what_fails_still(full: Desk) -> None:
    """For a letter that the transform would give up again, it says why; for another stage's it says nothing."""
    found = json.loads(full.run("show", "0/1", "--json"))
    assert found["now"].startswith("a dead letter again, unreadable: not JSON")
    assert "body" not in found
    assert json.loads(full.run("show", "0/1", "--json", "--reveal"))["text"] == "{oops"
    at_ingest = json.loads(full.run("show", "0/0", "--json"))
    assert (at_ingest["now"], at_ingest["replay"][:8]) == (None, "refused:")


def test_show_raw(full: Desk) -> None:
    """The original bytes alone, for a pipe."""
    result = CliRunner().invoke(build(), ["dlq", "show", "0/4", "--raw"], env=full.environ)
    assert result.stdout_bytes == PAYMENT


def test_nothing_can_steer_the_terminal(desk: Desk) -> None:
    """Control characters of a header, a key or a body are shown, not obeyed."""
    evil = "\x1b[2J\u202eevil\u009b31m"
    desk.write(
        desk.letter(key=evil.encode(), headers=((evil, evil.encode()), ("dodo-type", evil.encode())), value=b"{}")
    )
    for arguments in (("list", "--reveal"), ("show", "0/0", "--reveal"), ("replay", "--dry-run")):
        assert not re.search(r"[\x1b\x9b\u202e]", desk.run(*arguments))


def test_mistakes(desk: Desk) -> None:
    """A mistake of the caller is one line and exit code 2."""
    for arguments, said in (
        (("show", "0/0"), "partition 0 of"),
        (("show", "12"), "PARTITION/OFFSET"),
        (("replay", "--yes", "--offset", "0/0"), "no dead letter at 0/0"),
        (("replay", "--yes", "--offset", "x"), "PARTITION/OFFSET"),
        (("list", "--since", "soon"), "is no time"),
        (("list", "--since", "1h", "--until", "2h"), "nothing can lie between"),
        (("show", "0/0", "--raw", "--json"), "exclude each other"),
    ):
        error = desk.fails(*arguments)
        assert isinstance(error, InputError)
        assert said in str(error)
        assert "\n" not in str(error)


def test_no_broker_and_no_topic(desk: Desk) -> None:
    """One message each, and nothing of the client's own log."""
    nowhere = {"PIPELINE_KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}"}
    for arguments in (("list",), ("show", "0/0"), ("replay", "--yes")):
        assert isinstance(desk.fails(*arguments, **nowhere), BrokerUnreachableError)
        assert isinstance(desk.fails(*arguments, PIPELINE_DEAD_LETTERS_TOPIC="nowhere"), TopicError)
    process = desk.process("list", env=desk.environ | nowhere)
    out, said = process.communicate(timeout=300)
    assert (process.returncode, out) == (1, "")
    assert said.startswith("dodo-cio: no Kafka broker could be used")
    assert said.count("\n") == 2


def test_a_missing_target(desk: Desk) -> None:
    """A topic that letters would go to is checked before anything is done."""
    desk.write(desk.letter())
    error = desk.fails("replay", "--yes", PIPELINE_WEBHOOKS_TOPIC="nowhere")
    assert isinstance(error, TopicError)
    assert "nowhere does not exist" in str(error)
    assert desk.summary()["put_back"] == 1


def same(back: ConsumerRecord, letter: OutRecord, replays: int) -> bool:
    """Whether `back` is the record that `letter` is about, put back so often."""
    foreign = [pair for pair in letter.headers if not pair[0].startswith("dlq-")]
    return (back.key, back.value, list(back.headers)) == (
        letter.key,
        letter.value,
        [*foreign, ("dlq-replays", b"%d" % replays)],
    )


def test_replay_of_everything(full: Desk) -> None:
    """Every original comes back once where its stage starts, in its key's partition, with one replay more."""
    found = full.summary(exit_code=1)
    assert (found["planned"], found["put_back"], found["refused"], found["left"]) == (8, 8, 1, 0)
    assert found["would_die_again"] == 2
    assert {(line["stage"], line["topic"]): 0 for line in found["plan"]} == {
        ("transform", full.settings.webhooks_topic): 0,
        ("sink", full.settings.operations_topic): 0,
    }
    letters = [
        OutRecord(record.key, record.value, tuple(record.headers))
        for record in full.stored(full.settings.dead_letters_topic)
    ]
    webhooks = {record.key: record for record in full.webhooks}
    assert len(webhooks) == len(full.webhooks) == 4
    for letter in letters[1:5]:
        back = webhooks[letter.key]
        assert same(back, letter, 1)
        assert back.partition == partition_of(back.key, PARTITIONS)
    operations = full.operations
    keyed = [record for record in operations if record.key is not None]
    assert len(operations) == 4
    assert all(same(back, letter, 1) for back, letter in zip(keyed, letters[5:8], strict=True))
    assert {record.partition for record in keyed} == {partition_of(b"u_7", PARTITIONS)}
    [keyless] = [record for record in operations if record.key is None]
    assert same(keyless, letters[8], 1)
    assert keyless.partition == 1


def test_what_is_back_stays_back(full: Desk) -> None:
    """The same command again puts nothing back; the list says what was put back, and `--open` leaves it out."""
    full.summary("--class", "oversize")
    assert (len(full.webhooks), len(full.operations)) == (1, 1)
    found = full.summary("--class", "oversize")
    assert (found["planned"], found["put_back_before"]) == (0, 2)
    assert (len(full.webhooks), len(full.operations)) == (1, 1)
    assert {letter["offset"]: letter["put_back"] for letter in full.listed("--class", "oversize")} == {4: 1, 6: 1}
    assert full.places("--open") == [0, 1, 2, 3, 5, 7, 8]
    assert "2 were put back already" in full.run("list")
    assert re.search(r"put back +once at 20\S+Z", full.run("show", "0/4"))


def test_again(desk: Desk) -> None:
    """By its place a letter goes once more only when asked for again, and not more often than the cap."""
    desk.write(desk.letter(), desk.letter())
    assert desk.summary("--offset", "0/1")["put_back"] == 1
    found = desk.summary("--offset", "0/1", exit_code=1)
    assert (found["planned"], found["put_back_before"]) == (0, 1)
    assert desk.summary("--offset", "0/1", "--again")["put_back"] == 1
    assert desk.summary("--offset", "0/1", "--again")["put_back"] == 1
    assert desk.summary("--offset", "0/1", "--again", exit_code=1)["refused"] == 1
    assert [record.key for record in desk.webhooks] == [b"cus_2"] * 3


def test_cap(desk: Desk) -> None:
    """A record that came back too often is refused and told; the others go. A higher cap lets it go."""
    worn = (("webhook-id", b"msg_w"), ("dlq-replays", b"3"))
    desk.write(desk.letter(headers=worn), desk.letter())
    out = desk.run("replay", "--yes", exit_code=1)
    assert re.search(r"1 letter refused: it was put back 3 times or more already .*--max-replays\): 0/0", out)
    assert [record.key for record in desk.webhooks] == [b"cus_2"]
    assert desk.summary("--max-replays", "4")["put_back"] == 1
    back = next(record for record in desk.webhooks if record.key == b"cus_1")
    assert int_header(back.headers, "dlq-replays") == 4


def test_dry_run(full: Desk) -> None:
    """It says what would be done, to people and to programs, needs no `--yes`, and writes nothing anywhere."""
    before = len(full.stored(full.settings.dead_letters_topic))
    out = full.run("replay", "--dry-run", exit_code=1)
    assert re.search(rf"1 +transform +unmappable +payment\.succeeded +{full.settings.webhooks_topic}", out)
    assert "8 letters to put back" in out
    found = json.loads(full.run("replay", "--dry-run", "--json", "--stage", "sink"))
    assert (found["dry_run"], found["planned"], found["put_back"]) == (True, 4, 0)
    assert full.webhooks == full.operations == []
    assert len(full.stored(full.settings.dead_letters_topic)) == before


def test_limit_takes_the_oldest(desk: Desk) -> None:
    """`--limit 1` tries one, the oldest; the next run the next one."""
    desk.write(*(desk.letter() for _ in range(3)))
    for expected in ([b"cus_1"], [b"cus_1", b"cus_2"]):
        desk.summary("--limit", "1")
        assert sorted(record.key for record in desk.webhooks) == expected


def test_a_letter_written_twice(desk: Desk) -> None:
    """Two letters about one record put it back once, and both count as done."""
    letter = desk.letter()
    later = dead_letter_of(
        letter.key, letter.value, letter.headers[:2], f"{desk.settings.webhooks_topic}/0/1",
        stage="transform", class_="unmappable", reason="no", at_ms=desk.now_ms,
    )  # fmt: skip
    desk.write(letter, later)
    found = desk.summary()
    assert (found["put_back"], found["repeated"]) == (1, 1)
    assert desk.summary()["put_back_before"] == 2
    assert len(desk.webhooks) == 1
    desk.write(later)  # a stage that comes back wrote it once more, behind the note of the replay
    last = desk.listed()[-1]
    assert json.loads(desk.run("show", last["letter"], "--json"))["put_back"] == last["put_back"] == 1


def test_order_of_a_customer(desk: Desk) -> None:
    """The records of one key come back in the order in which they failed, over many chunks."""
    desk.write(*(desk.letter(key=b"cus_%d" % (n % 5), headers=(("n", b"%d" % n),)) for n in range(300)))
    assert desk.summary("--rate", "2000")["put_back"] == 300
    for key in (b"cus_%d" % n for n in range(5)):
        numbers = [int(dict(record.headers)["n"]) for record in desk.webhooks if record.key == key]
        assert numbers == sorted(numbers)
        assert len(numbers) == 60


def test_without_a_terminal(desk: Desk) -> None:
    """Nobody can be asked, so nothing is done and the exit code is 2."""
    desk.write(desk.letter())
    assert "add --yes" in str(desk.fails("replay"))
    assert desk.webhooks == []


@pytest.mark.parametrize(("answer", "exit_code", "back"), [("", 1, 0), ("y", 0, 1)])
def test_the_question(desk: Desk, terminal: tuple[int, int], answer: str, exit_code: int, back: int) -> None:
    """On a terminal it asks, and only a yes is one."""
    desk.write(desk.letter())
    ours, theirs = terminal
    process = desk.process("replay", stdin=theirs)
    os.write(ours, f"{answer}\n".encode())
    out, said = process.communicate(timeout=300)
    assert process.returncode == exit_code, said
    assert "1 letter to put back" in out
    assert "Put 1 letter back at 500 a second" in said
    assert len(desk.webhooks) == back


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Both ends of a terminal."""
    ours, theirs = pty.openpty()
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


MANY = 600
"""Letters that take at least half a minute at the rates below, however long this process stands still meanwhile: a
replay that ended before the signal would show nothing. Nobody waits for the end of that time."""


def test_ctrl_c_and_on(desk: Desk) -> None:
    """Interrupted in the middle it says how far it was; the same command puts back the rest, each letter once."""
    desk.write(*(desk.letter() for _ in range(MANY)))
    process = desk.process("replay", "--yes", "--rate", "10")
    desk.until_webhooks(4, process)
    process.send_signal(signal.SIGINT)
    out, said = process.communicate(timeout=300)
    assert process.returncode == 130, said
    found = re.search(rf"(\d+) of {MANY} put back, then stopped\n(\d+) are left: the same command goes on", out)
    assert found
    done = int(found[1])
    assert 0 < done < MANY
    assert done == len(desk.webhooks) == MANY - int(found[2])
    assert desk.summary("--rate", "10000")["put_back"] == MANY - done
    assert Counter(record.key for record in desk.webhooks) == {b"cus_%d" % n: 1 for n in range(1, MANY + 1)}


def test_killed_and_on(desk: Desk) -> None:
    """Killed in the middle, the same command loses nothing and repeats no more than the chunk that was on its way."""
    desk.write(*(desk.letter() for _ in range(MANY)))
    process = desk.process("replay", "--yes", "--rate", "20")
    desk.until_webhooks(6, process)
    process.kill()
    process.communicate(timeout=300)
    assert len(desk.webhooks) < MANY
    desk.summary("--rate", "10000")
    times = Counter(record.key for record in desk.webhooks)
    assert times.keys() == {b"cus_%d" % n for n in range(1, MANY + 1)}
    assert times.total() - MANY <= chunk_size(20)


def test_ingest_letter_that_can_be_read_by_now(desk: Desk) -> None:
    """It goes to the webhooks under its customer's key, in the partition where that customer's webhooks are."""
    headers = (("webhook-id", b"msg_1"), ("dodo-mode", b"live"), ("received-at", b"1767225600123"))
    desk.write(desk.letter(stage="ingest", class_="unreadable", key=b"msg_1", headers=headers, source="http"))
    assert desk.summary()["put_back"] == 1
    [back] = desk.webhooks
    assert (back.key, back.value) == (b"cus_0NExampleCustomer0001", PAYMENT)
    assert list(back.headers) == [("dodo-type", b"payment.succeeded"), *headers, ("dlq-replays", b"1")]
    assert back.partition == partition_of(back.key, PARTITIONS)


@pytest.mark.parametrize("command", ["list", "show", "replay"])
def test_help(command: str) -> None:
    """Each command shows examples."""
    result = CliRunner().invoke(build(), ["dlq", command, "--help"])
    assert result.exit_code == 0
    assert f"dodo-cio dlq {command}" in result.stdout


def digest(text: str) -> str:
    """As the mark of a forgotten customer keeps it."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def operation_letter(desk: Desk, person: str, at_s: int, action: str = "identify", identifier: str = "id") -> OutRecord:
    """A letter of the sink about a person and what happened at `at_s`."""
    body = {"type": "person", "action": action, "identifiers": {identifier: person}, "attributes": {"name": "Jane Doe"}}
    return desk.letter(
        stage="sink",
        class_="undeliverable",
        key=person.encode(),
        value=json.dumps(body).encode(),
        headers=(("op-id", b"op"), ("dodo-type", b"payment.succeeded"), ("event-time", b"%d" % (at_s * 1000))),
        source=f"{desk.settings.operations_topic}/0/{desk.written}",
    )


FORGOTTEN_S = time.time_ns() // 1_000_000_000 - 3600


@pytest.fixture
def remembering(desk: Desk) -> Desk:
    """Three people were forgotten an hour ago, by three identity policies, and one was and is back."""
    people: dict[bytes, list[str | None] | None] = {
        b"cus_named": ["metadata.user", "u_7"],
        b"cus_address": ["email", None],
        b"cus_plain": None,
    }
    digests = {b"cus_named": digest("u_7"), b"cus_address": digest("jane@example.com")}
    facts: dict[bytes, bytes | None] = {}
    for customer, person in people.items():
        known = [] if person is None else [[FORGOTTEN_S, *person, digests[customer]]]
        facts[customer + b"\0request\0"] = json.dumps([FORGOTTEN_S, [digest("forget_1")], known]).encode()
        facts[customer + b"\0forgotten\0"] = b"[%d]" % FORGOTTEN_S
    desk.forgets({b"cus_back\0forgotten\0": b"[%d]" % FORGOTTEN_S})
    desk.forgets({**facts, b"cus_back\0forgotten\0": None})
    before, after = FORGOTTEN_S + CLOCKS_S - 1, FORGOTTEN_S + CLOCKS_S
    desk.write(
        operation_letter(desk, "u_7", before),
        operation_letter(desk, "cus_plain", before),
        operation_letter(desk, "jane@example.com", before, identifier="email"),
        operation_letter(desk, "u_7", after),
        operation_letter(desk, "jane@example.com", after, identifier="email"),
        operation_letter(desk, "u_7", before, action="delete"),
        operation_letter(desk, "u_8", before),
        operation_letter(desk, "cus_back", before),
    )
    return desk


def test_who_was_forgotten_is_not_brought_back(remembering: Desk) -> None:
    """What the sink gave up of them before the request is refused with that reason; all else goes, removals too."""
    summary = remembering.summary(exit_code=1)
    assert (summary["refused"], summary["put_back"]) == (3, 5)
    [refusal] = summary["refusals"]
    assert refusal["first"] == ["0/0", "0/1", "0/2"]
    assert "forgotten" in refusal["reason"]
    assert sorted((json.loads(r.value)["action"], r.key) for r in remembering.operations) == [
        ("delete", b"u_7"),
        ("identify", b"cus_back"),
        ("identify", b"jane@example.com"),
        ("identify", b"u_7"),
        ("identify", b"u_8"),
    ]
    assert remembering.summary("--include-forgotten")["put_back"] == 3


def test_a_removal_of_who_has_come_back(remembering: Desk) -> None:
    """It would take along what they bought since, which counts as sent; another request to be forgotten does not."""
    remembering.forgets({b"cus_named\0shared\0": b"[1,null,null]"})
    assert remembering.summary("--dry-run", "--offset", "0/5")["refused"] == 0
    remembering.forgets({b"cus_named\0payment\0pay_new": b"[]"})
    refusals = remembering.summary("--dry-run", "--offset", "0/5", exit_code=1)["refusals"]
    assert [(one["first"], "come back" in one["reason"]) for one in refusals] == [(["0/5"], True)]
    assert remembering.summary("--dry-run", "--offset", "0/5", "--include-forgotten")["refused"] == 0
    remembering.forgets({b"cus_named\0forgotten\0": b"[%d]" % (FORGOTTEN_S + 60)})
    assert remembering.summary("--dry-run", "--offset", "0/5")["refused"] == 0


@pytest.mark.parametrize("arguments", [("--stage", "transform"), ("--offset", "0/0", "--include-forgotten")])
def test_the_marks_are_read_only_where_they_matter(remembering: Desk, arguments: tuple[str, ...]) -> None:
    """A replay that means no letter of the sink, or all of them, needs nothing of the customers' topic."""
    missing: dict[str, Any] = {"PIPELINE_CUSTOMERS_TOPIC": "nowhere"}
    remembering.write(remembering.letter())
    remembering.run("replay", "--dry-run", *arguments, **missing)
    assert isinstance(remembering.fails("replay", "--dry-run", **missing), TopicError)
    remembering.run("replay", "--dry-run", **missing, PIPELINE_STATE="false")
