"""Write into sdist and wheel which commit they are of; an editable install asks Git each time instead."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CommitHook(BuildHookInterface):  # type: ignore[type-arg]
    """The commit is Git's in a checkout, and of an unpacked sdist what its own build wrote."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the file; where there is neither Git nor an sdist's file there is none, and `--version` says unknown."""
        sys.path.insert(0, self.root)
        from pipeline.version import BUILT_FROM, commit

        package = Path(self.root) / "pipeline"
        found = commit(package)
        if version == "editable" or found is None or (package / BUILT_FROM).exists():
            return
        self._scratch = tempfile.TemporaryDirectory(prefix="dodo-customerio-build-")
        file = Path(self._scratch.name) / BUILT_FROM
        file.write_text(found + "\n", encoding="ascii")
        build_data["force_include"][str(file)] = f"pipeline/{BUILT_FROM}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """Remove the scratch file."""
        if hasattr(self, "_scratch"):
            self._scratch.cleanup()
