"""Checks recipes line by line: for the faults of the vendor's own examples, and for code that does not run here.

Promises: each finding has file, line, the right form, and whether the pipeline corrects it by itself. `faults` lists
the known faults, `rules` finds them in the syntax tree (`syntax`), `trial` runs the recipe on every sample.
"""

from __future__ import annotations

from pipeline.transform.javascript.lint.checked import Checked, check
from pipeline.transform.javascript.lint.faults import FAULTS, Fault, Finding

__all__ = ["FAULTS", "Checked", "Fault", "Finding", "check"]
