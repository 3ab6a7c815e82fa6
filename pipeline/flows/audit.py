"""Looks at pairs and judges apart from a run: the audit of any preference data set, the calibration of one judge or
verifier.

audit("runs/writing_assistant").audit.refused            # a run, or rows in a file of any format
calibrate("my_recipe.yaml", labelled="labels.jsonl").gate.passed
calibrate_verifier("math_tutor.yaml", "labelled.jsonl").calibration.false_accepts
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from stillroom.common.datasets import HasRows
from stillroom.common.fields import no_field
from stillroom.common.preferred import Reading, read_preferences
from stillroom.common.preferred.read import FileRows, detected, first_rows
from stillroom.common.row_files import Fault, files_of, rows_of
from stillroom.common.row_files.find import SPLITS, STATE
from stillroom.common.run_async import off_the_loop
from stillroom.errors import InputError, RecipeError
from stillroom.judges.calibrate import GateSettings
from stillroom.judges.verifier_gate import VerifierGate
from stillroom.pipeline.config.kinds import Loaded
from stillroom.pipeline.config.load import Overrides, RecipeLike, load_any
from stillroom.pipeline.config.preferences import PreferenceRecipe
from stillroom.pipeline.config.recipe import Recipe
from stillroom.pipeline.run.facts import folder_of, run_path
from stillroom.pipeline.run.folder import RunFolder, opened
from stillroom.pipeline.run.progress import Display
from stillroom.pipeline.stages.judge import Calibrated, calibrated_judge, load_pairs
from stillroom.pipeline.stages.verify import VerifierCalibrated, calibrated_verifier, verifier_of
from stillroom.preferences.audit import Audit, audit_rows
from stillroom.preferences.audit import audit as audit_pairs
from stillroom.preferences.given import GivenPairs, given_pairs
from stillroom.preferences.rows import dpo_row
from stillroom.preferences.settings import PairSettings


@dataclass(frozen=True, slots=True)
class PairsFound(HasRows):
    """Pairs as rows with `prompt`, `chosen` and `rejected`, and their audit. `notes`: how another layout was read,
    for people; `read`: what the file held and what was left out. Both are empty where rows are taken as they are."""

    path: Path
    rows: list[dict[str, Any]] = field(repr=False)
    audit: Audit = field(repr=False)
    notes: tuple[str, ...] = ()
    read: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON; without the rows."""
        read = {"read": self.read} if self.read else {}
        return {"path": str(self.path), "pairs": len(self.rows), **read, "audit": self.audit.as_dict()}

    def _rows(self) -> list[dict[str, Any]]:
        return self.rows


def audit(
    path: RecipeLike,
    *,
    layout: str | None = None,
    prefer: str | None = None,
    bad_rows: Literal["refuse", "skip"] = "refuse",
    source: Literal["file", "hf"] = "file",
    name: str | None = None,
    split: str | None = None,
) -> PairsFound:
    """Reads pairs and audits them. `path`: the folder of a run (its training pairs), the recipe whose default folder
    it is, a folder of parquet files or one that `save_to_disk` wrote, or a file of rows in any format.

    `layout`, `prefer`, `bad_rows`, `source`, `name`, `split`: how the rows of a file or data set are read, as in a
    recipe's `given`. Without them, rows with prompt, chosen and rejected are audited as they are; others are read by
    the layout that they plainly are of.
    Raises MissingFile, or InputError for what holds no pairs.
    """
    how = reading(layout, prefer, bad_rows, source, name, split)
    if how.source == "hf":
        return _audit_given(str(path), how)
    folder = folder_of(path)
    places = (folder / "dpo" / "train.parquet", folder / "train.parquet", folder)
    found = next((place for place in places if place.is_file()), folder)
    if found.is_dir() and not any((found / name).is_file() for name in (STATE, SPLITS)):
        raise InputError(f"{folder} holds no dpo/train.parquet: give the folder of a run that has built pairs")
    files = files_of(found, "the pairs", split=how.split)
    if how.model_copy(update={"split": None}) != Reading() or not _as_they_are(first_rows(FileRows(files))):
        return _audit_given(found, how)
    rows = [row for file in files for row in _rows_in(file)]
    if not rows:
        raise InputError(f"{found} holds no pairs")
    return PairsFound(found, rows, audit_rows(rows))


def reading(
    layout: str | None,
    prefer: str | None,
    bad_rows: str,
    source: str = "file",
    name: str | None = None,
    split: str | None = None,
) -> Reading:
    """How a file or data set is read, as a call or the command line says it. Raises InputError."""
    if bad_rows not in ("refuse", "skip"):
        raise InputError(f"bad rows are refused or skipped, not {bad_rows!r}: give refuse or skip")
    if source not in ("file", "hf"):
        raise InputError(f"rows are in a file or in a data set of the hub, not in {source!r}: give file or hf")
    if name is not None and source != "hf":
        raise InputError(f"{name!r} is the configuration of a data set: set source: hf, or leave it out")
    return Reading(
        layout=layout,
        prefer=prefer,
        bad_rows="skip" if bad_rows == "skip" else "refuse",
        source="hf" if source == "hf" else "file",
        name=name,
        split=split,
    )


def _as_they_are(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether rows have a prompt, a chosen and a rejected side, and no scores or marks that say more."""
    if not all("chosen" in row and "rejected" in row for row in rows):
        return False
    return detected(rows) is None or (all("prompt" in row for row in rows) and detected(rows) == "pairs")


def _audit_given(path: str | Path, how: Reading) -> PairsFound:
    """Pairs of another layout, with the usual settings."""
    found = read_preferences(path, "the pairs", how)
    given = given_pairs(found, PairSettings())
    audited = audit_pairs(given.built.pairs, slates=given.slates, left_out=given.built.left_out)
    notes = (found.summary(), *found.notes(), *_without(given))
    rows = [dpo_row(pair) for pair in given.built.pairs]
    return PairsFound(found.path, rows, audited, notes, {**found.counts(), "without_a_pair": _reasons(given)})


def _reasons(given: GivenPairs) -> dict[str, int]:
    counts = given.built.counts
    marked = Counter(left.reason for left in given.left_out if left.reason == "template_tokens")
    return {**counts.slates_left_out, **counts.candidates_left_out, **marked}


def _without(given: GivenPairs) -> Iterator[str]:
    if reasons := _reasons(given):
        yield "no pair: " + ", ".join(f"{name.replace('_', ' ')} {n:,}" for name, n in reasons.items())


def _rows_in(path: Path) -> Iterator[dict[str, Any]]:
    wanted: list[str] | None = None
    for row in rows_of(path, json.loads):  # scores of others may be NaN
        if isinstance(row.values, Fault):
            raise InputError(f"{row.place}: {row.values.told}")
        if wanted is None:
            wanted = [name for name in ("prompt", "chosen", "rejected") if name in row.values]
        if missing := [name for name in wanted if name not in row.values]:
            raise InputError(f"{row.place}: {no_field(row.values, missing[0])}")
        yield row.values


@off_the_loop
def calibrate(
    recipe: RecipeLike,
    *,
    labelled: str | Path | None = None,
    layout: str | None = None,
    prefer: str | None = None,
    bad_rows: Literal["refuse", "skip"] = "refuse",
    source: Literal["file", "hf"] = "file",
    name: str | None = None,
    split: str | None = None,
    set: Overrides = (),
    out: str | Path | None = None,
    trust: bool = False,
    display: Display | None = None,
) -> Calibrated:
    """Measures the judge of a recipe of preferences on labelled pairs: those of its gate, or `labelled`.

    `layout`, `prefer`, `bad_rows`, `source`, `name`, `split`: how the file or data set `labelled` is read; without
    them that of the gate is read as the gate says. Its requests are in the run's ledger, so that the run does not pay
    for them again. `trust`: lets the code run that the recipe names. Raises
    RecipeError where the recipe has no judge or no labelled pairs.
    """
    loaded = load_any(recipe, set)
    found = loaded.recipe
    if not isinstance(found, PreferenceRecipe):
        raise RecipeError(f"{loaded.path} has no `judge`: give a recipe of preferences")
    if labelled is None and found.gate is None:
        raise RecipeError(f"{loaded.path} names no labelled pairs: add `gate: {{labelled: …}}`, or give --labelled")
    run_folder = RunFolder(run_path(out, found.name), found.name)
    run_folder.allow_code(found, loaded.base, trust=trust)
    with opened(run_folder, Loaded(found, loaded.base, loaded.path), display or Display()) as context:
        given, where, start = reading(layout, prefer, bad_rows, source, name, split), labelled, Path()
        if labelled is None and found.gate is not None:
            where, start = found.gate.labelled, loaded.base
            given = found.gate.reading if given == Reading() else given
        pairs, limits = load_pairs(context, where or "", given, start), found.gate or GateSettings()
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
