"""`dodo-cio topics`: shows, creates and checks the topics that the pipeline needs."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from pipeline.cli.preparation import prepare
from pipeline.cli.screen import say
from pipeline.errors import InputError
from pipeline.settings import Settings

if TYPE_CHECKING:
    from pipeline.kafka.cluster.topics import Plan, Step, TopicSpec

KINDS = {
    "CreateTopic": "create",
    "ChangeConfig": "change",
    "AddPartitions": "add-partitions",
    "CannotChange": "cannot-change",
}

Partitions = Annotated[
    Optional[int],
    typer.Option(min=1, max=1000, help="At most so many partitions a topic; for development brokers."),
]
Replicas = Annotated[
    int, typer.Option("--replication-factor", min=-1, max=32, help="Of new topics; -1 is the cluster's default.")
]
Directory = Annotated[
    Optional[Path],
    typer.Option("--topics-dir", help="Directory of topic files. [default: those of this project]", metavar="DIR"),
]
Grow = Annotated[
    bool,
    typer.Option(
        "--add-partitions",
        help="Add partitions too where that moves keys, and move the customers' facts along. Drain first.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class Form(StrEnum):
    """The forms that `render` can write."""

    strimzi = "strimzi"
    shell = "shell"
    users = "users"
    acls = "acls"


def register(app: typer.Typer) -> None:
    """Add `dodo-cio topics`."""
    group = typer.Typer(
        no_args_is_help=True,
        help="Create and check the topics. Workers never create one: at their start they name what is missing.",
    )
    group.command("plan")(show_plan)
    group.command("apply")(apply)
    group.command("check")(check)
    group.command("render")(render)
    app.add_typer(group, name="topics")


def show_plan(
    *,
    partitions: Partitions = None,
    replication_factor: Replicas = -1,
    topics_dir: Directory = None,
    add_partitions: Grow = False,
    as_json: AsJson = False,
) -> None:
    """Show what `apply` would do. Changes nothing.

    What is not in the topic files is left alone and listed as a note.

    Examples: `dodo-cio topics plan`, `dodo-cio topics plan --replication-factor 3 --json`
    """
    found = _plan(prepare(), partitions, replication_factor, topics_dir, add_partitions=add_partitions)
    _print(found, as_json=as_json)


def apply(
    *,
    partitions: Partitions = None,
    replication_factor: Replicas = -1,
    topics_dir: Directory = None,
    add_partitions: Grow = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask. Needed where there is no terminal.")] = False,
) -> None:
    """Create missing topics and set what differs, after showing the plan and asking.

    Never deletes a topic or a record, never resets a setting that the topic files do not name. Running it again does
    nothing. Exit code 1 when something differs that no request can change.

    With `--add-partitions` for the webhooks, every transform must be stopped and the topic read to its end, which is
    checked before anything is done; the last step moves the customers' facts (`dodo-cio state repartition`).

    Examples: `dodo-cio topics apply`, `dodo-cio topics apply --yes --partitions 4`
    """
    from pipeline.kafka.cluster import topics
    from pipeline.kafka.cluster.topics import AddPartitions, CannotChange

    settings = prepare()
    found = _plan(settings, partitions, replication_factor, topics_dir, add_partitions=add_partitions)
    _print(found, as_json=False)
    to_do = [
        step
        for step in found.steps
        if not isinstance(step, CannotChange) and not (isinstance(step, AddPartitions) and step.held)
    ]
    if to_do:
        if not yes:
            if not sys.stdin.isatty():
                raise InputError("there is no terminal to ask on: read the plan above, then pass --yes")
            typer.confirm("Apply this?", abort=True)
        moves = settings.state and _moves_customers(settings, found)
        if moves:
            _check_quiet(settings)
        asyncio.run(topics.apply(settings, found, done=lambda step: say(f"done: {step}", indent=6)))
        if moves:
            from pipeline.cli.state_run import StateOptions, perform

            if code := perform(settings, StateOptions(yes=True, with_backlog=True)):
                raise typer.Exit(code)
    if any(isinstance(step, CannotChange) for step in found.steps):
        raise typer.Exit(1)


def check(
    *,
    partitions: Partitions = None,
    replication_factor: Replicas = -1,
    topics_dir: Directory = None,
    as_json: AsJson = False,
) -> None:
    """Say whether the cluster has what the topic files ask for; exit code 1 and a list when not.

    Examples: `dodo-cio topics check`, `dodo-cio topics check --json`
    """
    found = _plan(prepare(), partitions, replication_factor, topics_dir, add_partitions=False)
    _print(found, as_json=as_json, sentence="The cluster has what the topic files ask for")
    if not found.is_empty:
        raise typer.Exit(1)


def render(
    *,
    form: Annotated[
        Form,
        typer.Option(
            "--format",
            metavar="FORM",
            help="The topics as Strimzi KafkaTopic resources (strimzi) or a shell script (shell); the rights that each "
            "stage and the commands need as Strimzi KafkaUser resources (users) or as kafka-acls.sh commands (acls).",
        ),
    ] = Form.strimzi,
    user_prefix: Annotated[str, typer.Option(help="What the users' names begin with.")] = "dodo-cio-",
    cluster: Annotated[str, typer.Option(help="Name of the Strimzi Kafka resource.")] = "kafka",
    partitions: Partitions = None,
    replication_factor: Replicas = -1,
    topics_dir: Directory = None,
) -> None:
    """Print the topics, or the rights on them, in a form that the platform team can apply. Asks no broker.

    Examples: `dodo-cio topics render --cluster production | kubectl apply -f -`,
    `dodo-cio topics render --format shell > topics.sh`,
    `dodo-cio topics render --format acls > acls.sh`,
    `dodo-cio topics render --format users --cluster production | kubectl apply -f -`
    """
    from pipeline.kafka.cluster import rights_render, topic_render

    settings = Settings.load()
    match form:
        case Form.acls:
            text = rights_render.acls(settings, users=user_prefix)
        case Form.users:
            text = rights_render.strimzi_users(settings, cluster=cluster, users=user_prefix)
        case _:
            specs = _specs(settings, partitions, replication_factor, topics_dir)
            text = topic_render.shell(specs) if form is Form.shell else topic_render.strimzi(specs, cluster=cluster)
    typer.echo(text, nl=False)


def _specs(
    settings: Settings, partitions: int | None, replication_factor: int, directory: Path | None
) -> Sequence[TopicSpec]:
    from pipeline.kafka.cluster.topics import load_specs

    if replication_factor == 0:
        raise InputError("--replication-factor must be -1 (the cluster's default) or at least 1")
    return load_specs(
        settings, directory=directory, replication_factor=replication_factor, at_most_partitions=partitions
    )


def _plan(
    settings: Settings,
    partitions: int | None,
    replication_factor: int,
    directory: Path | None,
    *,
    add_partitions: bool,
) -> Plan:
    from pipeline.kafka.cluster.topics import actual_topics, plan

    specs = _specs(settings, partitions, replication_factor, directory)
    return plan(specs, asyncio.run(actual_topics(settings, specs)), add_partitions=add_partitions)


def _moves_customers(settings: Settings, found: Plan) -> bool:
    """Whether the plan changes the partitions that own customers."""
    from pipeline.kafka.cluster.topics import AddPartitions

    return any(
        isinstance(step, AddPartitions) and not step.held and step.topic == settings.webhooks_topic
        for step in found.steps
    )


def _check_quiet(settings: Settings) -> None:
    from pipeline.transform.customers.repartition import check_quiet

    asyncio.run(check_quiet(settings))


def _print(found: Plan, *, as_json: bool, sentence: str = "Nothing to do") -> None:
    if as_json:
        steps = [_as_dict(step) for step in found.steps]
        typer.echo(json.dumps({"differs": not found.is_empty, "steps": steps, "notes": list(found.notes)}, indent=2))
        return
    for step in found.steps:
        say(str(step), indent=4)
    if found.is_empty:
        say(sentence)
    for note in found.notes:
        say(f"note: {note}", indent=6)


def _as_dict(step: Step) -> dict[str, Any]:
    return {"kind": KINDS[type(step).__name__], **asdict(step)}
