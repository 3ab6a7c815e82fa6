"""What decides an answer checker's verdicts, as the ledger names it. Nothing of the checker is imported for it."""

from __future__ import annotations

from importlib.metadata import version

from stillroom.traces.answers.limits import MAX_ANSWER, MAX_TEXT
from stillroom.traces.answers.records import Policies

RULES = "7"
"""Version of the rules: counted up when a verdict can change."""
PACKAGES = ("sympy", "mpmath")


def identity_of(timeout_s: float, memory_mb: int, policies: Policies) -> str:
    """All that decides a checker's verdict: versions of the rules and packages, changed policies, and the limits."""
    versions = ",".join([f"rules={RULES}", *(f"{name}={version(name)}" for name in PACKAGES)])
    limits = f"timeout={timeout_s:g},memory={memory_mb},answer={MAX_ANSWER},text={MAX_TEXT}"
    return ",".join(filter(None, [f"answer:{versions}", policies.identity(), limits]))
