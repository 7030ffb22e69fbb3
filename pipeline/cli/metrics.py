"""`dodo-cio metrics`: lists every series of the stages, from the code that registers them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, get_args

import typer

if TYPE_CHECKING:
    from pipeline.settings import Stage
    from pipeline.watch.metrics import Metrics, Series

INVENTED: Final[Mapping[str, Any]] = {
    "dodo_webhook_secrets": "whsec_nobodyEverSignsAWebhookWithThisSecret00",
    "customerio_site_id": "nobody",
    "customerio_api_key": "nobody",
    "state": True,
}
"""Settings with which a stage can be wired, though not started: its series are registered then."""

PAGE: Final = """\
<!-- Written by `make docs` from the code that registers the series: change it there, not here. -->

# Metrics

Each stage serves `/metrics` on its port, as text and as OpenMetrics. Beside these, each has the standard `process_*`
and `python_gc_*`. `dodo-cio metrics` lists them in a terminal.

- A series with labels whose values are known from the start exists at 0 before anything happened, so that `increase`
  sees the first event. A partition's series exist once the partition is assigned, and end when it goes.
- Labels have few values whatever is sent to us: types that Dodo does not document are counted as `other`.
- `webhook_to_accepted_seconds` and `operation_to_accepted_seconds` have exemplars in the OpenMetrics format: the
  `webhook_id` of the latest operation in each bucket. Prometheus asks for that format by itself, and keeps exemplars
  when it is started with `--enable-feature=exemplar-storage`.
- [deploy/prometheus](deploy/prometheus/README.md) has a scrape configuration, alert rules and a dashboard.
"""


@dataclass(frozen=True, slots=True)
class Shown:
    """A series with the stages that have it."""

    name: str
    kind: str
    labels: tuple[str, ...]
    stages: tuple[str, ...]
    text: str


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("metrics")(metrics)


def metrics(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="As the page docs/metrics.md.")] = False,
) -> None:
    """List the metrics of the three stages: name, labels, type, stages and what each tells. Offline.

    **Examples**

    dodo-cio metrics

    dodo-cio metrics --json | jq -r '.metrics[].name'
    """
    if as_json:
        import orjson

        document = {"metrics": [asdict(one) for one in every_series()]}
        sys.stdout.write(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode())
    elif as_markdown:
        sys.stdout.write(metrics_page())
    else:
        from pipeline.cli.screen import line, output

        console = output()
        for one in every_series():
            line(console, (_named(one), "bold"), (f"  {one.kind}; {', '.join(one.stages)}", "dim"), indent=4)
            line(console, f"    {one.text}", indent=4)


def every_series() -> list[Shown]:
    """All series, those of several stages once, in the order in which they are registered."""
    from pipeline.settings import Stage

    stages: dict[Series, list[str]] = {}
    for stage in get_args(Stage):
        for series in metrics_of(stage).series:
            stages.setdefault(series, []).append(stage)
    return [Shown(one.name, one.kind, one.labels, tuple(who), one.text) for one, who in stages.items()]


def metrics_of(stage: Stage) -> Metrics:
    """The registry of a stage that was wired and not started."""
    from pipeline.settings import Settings
    from pipeline.watch.metrics import Metrics

    settings = Settings.load(**INVENTED)
    if stage == "ingest":
        from pipeline.ingest.app import create_app as ingest
        from pipeline.ingest.workers.series import worker_series

        registry: Metrics = ingest(settings).state.metrics
        worker_series(registry)
        return registry
    if stage == "transform":
        from pipeline.transform.worker import create_app
    else:
        from pipeline.sink.worker import create_app
    observers = create_app(settings).transport_observers
    return next(observer for observer in observers if isinstance(observer, Metrics))


def metrics_page() -> str:
    """`docs/metrics.md`."""
    groups: dict[tuple[str, ...], list[Shown]] = {}
    for one in every_series():
        groups.setdefault(one.stages, []).append(one)
    parts = [PAGE]
    for stages, series in sorted(groups.items(), key=lambda group: (-len(group[0]), group[0])):
        title = "Every stage" if len(stages) == len(_stages()) else " and ".join(stages).capitalize()
        parts.append(f"\n## {title}\n\n| series | type | tells |\n|---|---|---|\n")
        parts += [
            f"| `{_named(one)}` | {one.kind} | {one.text} |\n" for one in sorted(series, key=lambda one: one.name)
        ]
    return "".join(parts)


def _stages() -> tuple[str, ...]:
    from pipeline.settings import Stage

    return get_args(Stage)


def _named(one: Shown) -> str:
    return f"{one.name}{{{','.join(one.labels)}}}" if one.labels else one.name
