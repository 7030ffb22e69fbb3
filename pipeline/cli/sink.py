"""`dodo-cio sink`: the stage between operations and Customer.io."""

from __future__ import annotations

from typing import Annotated, Any

import typer


def register(app: typer.Typer) -> None:
    """Add `dodo-cio sink`."""

    @app.command("sink")
    def sink(
        *,
        host: Annotated[
            str | None, typer.Option(metavar="HOST", help="Address of the health port (PIPELINE_HOST).")
        ] = None,
        port: Annotated[
            int | None,
            typer.Option(
                min=0, max=65535, metavar="N", help="Health port (PIPELINE_PORT, else 8082); 0: any free one."
            ),
        ] = None,
    ) -> None:
        """Run the sink: operations in, batches to Customer.io out.

        Start as many as there are partitions of the operations topic; each takes its share, and of the request rate as
        well (PIPELINE_CUSTOMERIO_REQUESTS_PER_SECOND is the whole workspace's). SIGTERM finishes the requests in
        flight, hands the partitions over and ends with exit code 0. Wrong credentials at start end it with exit code 2;
        later they hold the flow, and nothing is lost. `/live`, `/ready`, `/status` and `/metrics` answer on the health
        port. The same as `faust -A pipeline.sink.app worker --without-web`.

        Examples: `PIPELINE_CUSTOMERIO_SITE_ID=… PIPELINE_CUSTOMERIO_API_KEY_FILE=/run/secrets/track dodo-cio sink`,
        with PIPELINE_CUSTOMERIO_URL=http://localhost:8090 as well: `dodo-cio sink --port 0` (a sandbox)
        """
        given: dict[str, Any] = {"host": host, "port": port}
        overrides = {name: value for name, value in given.items() if value is not None}

        from pipeline.sink.worker import run

        run(overrides)
