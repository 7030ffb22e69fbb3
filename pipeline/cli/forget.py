"""`dodo-cio forget`: removes a customer's state, and on request the person at Customer.io."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Optional

import typer

if TYPE_CHECKING:
    from pipeline.backfill.commands import Removal


class AtCustomerio(StrEnum):
    """What is done with the person at Customer.io."""

    delete = "delete"
    suppress = "suppress"


def register(app: typer.Typer) -> None:
    """Add `dodo-cio forget`."""
    app.command("forget")(forget)


def forget(
    customer: Annotated[
        Optional[str], typer.Argument(metavar="CUSTOMER", help="Dodo's id of the customer: cus_…")
    ] = None,
    *,
    person: Annotated[
        Optional[str],
        typer.Option(help="Instead of CUSTOMER: the person's id or address at Customer.io; all customers behind it."),
    ] = None,
    customerio: Annotated[
        Optional[AtCustomerio],
        typer.Option(help="Also at Customer.io: delete the person, or suppress (delete, and block the id)."),
    ] = None,
    dead_letters: Annotated[
        bool, typer.Option("--dead-letters", help="Also remove the customer's dead letters that lie there now.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be sent, and send nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; needed without a terminal.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was sent as one JSON document.")] = False,
) -> None:
    """Forget a customer, for a privacy request: facts and totals go, and a later backfill does not bring them back.

    Sends a command record to the worker that owns the customer. What stays is the customer's id with the moment of the
    request. Webhooks that Dodo sends about later events are taken as those of a new customer. `docs/privacy.md` says
    what is deleted where, and when.

    It says which dead letters of the customer still lie there, by the customer's id, and of the sink's by the person's.
    `--dead-letters` removes them. Kafka deletes no single record. So where the topic deletes by age, as `topics apply`
    makes it, a partition that holds such a letter is written anew without it, and what was there is deleted: all other
    letters get new places, and their retention begins anew. It needs Write and Delete on the topic. Do it when no `dlq
    replay` runs. Where the topic is compacted, a null record is written under the letter's key, and the broker removes
    what lies under it when it compacts. A person who is two customers loses the letters of both.

    With `--person` those customers are forgotten whom the state knows as that person: by the id that
    `PIPELINE_PERSON_ID` gave, or the address by which they go. They are named first. It reads all of the customers'
    topic.

    Exit codes: 0 the command is durable, 1 it failed or was not confirmed, 2 something must be changed (or `--yes` is
    missing without a terminal).

    **Examples**

    dodo-cio forget cus_0NExampleCustomer0001 --dry-run

    dodo-cio forget cus_0NExampleCustomer0001 --customerio delete

    dodo-cio forget cus_0NExampleCustomer0001 --customerio suppress --dead-letters --yes --json

    dodo-cio forget --person jane@example.com --customerio delete
    """
    from pipeline.cli.forget_run import ForgetOptions, perform, perform_for_person
    from pipeline.cli.preparation import prepare_command
    from pipeline.errors import InputError
    from pipeline.settings import SURROGATE

    if any(SURROGATE.search(given) for given in (customer, person) if given is not None):
        raise InputError("what was given is not UTF-8, so nobody is called so")
    removal: Removal | None = None
    match customerio:
        case AtCustomerio.delete:
            removal = "delete"
        case AtCustomerio.suppress:
            removal = "suppress"
    asked = ForgetOptions(removal, dead_letters=dead_letters, dry_run=dry_run, yes=yes, as_json=as_json)
    if customer is not None and person is None:
        raise typer.Exit(perform(prepare_command(), customer, asked))
    if person is not None and customer is None:
        raise typer.Exit(perform_for_person(prepare_command(), person, asked))
    raise typer.BadParameter("give either CUSTOMER or --person")
