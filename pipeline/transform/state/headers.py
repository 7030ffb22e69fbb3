"""The headers of every record of the customers' topic."""

from __future__ import annotations

from typing import Final

from pipeline.transform.state.facts import SCHEMA_VERSION

HEADERS: Final = (("schema-version", b"%d" % SCHEMA_VERSION),)
