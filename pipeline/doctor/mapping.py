"""Checks the mapping with these settings on the built-in samples: each is sent, or dropped on purpose."""

from __future__ import annotations

from collections import Counter

from pipeline.doctor.findings import Finding
from pipeline.dodo.catalogue import TYPES
from pipeline.dodo.samples import load
from pipeline.errors import ConfigurationError
from pipeline.settings import Settings
from pipeline.transform.explain import explain


def mapping(settings: Settings) -> list[Finding]:
    """Findings from explaining every sample; offline."""
    outcomes: Counter[str] = Counter()
    findings = []
    for type_ in TYPES:
        try:
            verdict = explain(load(type_), settings, webhook_id="msg_doctor")
        except ConfigurationError as error:
            return [Finding("mapping", "settings", "fault", str(error), "change the setting")]
        outcomes[verdict.verdict] += 1
        if verdict.verdict == "dead_letter":
            text = f"the sample becomes a dead letter: {verdict.reason}"
            findings.append(Finding("mapping", type_, "warning", text, f"`dodo-cio explain --sample {type_}`"))
    told = f"{outcomes['operations']} of {outcomes.total()} types become operations, {outcomes['dropped']} are dropped"
    return [Finding("mapping", "samples", "ok", told), *findings]
