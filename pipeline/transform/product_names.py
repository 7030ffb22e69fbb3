"""Names of products: the operator's file, then the answers of Dodo's API, kept on disk between starts.

Dodo's webhooks carry product ids alone, and a mail wants a name. The file wins: it is what the operator wants printed.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import orjson

from pipeline import logs
from pipeline.transform.fields import text

FILE: Final = "product-names.json"
"""In `PIPELINE_DATA_DIR`; may be lost at any time."""

MAX_NAMES: Final = 20_000
"""Bounds memory and file; a shop with more products has the first ones' names, and the operator's file."""

MAX_NAME_CHARS: Final = 200
"""Longer ones are cut: several stand in one attribute of 1000 bytes."""

log = logs.get(__name__)


class ProductNames(Mapping[str, str]):
    """Names by product id; grows while the process runs.

    Args:
        given: the operator's.
        path: where the learnt ones are kept; what cannot be read there counts as nothing, with a warning.
    """

    def __init__(self, given: Mapping[str, str], path: Path) -> None:
        self._given = dict(given)
        self._path = path
        self._learnt = _read(path)

    def __getitem__(self, product_id: str) -> str:
        found = self._given.get(product_id)
        return self._learnt[product_id] if found is None else found

    def __iter__(self) -> Iterator[str]:
        return iter({**self._learnt, **self._given})

    def __len__(self) -> int:
        return len({**self._learnt, **self._given})

    def learn(self, product: Mapping[str, object]) -> bool:
        """Take over a product as the API has it; whether that is news."""
        product_id, name = text(product.get("product_id")), text(product.get("name"))
        if product_id is None or name is None:
            return False
        name = name[:MAX_NAME_CHARS]
        known = self._learnt.get(product_id)
        if known == name or (known is None and len(self._learnt) >= MAX_NAMES):
            return False
        self._learnt[product_id] = name
        return True

    def written(self) -> bytes:
        """What was learnt, as it is kept."""
        return orjson.dumps(dict(sorted(self._learnt.items())), option=orjson.OPT_INDENT_2)

    def keep(self, written: bytes) -> None:
        """Write it, whole or not at all; a disk that does not take it costs the next start its names."""
        temporary: str | None = None
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=self._path.parent, prefix=f".{FILE}.")
            with os.fdopen(handle, "wb") as file:
                file.write(written)
            Path(temporary).replace(self._path)
        except OSError as error:
            log.warning("The names of products could not be kept", path=str(self._path), error=type(error).__name__)
            if temporary is not None:
                Path(temporary).unlink(missing_ok=True)


def _read(path: Path) -> dict[str, str]:
    try:
        found = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, orjson.JSONDecodeError) as error:
        log.warning("The kept names of products cannot be read, and are asked for anew", path=str(path),
                    error=type(error).__name__)  # fmt: skip
        return {}
    pairs = found.items() if isinstance(found, dict) else ()
    return {product_id: name for product_id, name in pairs if isinstance(name, str) and name}
