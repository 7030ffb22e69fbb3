"""Runs recipes of the vendor's dashboard unchanged: `function handler(webhook)` in files of JavaScript.

Promises: a recipe sees one webhook and the language, and nothing else: no network, file, module, timer, real clock or
real randomness. Its time and memory are limited for each record, and nothing of one record is left for the next. Each
run ends in valid operations, in a drop that the recipe asked for, or in a dead letter `transform-failed` with the line.
`recipes` reads the files, `engine` runs them (inside `prelude.js`; `dates.js` reads dates), `answers` makes events and
attributes of what they return, `lint` finds the faults of the vendor's examples. Decision record:
docs/adr/0004-javascript-engine.md.
"""

from __future__ import annotations
