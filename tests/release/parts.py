"""A CycloneDX list of parts beside the lock file: the same parts in the same versions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

OF_THE_ENVIRONMENT: Final = frozenset({"pip", "setuptools", "wheel"})
"""What `python -m venv` brings along."""

OURS: Final = "dodo-customerio"


def faults(document: Mapping[str, Any], lock: str) -> list[str]:
    """What is missing, superfluous or of another version, a line each; none when the list is right."""
    if document.get("bomFormat") != "CycloneDX":
        return ["it is no CycloneDX document"]
    listed: dict[str, Any] = {
        canonicalize_name(part["name"]): part.get("version") for part in document.get("components", ())
    }
    listed |= {OURS: None} if document.get("metadata", {}).get("component", {}).get("name") == OURS else {}
    wanted = _locked(lock)
    found = [] if OURS in listed else [f"{OURS} itself is missing"]
    found += [f"{name} {version} is missing" for name, version in wanted.items() if name not in listed]
    found += [
        f"{name} is {listed[name]} instead of {version}"
        for name, version in wanted.items()
        if name in listed and listed[name] != version
    ]
    return found + [f"{name} is not locked" for name in sorted(set(listed) - set(wanted) - OF_THE_ENVIRONMENT - {OURS})]


def _locked(lock: str) -> dict[str, str]:
    """Name and version of what the lock means for this machine and Python."""
    requirements = (Requirement(line) for line in re.findall(r"^[a-zA-Z0-9][^\\\n]*==[^\\\n]*", lock, re.MULTILINE))
    return {
        canonicalize_name(one.name): str(one.specifier).removeprefix("==")
        for one in requirements
        if one.marker is None or one.marker.evaluate()
    }
