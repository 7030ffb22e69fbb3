"""`dodo-cio recipe`: checks and tries the dashboard's recipes before they run."""

from __future__ import annotations

import sys
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from pipeline.cli import screen
from pipeline.errors import InputError, SettingsError, UnreadableBodyError

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.transform.copies import Copy
    from pipeline.transform.explain import Explanation
    from pipeline.transform.javascript.beside import Comparison, Raw
    from pipeline.transform.javascript.lint.checked import Checked
    from pipeline.transform.javascript.recipes import Recipe

COLOURS = {"error": "red", "fault": "yellow", "mended": "green"}
WORDS = {"error": "ERROR", "fault": "fault", "mended": "mended"}

ANSWERS = {
    "untouched": "returned the webhook as it came: the dashboard would send Dodo's own body",
    "nothing": "wants nothing to be sent",
    "not asked": "is not asked about this type",
}


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(
        no_args_is_help=True, help="The dashboard's JavaScript recipes: their faults, and what they send."
    )
    group.command("lint")(lint)
    group.command("explain")(explain)
    app.add_typer(group, name="recipe")


def lint(
    *,
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE…", help="Recipes, or a folder of them.", show_default=False)
    ],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Point at each known fault of recipes: file, line, what is wrong and the right form. Offline.

    The thirteen faults of the vendor's examples are known by their number; those that the pipeline mends by itself are
    said to be. Each recipe is also run on every sample webhook, and what it fails on is told. Files that are given
    together run together: a type that one of them handles is not missing in another.

    Exit codes: 0 nothing, or only what is mended here; 1 something is sent wrong; 2 something is not sent, or a file is
    no recipe.

    **Examples**

    dodo-cio recipe lint track_payments.js

    dodo-cio recipe lint recipes/ --json
    """
    from pipeline.settings import Settings
    from pipeline.transform.javascript.lint.checked import check, exit_code

    recipes = _recipes(files)
    checked = check(recipes, Settings.load().person_id_chain)
    code = exit_code(checked)
    if as_json:
        _print_json({"exit_code": code, "files": [_document(one) for one in checked]})
    else:
        from pipeline.cli.screen import output

        console = output()
        for one in checked:
            _show_checked(one, console)
    if code:
        raise typer.Exit(code)


def explain(
    *,
    recipe: Annotated[Path, typer.Argument(metavar="FILE", help="A recipe, or a folder of them.", show_default=False)],
    sample: Annotated[
        Optional[str], typer.Option(metavar="WORDS", help="A built-in sample, e.g. payment.succeeded, refund partial.")
    ] = None,
    file: Annotated[
        Optional[Path], typer.Option(metavar="FILE", help="A webhook as JSON or from a log; - reads standard input.")
    ] = None,
    webhook_id: Annotated[
        Optional[str], typer.Option(metavar="ID", help="The webhook-id header; unset: a hash of the body stands in.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Show what a recipe sends beside what the default mapping sends. Offline.

    Three answers: what the recipe returns and what Customer.io would say of it as it stands, what the pipeline makes of
    it, and what is sent without it; then each attribute that differs. Exit code 0 also where the recipe fails, which is
    an answer; 2 when there is nothing to explain.

    **Examples**

    dodo-cio recipe explain track_payments.js --sample payment.succeeded

    dodo-cio recipe explain recipes/ --file webhook.json --json
    """
    from pipeline.settings import Settings
    from pipeline.transform.javascript.beside import beside

    source, copy = _given(file, sample)
    _exists(recipe)
    settings = Settings.load(javascript=recipe)
    try:
        found = beside(copy, settings, webhook_id=webhook_id)
    except UnreadableBodyError as error:
        raise UnreadableBodyError(f"{source} is not a webhook: {error}") from None
    except SettingsError as error:
        raise _of_the_argument(error) from None
    if as_json:
        _print_json(found.document())
        return
    _show_beside(found, screen.output())


def _recipes(files: list[Path]) -> tuple[Recipe, ...]:
    from pipeline.transform.javascript.recipes import load_recipes

    try:
        found = [recipe for file in files if _exists(file) for recipe in load_recipes(file)]
    except SettingsError as error:
        raise _of_the_argument(error) from None
    return tuple(found)


def _exists(path: Path) -> bool:
    try:
        there = path.exists()
    except OSError as error:  # such as a name that is too long
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    if not there:
        raise InputError(f"{path} is not there")
    return True


def _of_the_argument(error: SettingsError) -> InputError | SettingsError:
    """The same error without the setting's name if it is about a file that was given as an argument."""
    from pipeline.transform.javascript.recipes import VARIABLE

    text = str(error)
    return InputError(text.removeprefix(f"{VARIABLE}: ")) if text.startswith(f"{VARIABLE}: ") else error


def _given(file: Path | None, sample: str | None) -> tuple[str, Copy]:
    from pipeline.cli.explain import given

    if (file is None) == (sample is None):
        raise InputError("give either --sample WORDS or --file FILE (- for standard input)")
    found = given([file] if file is not None else None, sample)
    if len(found) > 1:
        raise InputError(f"{file} holds {len(found)} webhooks, and one is explained at a time")
    return found[0]


def _print_json(document: object) -> None:
    import orjson

    sys.stdout.write(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode())


def _document(checked: Checked) -> dict[str, Any]:
    tried = checked.trial
    return {
        "file": checked.recipe.name,
        "findings": [
            {
                "line": one.line,
                "column": one.column,
                "code": one.fault.code,
                "number": one.fault.number,
                "severity": one.fault.severity,
                "text": one.text,
                "right": one.fault.right,
            }
            for one in checked.findings
        ],
        "handled": list(tried.handled) if tried is not None else [],
        "untouched": list(tried.untouched) if tried is not None else [],
        "failures": [
            {"text": one.text, "place": one.place, "samples": list(one.samples)}
            for one in (tried.failures if tried is not None else ())
        ],
    }


def _show_checked(checked: Checked, console: Console) -> None:
    from collections import Counter

    from pipeline.cli.screen import visible

    for one in checked.findings:
        fault = one.fault
        number = f" {fault.number}" if fault.number is not None else ""
        screen.line(
            console,
            f"{visible(one.file)}:{one.line}:{one.column} ",
            (f"{WORDS[fault.severity]} ", f"bold {COLOURS[fault.severity]}"),
            (f"{fault.code}{number}: ", "dim"),
            visible(one.text),
            indent=4,
        )
        screen.line(console, f"    → {visible(fault.right)}", indent=6)
    counts = Counter(one.fault.severity for one in checked.findings)
    told = [f"{counts[word]} {word}" for word in ("error", "fault", "mended") if counts[word]] or ["nothing found"]
    name = visible(checked.recipe.name)
    handled = f"; handles {', '.join(checked.trial.handled) or 'no sample'}" if checked.trial is not None else ""
    screen.line(console, (f"{name}: {', '.join(told)}{handled}", "bold"), indent=4)


def _show_beside(found: Comparison, console: Console) -> None:
    from rich.text import Text

    from pipeline.cli.screen import visible

    console.print(Text.assemble(("webhook  ", "dim"), (visible(found.default.webhook_type or ""), "bold")))
    for raw in found.recipes:
        _show_raw(raw, console)
    if all(raw.word in {"untouched", "not asked"} for raw in found.recipes):
        console.print(Text("\nthe pipeline with it sends what the default mapping sends", style="bold cyan"))
    else:
        _show_side("the pipeline with it", found.shaped, console)
    _show_side("the default mapping", found.default, console)
    if found.differences:
        console.print()
        console.print(Text("what differs", style="bold cyan"))
    for one in found.differences:
        words = [f"{side} {_json(one.sides[side]) if side in one.sides else '-'}" for side in ("recipe", "default")]
        screen.line(console, visible(f"  {one.where} {one.attribute}: {', '.join(words)}"), indent=4)


def _show_raw(raw: Raw, console: Console) -> None:
    from rich.text import Text

    from pipeline.cli.screen import visible

    console.print()
    console.print(Text(f"{visible(raw.file)} as it stands", style="bold cyan"))
    if raw.word == "failed":
        screen.line(console, (f"  {visible(raw.reason or '')}", "red"), indent=4)
    if raw.word in ANSWERS:
        screen.line(console, f"  {ANSWERS[raw.word]}", indent=4)
    for payload in raw.payloads:
        _show_json(payload, console)
    for refusals in raw.refusals:
        if refusals:
            screen.line(console, (f"  Customer.io refuses it: {visible('; '.join(refusals))}", "red"), indent=4)


def _show_side(title: str, side: Explanation, console: Console) -> None:
    import orjson
    from rich.text import Text

    from pipeline.cli.screen import visible

    console.print()
    console.print(Text(title, style="bold cyan"))
    for operation in side.operations:
        _show_json(orjson.loads(operation.body), console)
    if not side.operations:
        reason = f": {side.class_ or side.code}: {side.reason}" if side.reason else ""
        screen.line(console, f"  sends nothing{visible(reason)}", indent=4)
    for warning in side.warnings:
        screen.line(console, (f"  note: {visible(warning)}", "yellow"), indent=4)


def _show_json(value: Any, console: Console) -> None:
    import orjson

    screen.document(console, indent(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode(), "  "))


def _json(value: Any) -> str:
    import orjson

    return orjson.dumps(value).decode()
