"""`dodo-cio settings`: shows every setting, its value now and where that comes from."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args, get_origin

import typer
from pydantic import SecretStr, ValidationError, model_validator
from pydantic.fields import FieldInfo

from pipeline.cli.screen import say
from pipeline.errors import SettingsError
from pipeline.settings import PREFIX, Settings, from_files

Origin = Literal["env", "file", "default"]

UNSET = "unset"
MALFORMED = "malformed"


@dataclass(frozen=True, slots=True)
class Setting:
    """One row; it never has the value of a secret, or a malformed value."""

    variable: str
    value: str
    default: str
    origin: Origin
    form: str
    secret: bool
    description: str
    fault: str | None


@dataclass(frozen=True, slots=True)
class Overview:
    """All settings of one environment, and variables that look like settings but are not."""

    settings: tuple[Setting, ...]
    together: tuple[str, ...]
    """Faults of several settings together, each of which is right by itself."""

    unknown: Mapping[str, str | None]
    """Unknown variable → the one that was probably meant."""

    @property
    def faults(self) -> tuple[str, ...]:
        """All faults, one line each."""
        return (*(f"{row.variable}: {row.fault}" for row in self.settings if row.fault), *self.together)


def overview(environ: Mapping[str, str]) -> Overview:
    """The settings of `environ`; faults are collected, not raised."""
    values, faults = _given(environ)
    settings = None
    while settings is None:  # each turn removes at least one faulty value
        try:
            settings = _Alone(**_defaults(values))
        except ValidationError as error:
            for name, message in _explained(error):
                faults[name] = message
                del values[name]
    together: tuple[str, ...] = ()
    if not faults:
        try:
            Settings(**_defaults(values))
        except ValidationError as error:
            together = tuple(message for _, message in _explained(error))
    rows = tuple(
        Setting(
            variable=variable_of(name),
            value=MALFORMED if name in faults else _shown(field, getattr(settings, name)),
            default=_shown(field, _default(field)),
            origin=_origin(name, environ),
            form=_form(field.annotation),
            secret=_is_secret(field),
            description=field.description or "",
            fault=faults.get(name),
        )
        for name, field in Settings.model_fields.items()
    )
    return Overview(settings=rows, together=together, unknown=_unknown(environ))


class _Alone(Settings):
    """Settings that are each checked by itself, so that one fault hides no other value."""

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        return self


def _explained(error: ValidationError) -> list[tuple[str, str]]:
    """(setting, message) of each fault; the setting is empty when the fault is about several together."""
    return [
        (str(fault["loc"][0]) if fault["loc"] else "", fault["msg"].removeprefix("Value error, "))
        for fault in error.errors(include_url=False, include_input=False, include_context=False)
    ]


def variable_of(name: str) -> str:
    """The environment variable of a setting."""
    return f"{PREFIX}{name.upper()}"


def _given(environ: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Raw values by setting, and faults of the files that should hold them."""
    given: dict[str, str] = {}
    faults: dict[str, str] = {}
    for name in Settings.model_fields:
        variable = variable_of(name)
        mine = {key: environ[key] for key in (variable, f"{variable}_FILE") if key in environ}
        try:
            given.update(from_files(mine, Settings))
        except SettingsError as error:
            faults[name] = str(error).removeprefix(f"{variable}: ")
            continue
        if mine.get(variable):
            given[name] = mine[variable]
    return given, faults


def _defaults(values: Mapping[str, Any]) -> dict[str, Any]:
    """`values`, with the default for every other setting, so that this process's own environment is not used."""
    return {name: values.get(name, _default(field)) for name, field in Settings.model_fields.items()}


def _default(field: FieldInfo) -> Any:
    return field.get_default(call_default_factory=True, validated_data={})


def _origin(name: str, environ: Mapping[str, str]) -> Origin:
    variable = variable_of(name)
    if environ.get(f"{variable}_FILE"):
        return "file"
    return "env" if environ.get(variable) else "default"


def _is_secret(field: FieldInfo) -> bool:
    return "SecretStr" in str(field.annotation)


def _shown(field: FieldInfo, value: Any) -> str:
    """The value as one would write it into the environment; for secrets only whether they are set."""
    match value:
        case None:
            return UNSET
        case tuple() | dict() if not value:
            return UNSET
        case SecretStr():
            return "set"
        case tuple() if _is_secret(field):
            return f"{len(value)} set"
        case bool():
            return str(value).lower()
        case tuple():
            return ",".join(str(item) for item in value)
        case dict():
            return ",".join(f"{key}={item}" for key, item in value.items())
        case float():
            return f"{value:g}"
        case _:
            return str(value)


def _form(annotation: Any) -> str:
    """The form of a setting's value, in a word."""
    origin = get_origin(annotation)
    if origin is Literal:
        return "|".join(get_args(annotation))
    if origin is Annotated:
        return _form(get_args(annotation)[0])
    if origin is tuple:
        return "list"
    if origin is dict:
        return "pairs"
    if origin is not None:  # X | None
        return _form(next(part for part in get_args(annotation) if part is not type(None)))
    return {bool: "true|false", int: "integer", float: "number", Path: "path"}.get(annotation, "text")


def _unknown(environ: Mapping[str, str]) -> dict[str, str | None]:
    known = [name.upper() for name in Settings.model_fields]
    known += [f"{name}_FILE" for name in known]
    unknown = {}
    for variable in sorted(environ):
        name = variable.removeprefix(PREFIX)
        if variable.startswith(PREFIX) and name not in known:
            close = difflib.get_close_matches(name, known, 1, 0.75)
            unknown[variable] = f"{PREFIX}{close[0]}" if close else None
    return unknown


def as_json(found: Overview) -> str:
    """The overview as JSON."""
    return json.dumps(
        {
            "settings": [asdict(row) for row in found.settings],
            "faults": found.faults,
            "unknown": [{"variable": name, "meant": meant} for name, meant in found.unknown.items()],
        },
        indent=2,
    )


def as_env(found: Overview) -> str:
    """The overview as an environment file: unset variables are comments, a secret's value is left out."""
    blocks = []
    for row in found.settings:
        shown = "" if row.secret or row.value in {UNSET, MALFORMED} else row.value
        comment = "# " if row.origin == "default" or row.secret or row.fault else ""
        blocks.append(f"# {row.description} ({row.form})\n{comment}{row.variable}={shown}\n")
    return "\n".join(blocks)


def _print_table(found: Overview) -> None:
    """Print one line a setting where that fits, for grep; else its value above its description."""
    from rich.text import Text

    from pipeline.cli.screen import columns, line, output

    console = output()
    styles = {
        row.variable: "red" if row.fault else "" if row.origin == "default" else "green" for row in found.settings
    }
    forms = {row.variable: "" if row.form == "text" else f" ({row.form})" for row in found.settings}
    rows = [
        (
            Text(row.variable, style=styles[row.variable]),
            Text(row.value, style=styles[row.variable]),
            row.origin,
            "" if row.default == row.value else row.default,
            f"{row.description}{forms[row.variable]}",
        )
        for row in found.settings
    ]
    if columns(console, ("variable", "value", "from", "default", "what it is"), rows):
        return
    for row in found.settings:
        origin = "" if row.origin == "default" else f"  {row.origin}, default {row.default}"
        shown = (f"{row.variable}={'' if row.value == UNSET else row.value}", f"bold {styles[row.variable]}")
        line(console, shown, (origin, "dim"), indent=4)
        line(console, f"    {row.description}{forms[row.variable]}", indent=4)


def register(app: typer.Typer) -> None:
    """Add `dodo-cio settings`."""

    @app.command("settings")
    def settings(
        *,
        as_json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
        as_env_: Annotated[bool, typer.Option("--env", help="Print an environment file to start from.")] = False,
    ) -> None:
        """Show every setting: its variable, its value now and where that comes from.

        Secrets show only whether they are set. Every variable NAME may also be given as NAME_FILE, the path of a file
        that holds the value. Exit code 2 when a value is malformed.

        Examples: `dodo-cio settings`, `dodo-cio settings --json`, `dodo-cio settings --env > pipeline.env`
        """
        if as_json_ and as_env_:
            raise typer.BadParameter("--json and --env exclude each other")
        found = overview(os.environ)
        if as_json_:
            typer.echo(as_json(found))
        elif as_env_:
            typer.echo(as_env(found), nl=False)
        else:
            _print_table(found)
        for name, meant in found.unknown.items():
            hint = f"; {meant} was probably meant" if meant else ""
            say(f"{name} is no setting and has no effect{hint}", indent=2, err=True)
        if found.faults:
            raise SettingsError("\n".join(found.faults))
