"""Looks at pairs and judges apart from a run: the audit of any preference data set, the calibration of one judge or
verifier.

audit("runs/writing_assistant").audit.refused            # a run, or rows in a file of any format
calibrate("my_recipe.yaml", labelled="labels.jsonl").gate.passed
calibrate_verifier("math_tutor.yaml", "labelled.jsonl").calibration.false_accepts
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stillroom.common.datasets import HasRows
from stillroom.common.row_files import Fault, files_of, rows_of
from stillroom.common.row_files.find import SPLITS, STATE
from stillroom.common.run_async import off_the_loop
from stillroom.errors import InputError, RecipeError
from stillroom.judges.calibrate import GateSettings
from stillroom.judges.human_labels import load_labelled
from stillroom.judges.verifier_gate import VerifierGate
from stillroom.pipeline.config.kinds import Loaded
from stillroom.pipeline.config.load import Overrides, RecipeLike, load_any
from stillroom.pipeline.config.preferences import PreferenceRecipe
from stillroom.pipeline.config.recipe import Recipe
from stillroom.pipeline.run.facts import folder_of, run_path
from stillroom.pipeline.run.folder import RunFolder, opened
from stillroom.pipeline.run.progress import Display
from stillroom.pipeline.stages.judge import Calibrated, calibrated_judge
from stillroom.pipeline.stages.verify import VerifierCalibrated, calibrated_verifier, verifier_of
from stillroom.preferences.audit import Audit, audit_rows


@dataclass(frozen=True, slots=True)
class PairsFound(HasRows):
    """Pairs as rows with `prompt`, `chosen` and `rejected`, and their audit."""

    path: Path
    rows: list[dict[str, Any]] = field(repr=False)
    audit: Audit = field(repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON; without the rows."""
        return {"path": str(self.path), "pairs": len(self.rows), "audit": self.audit.as_dict()}

    def _rows(self) -> list[dict[str, Any]]:
        return self.rows


def audit(path: RecipeLike) -> PairsFound:
    """Reads pairs and audits them. `path`: the folder of a run (its training pairs), the recipe whose default folder
    it is, a folder of parquet files or one that `save_to_disk` wrote, or a file of rows in any format.

    Raises MissingFile, or InputError for what holds no pairs.
    """
    folder = folder_of(path)
    places = (folder / "dpo" / "train.parquet", folder / "train.parquet", folder)
    found = next((place for place in places if place.is_file()), folder)
    if found.is_dir() and not any((found / name).is_file() for name in (STATE, SPLITS)):
        raise InputError(f"{folder} holds no dpo/train.parquet: give the folder of a run that has built pairs")
    rows = [row for file in files_of(found, "the pairs") for row in _rows_in(file)]
    if not rows:
        raise InputError(f"{found} holds no pairs")
    return PairsFound(found, rows, audit_rows(rows))


def _rows_in(path: Path) -> Iterator[dict[str, Any]]:
    for row in rows_of(path, json.loads):  # scores of others may be NaN
        if isinstance(row.values, Fault):
            raise InputError(f"{row.place}: {row.values.told}")
        yield row.values


@off_the_loop
def calibrate(
    recipe: RecipeLike,
    *,
    labelled: str | Path | None = None,
    set: Overrides = (),
    out: str | Path | None = None,
    trust: bool = False,
    display: Display | None = None,
) -> Calibrated:
    """Measures the judge of a recipe of preferences on labelled pairs: those of its gate, or `labelled`.

    Its requests are in the run's ledger, so that the run does not pay for them again. `trust`: lets the code run that
    the recipe names. Raises RecipeError where the recipe has no judge or no labelled pairs.
    """
    loaded = load_any(recipe, set)
    found = loaded.recipe
    if not isinstance(found, PreferenceRecipe):
        raise RecipeError(f"{loaded.path} has no `judge`: give a recipe of preferences")
    if labelled is None and found.gate is None:
        raise RecipeError(f"{loaded.path} names no labelled pairs: add `gate: {{labelled: …}}`, or give --labelled")
    path = Path(labelled) if labelled is not None else loaded.base / (found.gate.labelled if found.gate else "")
    run_folder = RunFolder(run_path(out, found.name), found.name)
    run_folder.allow_code(found, loaded.base, trust=trust)
    with opened(run_folder, Loaded(found, loaded.base, loaded.path), display or Display()) as context:
        pairs, limits = load_labelled(path), found.gate or GateSettings()
        return asyncio.run(calibrated_judge(context, found, pairs, limits))


@off_the_loop
def calibrate_verifier(
    recipe: RecipeLike,
    labelled: str | Path,
    *,
    set: Overrides = (),
    out: str | Path | None = None,
    trust: bool = False,
    display: Display | None = None,
) -> VerifierCalibrated:
    """Measures the verifier of a recipe of traces on the labelled answers of a file, and holds it against its gate
    (without one, against the usual limits). Otherwise as `calibrate`."""
    loaded = load_any(recipe, set)
    found = loaded.recipe
    if not isinstance(found, Recipe):
        raise RecipeError(f"{loaded.path} has no verifier: give a recipe of traces")
    limits = verifier_of(found).gate or VerifierGate(labelled=str(labelled))
    run_folder = RunFolder(run_path(out, found.name), found.name)
    run_folder.allow_code(found, loaded.base, trust=trust)
    with opened(run_folder, Loaded(found, loaded.base, loaded.path), display or Display()) as context:
        return asyncio.run(calibrated_verifier(context, found, Path(labelled), limits))
