"""The operator's product names: a YAML file of `product id: name`.

Dodo sends product ids only, and a mail wants a name.
"""

from __future__ import annotations

from pathlib import Path

import yaml

from pipeline.errors import SettingsError
from pipeline.settings import PREFIX

VARIABLE = f"{PREFIX}PRODUCT_NAMES"


def load_product_names(path: Path) -> dict[str, str]:
    """The names by product id; an empty file has none.

    Read from the YAML nodes, so that a fault has its line and a repeated id is seen (a loader would keep the last).

    Raises:
        SettingsError: naming the variable, the file and the line, and what it should look like.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{VARIABLE}: {path} cannot be read ({type(error).__name__})") from None
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or type(error).__name__
        raise SettingsError(f"{VARIABLE}: {_place(path, mark)} is not YAML: {problem}") from None
    except RecursionError:
        raise SettingsError(f"{VARIABLE}: {path} is nested too deep: it must map product ids to names") from None
    if root is None:
        return {}
    if not isinstance(root, yaml.MappingNode):
        raise SettingsError(
            f"{VARIABLE}: {_place(path, root.start_mark)} must map product ids to names, e.g. pdt_123: Team plan"
        )
    names: dict[str, str] = {}
    for key, value in root.value:
        place = _place(path, key.start_mark)
        if not isinstance(key, yaml.ScalarNode) or not key.value.strip():
            raise SettingsError(f"{VARIABLE}: {place}: a product id must be text")
        product_id = key.value.strip()
        if not isinstance(value, yaml.ScalarNode) or value.tag != "tag:yaml.org,2002:str" or not value.value.strip():
            raise SettingsError(f'{VARIABLE}: {place}: the name of {product_id} must be text; quote it: "…"')
        if product_id in names:
            raise SettingsError(f"{VARIABLE}: {place}: {product_id} has two names; keep one")
        names[product_id] = value.value.strip()
    return names


def _place(path: Path, mark: yaml.Mark | None) -> str:
    return f"{path}:{mark.line + 1}" if mark is not None else str(path)
