"""The headers of every record of the changelog."""

from __future__ import annotations

from typing import Final

from pipeline.transform.state.facts import SCHEMA_VERSION

SCHEMA: Final = "schema-version"

HEADERS: Final = ((SCHEMA, b"%d" % SCHEMA_VERSION),)
