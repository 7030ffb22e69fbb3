"""The rules file (`PIPELINE_RULES`): changes to what is sent, without code.

`document` reads YAML and keeps the line and column of each value, `reading` makes rules of it, `expressions` runs CEL,
`checking` tries the rules on the catalogue and the built-in samples, `compiled` is the shaper, `cases` runs the tests
beside the file. Every fault names file, line and column, and what would be right.

Expressions and conditions see what the default mapping made, never what another rule changed: rules cannot refer to
each other in a circle, and their order matters only where two change the same thing.
"""

from __future__ import annotations
