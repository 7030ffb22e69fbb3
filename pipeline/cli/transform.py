"""`dodo-cio transform`: the stage between webhooks and operations."""

from __future__ import annotations

from typing import Annotated, Any

import typer


def register(app: typer.Typer) -> None:
    """Add `dodo-cio transform`."""

    @app.command("transform")
    def transform(
        *,
        host: Annotated[
            str | None, typer.Option(metavar="HOST", help="Address of the health port (PIPELINE_HOST).")
        ] = None,
        port: Annotated[
            int | None,
            typer.Option(
                min=0, max=65535, metavar="N", help="Health port (PIPELINE_PORT, else 8081); 0: any free one."
            ),
        ] = None,
        accept_state_loss: Annotated[
            bool,
            typer.Option(
                "--accept-state-loss",
                help="Start although local mirrors hold more of the customers than the topic, and give that up, as "
                "PIPELINE_STATE_LOSS_ACCEPTED does.",
            ),
        ] = False,
    ) -> None:
        """Run the transform: webhooks in, Customer.io operations out, over Kafka.

        Start as many as there are partitions of the webhooks topic; each takes its share. SIGTERM hands the partitions
        over and ends with exit code 0. `/live`, `/ready`, `/status` and `/metrics` answer on the health port. The same
        as `faust -A pipeline.transform.app worker --without-web`.

        Examples: `dodo-cio transform`, `dodo-cio transform --port 0`,
        `PIPELINE_LOG_FORMAT=json dodo-cio transform`
        """
        given: dict[str, Any] = {"host": host, "port": port, "state_loss_accepted": accept_state_loss or None}
        overrides = {name: value for name, value in given.items() if value is not None}

        from pipeline.transform.worker import run

        run(overrides)
