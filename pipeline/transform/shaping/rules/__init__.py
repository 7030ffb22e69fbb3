"""The rules file (`PIPELINE_RULES`): what is sent, changed without code.

`document` reads YAML with the place of everything, `reading` makes rules of it, `expressions` runs CEL, `checking`
holds the rules against the catalogue and the built-in samples, `compiled` is the shaper, `cases` are the tests that lie
beside the file. Every fault names file, line and column and says what would be right.

Expressions and conditions see what the default mapping made, never what another rule changed: rules cannot refer to
each other in a circle, and their order matters only where two change the same thing.
"""

from __future__ import annotations
