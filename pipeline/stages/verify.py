"""Measures the verifier of a recipe's answer scorer on labelled answers, and holds it against its gate before a run.

Its requests are in the run's ledger, so that a run that goes on, or a calibration before it, pays for none twice.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, NamedTuple

from stillroom.errors import GateFailed, InputError, RecipeError
from stillroom.judges.calibrate import GateVerdict
from stillroom.judges.verifier import VerifierSettings
from stillroom.judges.verifier_gate import (
    LabelledAnswer,
    VerifierCalibration,
    VerifierGate,
    calibrate_verifier,
    verifier_gate,
)
from stillroom.pipeline.config.recipe import Recipe
from stillroom.pipeline.run.folder import RunContext
from stillroom.traces.answers.extract import find_answer
from stillroom.traces.answers.pairs_file import readable, whole_rows
from stillroom.traces.scorers.answer import OPEN, AnswerScorerSettings

FILE = "verifier.json"


class VerifierCalibrated(NamedTuple):
    """A verifier on labelled answers, and whether it passes the gate."""

    calibration: VerifierCalibration
    gate: GateVerdict

    def as_dict(self) -> dict[str, Any]:
        return {"gate": self.gate._asdict(), "calibration": self.calibration.model_dump(mode="json")}


def verifier_of(recipe: Recipe) -> VerifierSettings:
    """The verifier that a recipe's scorer falls back on, or is. Raises RecipeError where there is none."""
    scorer = recipe.scorer.fallback if isinstance(recipe.scorer, AnswerScorerSettings) else recipe.scorer
    if not isinstance(scorer, VerifierSettings):
        raise RecipeError("the recipe has no verifier: give `scorer: {kind: answer, fallback: {kind: verifier, …}}`")
    return scorer


def labelled_answers(path: Path, scorer: AnswerScorerSettings) -> list[LabelledAnswer]:
    """The labelled answers of a file, as `stillroom check` reads it: final answers alone, each with whether the rules
    leave it open. Raises MissingFile, and InputError for bad rows or none with a label."""
    rows = [row for row in whole_rows(readable(path), "gold", "pred", "prompt") if row.expected is not None]
    found = [(row, final) for row in rows if (final := find_answer(row.answer))]
    if not found:
        raise InputError(f"{path} holds no labelled answers: every row needs gold, pred and expected (true or false)")
    with scorer.checker() as checker:
        verdicts = checker.check_many((row.gold, row.answer, row.prompt, row.answer_type) for row, _ in found)
    return [
        LabelledAnswer(row.prompt, row.gold, final, bool(row.expected), verdict.reason in OPEN)
        for (row, final), verdict in zip(found, verdicts, strict=True)
    ]


async def calibrated_verifier(
    context: RunContext, recipe: Recipe, path: Path, limits: VerifierGate
) -> VerifierCalibrated:
    """Measures the recipe's verifier on the labelled answers of a file, and writes `verifier.json`."""
    rules = recipe.scorer if isinstance(recipe.scorer, AnswerScorerSettings) else AnswerScorerSettings()
    answers = labelled_answers(path, rules)
    verifier = verifier_of(recipe).make(context.place())
    try:
        found = await calibrate_verifier(verifier, answers)
    finally:
        await verifier.close()
    context.folder.write(FILE, found.model_dump_json(indent=2) + "\n")
    return VerifierCalibrated(found, verifier_gate(found, limits))


def hold_verifier_to_its_gate(context: RunContext, recipe: Recipe) -> None:
    """Measures the verifier where the recipe has a gate for it. Raises GateFailed where it fails one that is
    required: nothing was sampled by then."""
    try:
        limits = verifier_of(recipe).gate
    except RecipeError:
        return
    if limits is None:
        return
    found, verdict = asyncio.run(calibrated_verifier(context, recipe, context.base / limits.labelled, limits))
    if verdict.passed:
        context.display.line("gate", f"the verifier passes, on {found.answers:,} labelled answers")
        return
    failed = "; ".join(verdict.failures)
    if limits.required:
        raise GateFailed(
            f"the verifier fails the gate on {found.answers:,} labelled answers: {failed}. Nothing was sampled. "
            "Choose another verifier or prompt (`stillroom check RECIPE --calibrate LABELLED` measures it), or drop "
            "scorer.fallback; gate.required: false goes on all the same"
        )
    context.display.line("gate", f"the verifier FAILS the gate: {failed}")
