"""The vendor's dashboard recipes, run as they stand: `function handler(webhook)` in files of JavaScript.

Promises: a recipe sees one webhook, the language and nothing else: no network, file, module, timer, clock or chance of
its own. It has a limit of time and of memory a record, leaves nothing behind for the next customer's, and whatever it
does ends in valid operations, in a drop that it asked for or in a dead letter `transform-failed` with its line.
`recipes` reads the files, `engine` runs them (`prelude.js` is what they run in), `answers` turns what they return into
events and attributes, `lint` knows the faults of the vendor's own. Decision record: docs/adr/0004-javascript-engine.md.
"""

from __future__ import annotations
