"""docs/settings.md: every setting with its meaning, default and bounds, written from pipeline/settings.py."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pipeline.cli.settings import Setting, overview, variable_of
from pipeline.settings import Settings

SECTIONS: Final[Mapping[str, str]] = {
    "kafka_bootstrap_servers": "Kafka",
    "webhooks_topic": "Topics and consumer groups",
    "dodo_webhook_secrets": "Dodo Payments",
    "customerio_site_id": "Customer.io",
    "state": "The customers' state",
    "person_id": "Who a person is",
    "event_name_style": "What is sent",
    "host": "Ports, files and logs",
    "otlp_endpoint": "Traces",
}
"""The first setting of each section, in the order of the model, and the section's title."""

MORE: Final[Mapping[str, str]] = {
    "Kafka": "Ways in: [kafka-access.md](kafka-access.md). Rights, topics, versions: [kafka.md](kafka.md).",
    "Topics and consumer groups": "Restarts that move no partitions: "
    "[operating.md](operating.md#restarts-that-move-no-partitions).",
    "Dodo Payments": "What the API key is for: [dodo-api.md](dodo-api.md).",
    "Customer.io": "How several sinks share the rate: [operating.md](operating.md#the-workspaces-rate).",
    "The customers' state": "What it knows and where it lies: [state.md](state.md).",
    "Who a person is": "What the policies mean: [identity.md](identity.md).",
    "What is sent": "Every event and attribute: [mapping.md](mapping.md).",
    "Ports, files and logs": "Behind a load balancer: [operating.md](operating.md#ingest-behind-a-load-balancer).",
    "Traces": "What a trace shows, and what it costs: [tracing.md](tracing.md).",
}

INTRODUCTION: Final = """\
<!-- Written by `make docs` from pipeline/settings.py: change it there, not here. -->

# Settings

Environment variables, read at the start of each process. An empty one counts as unset. `PIPELINE_<NAME>_FILE` names a
file that holds the value instead (mounted secrets); giving both is an error. A malformed value ends the process with
exit code 2 and one line that names the variable and never repeats the value.

`dodo-cio settings` prints all of them with their present value (of secrets only whether they are set), and
`dodo-cio settings --env` an environment file to start from. What each default costs: [costs.md](costs.md).
"""


def settings_page() -> str:
    """The whole page."""
    return INTRODUCTION + "".join(_sections())


def _sections() -> Iterator[str]:
    rows = {row.variable: row for row in overview({}).settings}
    for name, field in Settings.model_fields.items():
        if (title := SECTIONS.get(name)) is not None:
            more = f"{MORE[title]}\n\n" if title in MORE else ""
            yield f"\n## {title}\n\n{more}| variable | default | values | what it is |\n|---|---|---|---|\n"
        yield _line(rows[variable_of(name)], field.metadata)


def _line(row: Setting, bounds: list[Any]) -> str:
    default = "" if row.default == "unset" else f"`{row.default}`"
    form = ", ".join(f"`{word}`" for word in row.form.split("|")) if "|" in row.form else row.form
    secret = ", secret" if row.secret else ""
    description = row.description.replace("|", "\\|").replace("<", "&lt;")
    description = re.sub(r"\bdocs/([a-z]+\.md)\b", r"[\1](\1)", description)
    cells = (f"`{row.variable}`", default, f"{form}{secret}{_bounds(bounds)}", description)
    return f"| {' | '.join(cells)} |\n"


def _bounds(bounds: list[Any]) -> str:
    words = []
    for bound in bounds:
        for attribute, word in (("gt", "above"), ("ge", "at least"), ("le", "at most"), ("lt", "below")):
            limit = getattr(bound, attribute, None)
            if limit is not None:
                words.append(f"{word} {limit:,}")
    return f", {' and '.join(words)}" if words else ""
