"""Write into sdist and wheel which commit they are of, and compile the wheel's hot modules where that is asked for.

An editable install asks Git for its commit each time instead, and is Python alone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

COMPILE = "DODO_CIO_COMPILE"
"""The variable that asks for a wheel with machine code (docs/install.md)."""

COMPILER = "compile_modules.py"


class BuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """The commit is Git's in a checkout, and of an unpacked sdist what its own build wrote."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add what is not in the tree."""
        if version == "editable":
            return
        self._scratch = tempfile.TemporaryDirectory(prefix="dodo-customerio-build-")
        scratch = Path(self._scratch.name)
        self._add_commit(scratch, build_data)
        if self.target_name == "wheel" and os.environ.get(COMPILE, "0") not in {"", "0"}:
            self._add_machine_code(scratch / "source", build_data)

    def _add_commit(self, scratch: Path, build_data: dict[str, Any]) -> None:
        """Where there is neither Git nor an sdist's file there is none, and `--version` says unknown."""
        sys.path.insert(0, self.root)
        from pipeline.version import BUILT_FROM, commit

        package = Path(self.root) / "pipeline"
        found = commit(package)
        if found is None or (package / BUILT_FROM).exists():
            return
        file = scratch / BUILT_FROM
        file.write_text(found + "\n", encoding="ascii")
        build_data["force_include"][str(file)] = f"pipeline/{BUILT_FROM}"

    def _add_machine_code(self, source: Path, build_data: dict[str, Any]) -> None:
        """Compile in a copy, so that nothing is left in the tree; the sources go along for tracebacks and readers."""
        root = Path(self.root)
        shutil.copytree(root / "pipeline", source / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("pyproject.toml", COMPILER):
            shutil.copy(root / name, source)
        command = [sys.executable, COMPILER, *files(source, self.config["compiled"])]
        if subprocess.run(command, cwd=source, check=False).returncode:  # noqa: S603 - our own arguments
            sys.exit(f"{COMPILE} asks for machine code, and that failed (see above). Without it the wheel is Python.")
        for made in sorted((source / "pipeline").rglob("*")):
            if made.suffix in {".so", ".pyd"}:
                build_data["force_include"][str(made)] = made.relative_to(source).as_posix()
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """Remove the scratch files."""
        if hasattr(self, "_scratch"):
            self._scratch.cleanup()


def files(source: Path, patterns: list[str]) -> list[str]:
    """The modules of the list. One that fits nothing was renamed, and would silently be Python.

    A package's own file has nothing to compile but imports.
    """
    found: dict[str, None] = {}
    for pattern in patterns:
        modules = [one for one in sorted(source.glob(pattern)) if one.name != "__init__.py"]
        if not modules:
            sys.exit(f"pyproject.toml: nothing to compile is called {pattern}")
        found.update(dict.fromkeys(one.relative_to(source).as_posix() for one in modules))
    return list(found)
