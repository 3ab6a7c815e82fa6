"""The gate between a judge and a data set: no pairs are built from a judge that does not beat "the longer one wins".

A judge passes with Cohen's κ of at least .4, consistency of at least .8, P(first) within .1 of a half, and an
accuracy whose paired difference from "longer wins" has an interval above 0. κ, consistency and P(first) are held to
their limits by value; the interval is shown next to it. Consistency alone proves nothing: a judge can be consistently
wrong.

    verdict = gate(calibration, GateSettings())
    if not verdict.passed: raise RecipeError("; ".join(verdict.failures))
"""

from __future__ import annotations

from typing import NamedTuple

from pydantic import Field

from stillroom.common.settings import Settings
from stillroom.judges.calibrate import Calibration, Estimate

_ROUNDING = 1e-9  # 0.6 - 0.5 must not fall on the wrong side of 0.1


class GateSettings(Settings):
    """The limits."""

    min_kappa: float = Field(default=0.4, ge=-1, le=1)
    """Least Cohen's κ between judge and people."""
    min_consistency: float = Field(default=0.8, ge=0, le=1)
    """Least share of pairs judged the same in both orders."""
    max_first_bias: float = Field(default=0.1, ge=0, le=0.5)
    """How far the share of wins of the first position may be from a half."""
    beat_longer: bool = True
    """The judge must be more accurate than choosing the longer answer."""
    min_pairs: int = Field(default=30, ge=1)
    """Judged pairs below which no figure is trusted."""


class GateVerdict(NamedTuple):
    """Whether a judge passed. `failures`: each check it failed, with value, interval and limit. `not_applied`: checks
    that do not apply to this kind of judge, with the reason."""

    passed: bool
    failures: tuple[str, ...]
    not_applied: tuple[str, ...] = ()


def gate(calibration: Calibration, settings: GateSettings | None = None) -> GateVerdict:
    """Holds a calibration against the limits. What was not measured is not passed."""
    limits = settings or GateSettings()
    kappa = _at_least("kappa", calibration.kappa, limits.min_kappa)
    checks = [_enough(calibration, limits), kappa, _longer(calibration, limits)]
    pairwise = calibration.kind == "pairwise"
    if pairwise:
        consistency = _at_least("consistency", calibration.consistency, limits.min_consistency)
        checks += [consistency, _first(calibration, limits)]
    failed = tuple(check for check in checks if check is not None)
    skipped = () if pairwise else ("consistency, P(first): the judge rates one answer at a time",)
    return GateVerdict(not failed, failed, skipped)


def _enough(calibration: Calibration, limits: GateSettings) -> str | None:
    if calibration.judged >= limits.min_pairs:
        return None
    return f"judged pairs: {calibration.judged} of {calibration.pairs}, at least {limits.min_pairs} are needed"


def _at_least(name: str, found: Estimate | None, limit: float) -> str | None:
    if found is None:
        return f"{name}: not measured, at least {limit:g} is needed"
    return None if found.value >= limit - _ROUNDING else f"{name}: {found}, at least {limit:g} is needed"


def _first(calibration: Calibration, limits: GateSettings) -> str | None:
    limit = f"within {limits.max_first_bias:g} of 0.5 is needed"
    if calibration.first is None:
        return f"P(first): not measured, {limit}"
    bias = abs(calibration.first.value - 0.5)
    return None if bias <= limits.max_first_bias + _ROUNDING else f"P(first): {calibration.first}, {limit}"


def _longer(calibration: Calibration, limits: GateSettings) -> str | None:
    if not limits.beat_longer:
        return None
    if calibration.beats_longer is None:
        return "accuracy minus that of 'longer wins': not measured, an interval above 0 is needed"
    if calibration.beats_longer.low > 0:
        return None
    figures = f"accuracy {calibration.accuracy}, 'longer wins' {calibration.longer_accuracy}"
    return (
        f"accuracy minus that of 'longer wins': {calibration.beats_longer}, an interval above 0 is needed ({figures})"
    )
