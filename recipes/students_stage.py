"""Trains students: the run's own, and those that are trained for a comparison alone.

    model = train(run, tasks, distilled.training, run.folder.path / "student", STUDENT)

A student that was trained on the same rows with the same settings before is not trained again while its files are
there as they were written. The run's own is linted first and an error stops it; what a control is trained on is meant
to be as it is, and is only told.
"""

from __future__ import annotations

from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from stillroom.errors import MissingExtra
from stillroom.recipes.display import duration
from stillroom.recipes.distil import Distilled, rows_digest
from stillroom.recipes.folder import versions
from stillroom.recipes.preference_schema import PreferenceRecipe
from stillroom.recipes.schema import Recipe
from stillroom.sampling.hashing import digest
from stillroom.students.evaluate.results import Evaluation
from stillroom.students.saving import read_record
from stillroom.students.settings import StudentSettings
from stillroom.traces.rows import SftRow
from stillroom.traces.tasks import TaskSet

if TYPE_CHECKING:
    from stillroom.recipes.runner import Run

STUDENT = "student"
"""What the run's own student is called where it is trained, and its folder."""
_NEEDED = ("torch", "transformers", "trl", "peft", "accelerate")


def require(recipe: Recipe | PreferenceRecipe) -> None:
    """Finds out before anything is paid for whether the student can be trained at all.

    Raises MissingExtra or, for a model that is nowhere, MissingFile.
    """
    if recipe.student is None:
        return
    for package in _NEEDED:
        if find_spec(package) is None:
            raise MissingExtra("training a student", package, "train")
    from stillroom.sampling.models import resolve_model

    resolve_model(recipe.student.model)


def train_and_evaluate(run: Run, tasks: TaskSet, distilled: Distilled) -> Evaluation | None:
    """Trains the student, and measures what the recipe asks for; writes `eval.json`. None where nothing is to be
    measured."""
    from stillroom.recipes.evaluation_stage import evaluate_run  # it trains, too: controls, and other seeds

    student = train(run, tasks, distilled.training, run.folder.path / STUDENT, STUDENT)
    return None if run.recipe.evaluate is None else evaluate_run(run, tasks, distilled, student)


def train(
    run: Run, tasks: TaskSet, rows: list[SftRow], out: Path, label: str, *, seed: int | None = None, lint: bool = True
) -> str:
    """Lints the rows and trains, unless that was done; gives the folder of the model.

    `label`: what it is called on the display and in the run's stages. `seed`: None for the student's own. `lint`:
    false where the same rows were looked at before.
    """
    from stillroom.students.sft import train_sft

    settings = settings_of(run, seed)
    stage, inputs = _stage(label, seed), _inputs(run, rows, seed)
    if run.folder.done(stage, inputs):
        lost = run.folder.lost(stage)
        if not lost:
            run.display.line(label, f"trained before on the same {len(rows):,} rows")
            return model_in(out)
        run.display.note(f"{lost}: {label} is trained again")
    if lint:
        _lint(run, tasks, rows, label)
    with run.display.steps(label) as shown:
        trained = train_sft(
            rows,
            settings,
            out,
            seed=run.recipe.seed,
            on_step=lambda s: shown(s.step, s.total, s.loss, s.tokens_per_s),
        )
    run.folder.note_dtype(label, (read_record(out) or {}).get("dtype"))
    run.folder.mark(stage, inputs, out)
    run.display.line(label, f"trained on {trained.rows:,} rows in {duration(trained.seconds)}")
    if trained.left_out:
        reasons = Counter(left.reason for left in trained.left_out)
        found = ", ".join(f"{n:,} {reason}" for reason, n in reasons.items())
        run.display.note(f"{len(trained.left_out):,} rows were not trained on: {found}")
    return str(trained.model)


def not_trained_on(who: str, out: Path) -> list[str]:
    """What a reader must know of rows that the training itself left out, of the model in `out`: a note, or none."""
    record = read_record(out) or {}
    reasons = Counter(left["reason"] for left in record.get("left_out", ()))
    if not reasons:
        return []
    found = ", ".join(f"{n:,} {reason}" for reason, n in reasons.items())
    return [
        f"{who} was trained on {record['rows']:,} of its rows; left out by student.max_length or their end: {found}"
    ]


def trained_before(run: Run, rows: list[SftRow], label: str, *, seed: int | None = None) -> bool:
    """Whether the last student of that label was trained on the same rows, with the same settings and versions."""
    return run.folder.done(_stage(label, seed), _inputs(run, rows, seed))


def settings_of(run: Run, seed: int | None = None) -> StudentSettings:
    """The student's settings; with `seed`, under that one."""
    assert run.recipe.student is not None
    return run.recipe.student if seed is None else run.recipe.student.model_copy(update={"seed": seed})


def seed_of(run: Run) -> int:
    """The seed that the run's own student is trained with."""
    own = settings_of(run).seed
    return run.recipe.seed if own is None else own


def _stage(label: str, seed: int | None) -> str:
    return label if seed is None else f"seed_{seed}"


def _inputs(run: Run, rows: list[SftRow], seed: int | None) -> str:
    """A model in a folder may be another one tomorrow, as the last student of a loop: it is named by its content."""
    from stillroom.sampling.models import fingerprint

    settings = settings_of(run, seed)
    found = [rows_digest(rows), settings.model_dump(mode="json"), seed_of(run) if seed is None else seed]
    model = [fingerprint(settings.model)] if Path(settings.model).is_dir() else []
    return digest([*found, trained_with(), *model])


def _lint(run: Run, tasks: TaskSet, rows: list[SftRow], label: str) -> None:
    """Of the student's own rows an error stops the run; a control's are not checked, either."""
    from stillroom.recipes.linting import before_training, lint_traces

    own = label == STUDENT
    report = lint_traces(run.recipe, tasks, rows, check=own)
    before_training(report, run.folder, run.display, name="lint" if own else f"lint_{label}", stop=own)


def trained_with() -> dict[str, str]:
    """Versions of what a training depends on."""
    return {k: v for k, v in versions().items() if k in ("torch", "transformers", "trl", "peft")}


def model_in(out: Path) -> str:
    """What to load of a student's folder: the merged model, or the adapter where there is no other."""
    merged = out / "merged"
    return str(merged if merged.is_dir() else out / "adapter")
