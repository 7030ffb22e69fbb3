"""What is wrong with a recipe, line by line: the faults of the vendor's own examples, and what would not run here.

Promises: each finding has file, line, and the right form, and says whether the pipeline mends it by itself. `faults`
lists what is known, `rules` finds it in the syntax tree (`syntax`), `trial` runs the recipe on every sample.
"""

from __future__ import annotations

from pipeline.transform.javascript.lint.checked import Checked, check
from pipeline.transform.javascript.lint.faults import FAULTS, Fault, Finding

__all__ = ["FAULTS", "Checked", "Fault", "Finding", "check"]
