"""`dodo-cio rules`: checks and tests a file of rules before it is live."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from pipeline.cli.screen import say
from pipeline.errors import InputError, RulesError

if TYPE_CHECKING:
    from pipeline.transform.shaping.rules.cases import Result
    from pipeline.transform.shaping.rules.loading import Loaded

File = Annotated[
    Optional[Path],
    typer.Argument(metavar="[FILE]", help="The file of rules; unset: PIPELINE_RULES.", show_default=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]


def register(app: typer.Typer) -> None:
    """Add `dodo-cio rules`."""
    group = typer.Typer(no_args_is_help=True, help="Rules that change what is sent: check them, run their tests.")
    group.command("check")(check)
    group.command("test")(run_cases)
    group.command("schema")(schema)
    app.add_typer(group, name="rules")


def check(
    *,
    file: File = None,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings are faults as well.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check a file of rules: form, names against the catalogue, expressions on every built-in sample. Offline.

    Each fault has its file, line and column, and what would be right. Exit code 2 when there is one.

    **Examples**

    dodo-cio rules check rules.yaml

    dodo-cio rules check --strict --json rules.yaml
    """
    path = _path(file)
    try:
        loaded = _load(path)
    except RulesError as error:
        if as_json:
            _print_json({"file": str(path), "ok": False, "faults": str(error).splitlines(), "warnings": []})
        raise
    warnings = [fault.shown(path) for fault in loaded.warnings]
    if as_json:
        rules = len(loaded.rules.rules)
        _print_json(
            {"file": str(path), "ok": not (strict and warnings), "faults": [], "warnings": warnings, "rules": rules,
             "version": loaded.rules.version}
        )  # fmt: skip
    else:
        for warning in warnings:
            say(warning, indent=4, err=True)
    if strict and warnings:
        raise RulesError(f"{path}: {len(warnings)} warning{'' if len(warnings) == 1 else 's'}, and --strict was given")
    if not as_json:
        count = len(loaded.rules.rules)
        say(f"{path}: {count} rule{'' if count == 1 else 's'}, version {loaded.rules.version}")


def run_cases(
    *,
    file: File = None,
    update: Annotated[
        bool, typer.Option("--update", help="Write what the cases become into their file, instead of comparing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run the cases beside a file of rules: rules.yaml has them in rules.tests.yaml. Offline, with default settings.

    A case is a webhook (`sample` or `webhook`, with `change` laid over it, and the webhooks `after` which it came) and
    the operations that it must become. Where there is no file, --update writes one with a case for each type that the
    rules concern; comments in it are not kept. Exit code 1 when a case fails, 2 when a file cannot be used.

    **Examples**

    dodo-cio rules test rules.yaml

    dodo-cio rules test rules.yaml --update
    """
    from pipeline.transform.shaping.rules import cases

    path = _path(file)
    rules = _load(path).rules
    place = cases.beside(path)
    if cases.are_there(place):
        given = cases.read(place)
    elif update:
        given = cases.first_cases(rules)
    else:
        raise InputError(f"{place} is missing: dodo-cio rules test {path} --update writes one to look at")
    results = cases.run(given, rules)
    if update:
        written = cases.updated(results, place).encode()
        changed = _write(place, written)
        if as_json:
            _print_json({"file": str(place), "cases": len(results), "written": changed})
        else:
            say(f"{place}: {len(results)} cases{'' if changed else ', as they were'}")
        return
    failed = [result for result in results if not result.passed]
    if as_json:
        _print_json(
            {
                "file": str(place),
                "version": rules.version,
                "cases": [
                    {
                        "name": one.case.name,
                        "passed": one.passed,
                        "differences": one.differences if not one.passed else [],
                    }
                    for one in results
                ],
            }
        )
    else:
        _show(results, place)
    if failed:
        raise typer.Exit(1)


def schema() -> None:
    """Print the JSON Schema of the rules file, by which editors complete and check it.

    **Example**

    dodo-cio rules schema > rules.schema.json, and as the first line of rules.yaml:

    # yaml-language-server: $schema=rules.schema.json
    """
    from pipeline.transform.shaping.rules.schema import document

    _print_json(document())


def _write(place: Path, content: bytes) -> bool:
    """Whether the file had to be changed."""
    try:
        if place.exists() and place.read_bytes() == content:
            return False
        place.write_bytes(content)
    except OSError as error:
        raise InputError(f"{place} cannot be written: {error.strerror}") from None
    return True


def _path(file: Path | None) -> Path:
    if file is not None:
        return file
    from pipeline.settings import Settings

    path = Settings.load().rules
    if path is None:
        raise InputError("give the file of rules, or set PIPELINE_RULES")
    return path


def _load(path: Path) -> Loaded:
    from pipeline.transform.shaping.rules.loading import load

    return load(path)


def _show(results: list[Result], place: Path) -> None:
    for result in results:
        if result.passed:
            continue
        say(f"{place}:{result.case.at.line}: {result.case.name} failed", indent=4)
        for line in result.differences:
            say(f"    {line}", indent=6)
    passed = sum(result.passed for result in results)
    say(f"{passed} of {len(results)} cases passed")


def _print_json(document: dict[str, Any]) -> None:
    import orjson

    sys.stdout.write(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode())
