"""Pages that are written by hand, but for tables that repeat what the code says."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from pipeline.cli.exit_codes import as_markdown
from pipeline.customerio import limits
from pipeline.deadletters.advice import ADVICE
from pipeline.dodo.api import rate
from pipeline.dodo.signature import TOLERANCE_S
from pipeline.http.limits import HEAD_BYTES, HEAD_WITHIN_S, HEADERS
from pipeline.ingest.records import MAX_BODY_BYTES
from pipeline.ingest.replies import READ_WITHIN_S
from pipeline.ingest.store import STORE_WITHIN_S
from pipeline.kafka.cluster.losses import KEPT_MS
from pipeline.kafka.cluster.rights import COMMANDS, STAGES, rights_of, united
from pipeline.kafka.cluster.topic_specs import TopicSpec, load_specs
from pipeline.preview.worlds import MOST_FACTS
from pipeline.settings import Settings
from pipeline.statestore.marker import MAX_AWAY_S
from pipeline.transform import resolver
from pipeline.transform.customers.customer_view import EVENT_KEPT_S
from pipeline.transform.customers.facts import MAX_FACT_BYTES
from pipeline.transform.shaping.applied import EVENTS_MAX

DOCS: Final = Path(__file__).parents[2] / "docs"

BLOCK: Final = re.compile(r"(<!-- made by `make docs`: ([a-z-]+) -->\n).*?(<!-- end -->\n)", re.DOTALL)

HOUR_S: Final = 3600
DAY_S: Final = 24 * HOUR_S
DAY_MS: Final = DAY_S * 1000


def operating_page() -> str:
    """The page as it is, with its tables of today."""
    return _of_today("operating.md")


def kafka_page() -> str:
    """The same."""
    return _of_today("kafka.md")


def limits_page() -> str:
    """The same."""
    return _of_today("limits.md")


def _of_today(page: str) -> str:
    text = (DOCS / page).read_text(encoding="utf-8")
    return BLOCK.sub(lambda found: f"{found[1]}\n{TABLES[page][found[2]]()}\n{found[3]}", text)


def _rights() -> str:
    """What the start checks ask for and `topics render` prints, and nothing else."""
    settings = Settings.model_construct()
    lines = ["| who | may do |", "|---|---|"]
    for who in (*STAGES, *COMMANDS):
        rights = united(rights_of(who, settings))
        words = "; ".join(
            f"{', '.join(operation.word for operation in operations)} on {kind} `{name}`"
            for (kind, name), operations in rights.items()
        )
        lines.append(f"| `dodo-cio {who}` | {words} |")
    return "\n".join(lines) + "\n"


def _topics() -> str:
    """What `topics apply` creates."""
    lines = ["| topic | partitions | cleanup | kept | largest batch | time of a record |", "|---|---|---|---|---|---|"]
    for spec in load_specs(Settings.model_construct()):
        count = f"those of `{spec.partitions_like}`" if spec.partitions_like else str(spec.partitions)
        of = spec.configs
        size = f"{int(of['max.message.bytes']):,} bytes"
        cells = (f"`{spec.name}`", count, of["cleanup.policy"], "; ".join(_kept(spec)), size)
        lines.append(f"| {' | '.join(cells)} | {of['message.timestamp.type']} |")
    return "\n".join(lines) + "\n"


def _kept(spec: TopicSpec) -> Iterator[str]:
    days = {name: int(value) // DAY_MS for name, value in spec.configs.items() if name.endswith(".ms")}
    yield f"{days['retention.ms']} days" if "retention.ms" in days else "the latest of each key for ever"
    if "delete.retention.ms" in days:
        yield f"tombstones {days['delete.retention.ms']} days"
    if "max.compaction.lag.ms" in days:
        yield f"compacted within {days['max.compaction.lag.ms']} days"


def _dead_letters() -> str:
    """What `dodo-cio dlq` says of each class."""
    lines = ["| class | what it means, and what to do |", "|---|---|"]
    return "\n".join([*lines, *(f"| `{class_}` | {advice} |" for class_, advice in ADVICE.items())]) + "\n"


def _exit_codes() -> str:
    """What `dodo-cio --help` says of them."""
    return as_markdown() + "\n"


def _limits() -> str:
    """What is bounded, by the constant that bounds it."""
    a_second = Settings.model_fields["customerio_requests_per_second"].default
    rows = (
        ("a webhook's body", f"{MAX_BODY_BYTES:,} bytes, {READ_WITHIN_S:g} s", "413, 408"),
        ("a request's head", f"{HEAD_BYTES:,} bytes, {HEADERS} headers, {HEAD_WITHIN_S:g} s", "431, 408"),
        ("age of a signature", f"{TOLERANCE_S // 60} minutes either way", "401"),
        ("until Kafka confirms a webhook", f"{STORE_WITHIN_S:g} s", "503; Dodo sends again for 27.6 hours"),
        ("one operation", f"{limits.ITEM_MAX_BYTES:,} bytes", "the dead letter `oversize`"),
        ("one batch", f"{limits.BODY_MAX_BYTES:,} bytes", "the next batch"),
        ("requests to Customer.io", f"{a_second:g} a second for the whole workspace", "they wait"),
        ("attributes of one operation", f"{limits.ATTRIBUTES_MAX}", "left out, with a note"),
        ("one attribute's value", f"{limits.ATTRIBUTE_VALUE_MAX_BYTES:,} bytes", "cut or left out, with a note"),
        ("one attribute's name", f"{limits.ATTRIBUTE_NAME_MAX_BYTES} bytes", "left out, with a note"),
        ("an event's name", f"{limits.EVENT_NAME_MAX_BYTES} bytes", "refused where your rules or code give it"),
        ("a person's id", f"{limits.PERSON_ID_MAX_BYTES} bytes", "no id: the policy's next step"),
        ("events of one webhook from your own code", f"{EVENTS_MAX}", "the dead letter `transform-failed`"),
        (
            "an event that starts a campaign",
            f"{limits.CAMPAIGN_WINDOW_S // HOUR_S} hours old",
            "no campaign, by Customer.io's own rule",
        ),
        ("one fact about a customer", f"{MAX_FACT_BYTES:,} bytes", "the dead letter `oversize`"),
        ("that a webhook made an event is known", f"{EVENT_KEPT_S // DAY_S} days", "it may make one again"),
        ("a mirror away from its worker", f"{MAX_AWAY_S // DAY_S} days", "read anew from the topic"),
        ("a loss is shown", f"{KEPT_MS // DAY_MS * 24} hours", "it stays counted in `records_lost_total`"),
        ("requests to Dodo's API", f"{rate.PER_SECOND} a second, {rate.PER_MINUTE} a minute", "they wait"),
        ("look-ups of customers", f"{resolver.PER_SECOND} a second", "the webhook goes on by what is known"),
        ("facts that a `preview` remembers", f"{MOST_FACTS:,}", "it begins anew, and says so (`begun_anew`)"),
    )
    lines = ["| what | at most | beyond it |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines) + "\n"


TABLES: Final[Mapping[str, Mapping[str, Callable[[], str]]]] = {
    "operating.md": {"exit-codes": _exit_codes, "dead-letters": _dead_letters},
    "kafka.md": {"topics": _topics, "rights": _rights},
    "limits.md": {"limits": _limits},
}
"""By page, and by the name that the page gives the table."""
