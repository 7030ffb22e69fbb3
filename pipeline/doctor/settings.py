"""Checks the settings: malformed values, variables that nothing reads, values that look like a mistake."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from pydantic import SecretStr

from pipeline.doctor.findings import Finding
from pipeline.settings import PREFIX, Settings


def faults(lines: Iterable[str], unknown: Mapping[str, str | None]) -> list[Finding]:
    """Findings about the variables themselves.

    Args:
        lines: faults, `VARIABLE: what`.
        unknown: variables with our prefix that no setting has, and the one that was probably meant.
    """
    found = []
    for line in lines:
        variable, colon, what = line.partition(": ")
        named = bool(colon) and variable.startswith(PREFIX)
        subject, text = (variable, what) if named else ("together", line)
        found.append(Finding("settings", subject, "fault", text, "change it; `dodo-cio settings` lists all"))
    for variable, meant in unknown.items():
        remedy = f"did you mean {meant}?" if meant else "remove it; `dodo-cio settings` lists all"
        found.append(Finding("settings", variable, "warning", "no setting has this name: nothing reads it", remedy))
    return found


def oddities(settings: Settings) -> list[Finding]:
    """Values that are allowed but look like a mistake; one `ok` when there are none."""
    found = list(_blanks(settings)) + list(_contradictions(settings))
    if not found:
        count = len(type(settings).model_fields)
        found.append(Finding("settings", "environment", "ok", f"all {count} settings can be used"))
    return found


def _blanks(settings: Settings) -> Iterator[Finding]:
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        for secret in value if isinstance(value, tuple) else (value,):
            if isinstance(secret, SecretStr) and (text := secret.get_secret_value()) != text.strip():
                yield Finding(
                    "settings", f"{PREFIX}{name.upper()}", "warning",
                    "there are blanks before or behind the secret: they are part of it",
                    "paste it again without them",
                )  # fmt: skip


def _contradictions(settings: Settings) -> Iterator[Finding]:
    def warn(subject: str, text: str, remedy: str) -> Finding:
        return Finding("settings", PREFIX + subject, "warning", text, remedy)

    if settings.forward_test_mode and not settings.dodo_test_webhook_secrets:
        yield warn(
            "FORWARD_TEST_MODE", "it is on, and no webhook can be of test mode without a secret of that endpoint",
            f"set {PREFIX}DODO_TEST_WEBHOOK_SECRETS, or turn it off",
        )  # fmt: skip
    if settings.kafka_security_protocol.startswith("SASL") and settings.kafka_security_protocol.endswith("PLAINTEXT"):
        yield warn(
            "KAFKA_SECURITY_PROTOCOL", "the password and every webhook go over the network unencrypted",
            "use SASL_SSL where the brokers offer it",
        )  # fmt: skip
    if settings.customerio_url and settings.customerio_url.startswith("http://"):
        yield warn(
            "CUSTOMERIO_URL", "people and the API key go over the network unencrypted",
            "remove it for Customer.io itself, or use https",
        )  # fmt: skip
