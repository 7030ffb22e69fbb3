"""Compile modules to machine code with mypyc, beside their sources in the working directory; run by `hatch_build.py`.

    python compile_modules.py pipeline/transform/money.py ...

It needs mypy, setuptools and a compiler of C. Which modules, and why those, is in pyproject.toml.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

GROUP = "pipeline._machine_code"
"""All are one library, so that one calls another as C does; what has a module's name only leads there."""


def main(files: Sequence[str]) -> None:
    """Compile `files`, all or none."""
    import setuptools  # the first: mypyc takes the place of distutils by it
    from mypyc.build import mypycify

    # What else they import is checked by `make types`; here it may lack the stubs that only the tests' lock has.
    options = ["--follow-imports=silent", "--no-warn-unused-ignores"]
    extensions = mypycify([*options, *files], opt_level="2", debug_level="0", group_name=GROUP)
    command = setuptools.Distribution({"name": "pipeline", "ext_modules": extensions}).get_command_obj("build_ext")
    command.inplace = True  # type: ignore[attr-defined]
    command.ensure_finalized()
    command.run()


if __name__ == "__main__":
    main(sys.argv[1:])
