"""Trains students, the run's own and those that are trained for a comparison alone, and lints their rows before.

    rows, lint = distilled.training, lambda: lint_traces(recipe, student, tasks, rows)
    model = train(context, student, rows, context.folder.path / STUDENT, STUDENT, lint=lint)

A student that was trained on the same rows with the same settings before is not trained again while its files are
there as they were written. The lint leaves `lint.json` and `lint.html` in the run's folder. An error in the rows of
the run's own student stops the run; what a control is trained on is meant to be as it is, and is only told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from stillroom.common.files import at_home, storable
from stillroom.common.formatting import duration
from stillroom.common.hashing import digest
from stillroom.common.records import Messages, Task, Verdict, asked
from stillroom.common.row_files import files_of
from stillroom.errors import InputError, MissingExtra, MissingFile, NoRoom, TrainingError
from stillroom.pipeline.config.kinds import Loaded
from stillroom.pipeline.config.recipe import Baseline, Recipe
from stillroom.pipeline.run.folder import RunContext, RunFolder, file_hash, versions
from stillroom.pipeline.run.progress import Display
from stillroom.report.lint import write_lint_page
from stillroom.students.data.rows import Row
from stillroom.students.export.save import read_record
from stillroom.students.lint.report import LintReport
from stillroom.students.methods.processes import train as train_in_processes
from stillroom.students.methods.registry import StudentSettings
from stillroom.students.methods.trackers import Watched, check_trackers
from stillroom.students.records import Answered, Checker, Gate, TrainingPlace
from stillroom.traces.answers import Reason
from stillroom.traces.answers.records import verdict
from stillroom.traces.scorers.answer import AnswerScorerSettings
from stillroom.traces.tasks import TaskSet

STUDENT = "student"
"""What the run's own student is called where it is trained, and its folder."""
SIGNALS = "signals"
"""The folder of a run in which what a teacher's weights gave stays."""
LABELS = {
    "control_unfiltered": "control",
    "control_answers": "answers",
    "control_gold": "gold",
    "control_wrong_answers": "wrong",
}
"""What the display calls them: its margin is narrow."""
_NEEDED = ("torch", "transformers", "trl", "peft", "accelerate")


def require(student: StudentSettings | None, base: Path, seed: int) -> None:
    """Finds out before anything is paid for whether the student can be trained at all; None means no student.

    Raises MissingExtra, MissingFile for a model that is nowhere, or what the student's own files and tasks raise.
    `base`: relative paths start there.
    """
    if student is None:
        return
    for package in _NEEDED:
        if find_spec(package) is None:
            raise MissingExtra("training a student", package, "train")
    from stillroom.common.models.resolve import resolve_model

    check_trackers(student.report_to)
    for name in student.models:
        resolve_model(name)
    student.check(base, seed)


def train(
    context: RunContext,
    student: StudentSettings,
    rows: Sequence[Row],
    out: Path,
    label: str,
    *,
    lint: Callable[[], LintReport] | None,
    stage: str | None = None,
    gate: Gate | None = None,
) -> str:
    """Lints the rows and trains, unless that was done; gives the folder of the model.

    `label`: what it is called on the display. `stage`: in `run.json`, None for the same. `lint`: None where the same
    rows were linted before. An error that it finds in the rows of the run's own student stops the run; a control's
    rows are meant to be as they are, and it is only shown. `gate`: judges what a student answers in its training.
    """
    own, folder, display = label == STUDENT, context.folder, context.display
    stage, inputs, what = (
        stage or label,
        training_inputs(rows, student, context.base, context.seed, gate),
        student.learns_from,
    )
    if folder.done(stage, inputs):
        lost = folder.lost(stage)
        if not lost:
            display.line(label, f"trained before on the same {len(rows):,} {what}")
            return model_in(out)
        display.note(f"{lost}: {label} is trained again")
    if lint is not None:
        before_training(lint(), folder, display, name="lint" if own else f"lint_{label}", stop=own)
    with display.steps(label) as shown:
        trained = train_in_processes(
            student,
            rows,
            out,
            seed=context.seed,
            on_step=lambda s: shown(s.step, s.total, s.loss, s.tokens_per_s),
            place=TrainingPlace(
                base=context.base,
                ledger=context.ledger,
                store=folder.path / SIGNALS,
                tell=display.note,
                gate=gate,
                watched=watched(student, folder, label),
            ),
        )
    folder.note_dtype(label, (read_record(out) or {}).get("dtype"))
    folder.mark(stage, inputs, out)
    display.line(label, f"trained on {trained.rows:,} {what} in {duration(trained.seconds)}")
    if trained.left_out:
        reasons = Counter(left.reason for left in trained.left_out)
        found = ", ".join(f"{n:,} {reason}" for reason, n in reasons.items())
        display.note(f"{len(trained.left_out):,} {what} were not trained on: {found}")
    return str(trained.model)


def watched(student: StudentSettings, folder: RunFolder, label: str) -> Watched | None:
    """What trackers are told of a training: the recipe as the folder has it, without values of the environment."""
    if not student.report_to:
        return None
    file = folder.path / "recipe.yaml"
    recipe = yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return Watched(str(folder["name"]), label, recipe, folder.path)


def train_on(
    context: RunContext,
    recipe: Recipe,
    student: StudentSettings,
    who: Baseline,
    tasks: TaskSet,
    rows: Sequence[Row],
    notes: list[str],
) -> str | None:
    """Trains a control on these rows; gives the folder of the model. One that cannot be trained is told in `notes`:
    the student stands without it. Raises NoRoom where the disk is full."""
    out = context.folder.path / "controls" / who.removeprefix("control_")
    lint = partial(lint_traces, recipe, student, tasks, rows, check=False)
    try:
        model = train(
            context, student, rows, out, LABELS[who], lint=lint, gate=gate_of(context, recipe, student, tasks)
        )
    except TrainingError as error:
        if isinstance(error, NoRoom):
            raise
        notes.append(f"{who} came to no student, and is not there: {error}")
        return None
    # What a reader must know of rows that the training itself left out.
    record = read_record(out) or {}
    if reasons := Counter(left["reason"] for left in record.get("left_out", ())):
        left_out = ", ".join(f"{n:,} {reason}" for reason, n in reasons.items())
        many = f"{who} was trained on {record['rows']:,} of its rows"
        notes.append(f"{many}; left out by student.max_length or their end: {left_out}")
    return model


def seed_of(student: StudentSettings, seed: int) -> int:
    """The seed that the student is trained with. `seed`: the run's."""
    return seed if student.seed is None else student.seed


def training_inputs(
    rows: Sequence[Row], student: StudentSettings, base: Path, seed: int, gate: Gate | None = None
) -> str:
    """Names all that a training depends on: rows, settings, seed (`seed`: the run's) and versions; and the scorer,
    where the student's answers are judged while it is trained.

    A model in a folder may be another one tomorrow, as the last student of a loop, and so may a file: they are named
    by their content. `base`: relative paths start there."""
    from stillroom.common.models.resolve import fingerprint

    found = [digest(list(rows)), student.decides(), seed_of(student, seed)]
    trained_with = {k: v for k, v in versions().items() if k in ("torch", "transformers", "trl", "peft")}
    models = [fingerprint(name) for name in student.models if Path(name).is_dir()]
    read = [file_hash(file) for name in student.files for file in files_of(base / at_home(name), "student")]
    judged = [] if gate is None else [gate.identity]
    return digest([*found, trained_with, *models, *read, *judged])


def model_in(out: Path) -> str:
    """What to load of a student's folder: the merged model, or the adapter where there is no other."""
    merged = out / "merged"
    return str(merged if merged.is_dir() else out / "adapter")


def student_to_lint(student: StudentSettings | None, loaded: Loaded[Any], rows: Path) -> StudentSettings:
    """The student, where it is there and `rows` are. Raises InputError or MissingFile otherwise."""
    if student is None:
        raise InputError(f"{loaded.path} trains no student, so there is nothing to lint: add `student`")
    if not rows.is_file():
        raise MissingFile(
            f"there are no rows in {rows} yet, and the lint looks at real ones: `stillroom run` writes them, and "
            "lints them before it trains; give --out where the run is in another folder"
        )
    return student


def lint_traces(
    recipe: Recipe, student: StudentSettings, tasks: TaskSet, rows: Path | Sequence[Row], *, check: bool = True
) -> LintReport:
    """The lint of SFT rows. `check`: also the answers, by the recipe's scorer; false for rows that nobody checked."""
    # Only where there are some: methods of others need not know of them.
    thinking = recipe.teacher.sampling.thinking
    named: dict[str, Any] = {} if thinking is None else {"thinking": thinking}
    if not check or not isinstance(recipe.scorer, AnswerScorerSettings):
        return student.lint(rows, test=tasks.held_out, **named)
    with answers_of(recipe, recipe.scorer, tasks) as checker:
        return student.lint(rows, test=tasks.held_out, checker=checker, **named)


def keep(report: LintReport, folder: RunFolder, name: str = "lint") -> None:
    """Writes it into the run's folder, as JSON and as a page. `name`: of the files, for a second set of rows."""
    report.write(folder.path / f"{name}.json")
    write_lint_page(report, folder.path / f"{name}.html", f"Lint before training: {folder['name']}")


def before_training(
    report: LintReport, folder: RunFolder, display: Display, *, name: str = "lint", stop: bool = True
) -> None:
    """Keeps a lint and tells what it found. Raises TrainingError for an error; with `stop` false it is only told,
    as for a control, whose rows are meant to be as they are."""
    keep(report, folder, name)
    display.line(name, report.summary)
    for found in report.findings:
        display.note(f"{found.severity}: {found.meaning.title}: {found.told}; {found.meaning.advice}")
    if report.findings:
        display.note(f"what each of them means is in {folder.path / name}.html")
    if stop:
        report.raise_if_errors()


@contextmanager
def answers_of(recipe: Recipe, scorer: AnswerScorerSettings, tasks: TaskSet) -> Iterator[Checker]:
    """The recipe's scorer for trained answers: each against the reference of its task. Rows of earlier runs, whose
    tasks are not here, were looked at there. An id alone names no task: those of another file may have the same."""
    task_of = _tasks_of(tasks)
    with scorer.checker() as checker:

        def check(answered: Sequence[Answered]) -> list[Verdict | None]:
            found_tasks = [task_of(each.task_id, each.prompt) for each in answered]
            golds = [None if task is None else task.reference for task in found_tasks]
            known = [
                (task.reference, each.text, asked(each.prompt), task.answer_type)
                for task, each in zip(found_tasks, answered, strict=True)
                if task is not None and task.reference is not None
            ]
            found = iter(checker.check_many(known))
            missing = None if recipe.earlier else verdict(Reason.UNPARSED_GOLD, "no task has a reference for it")
            return [missing if gold is None else next(found) for gold in golds]

        yield check


def gate_of(context: RunContext, recipe: Recipe, student: StudentSettings, tasks: TaskSet) -> Gate | None:
    """The recipe's scorer for what a student answers while it is trained; None for one that does not ask it."""
    if not student.asks_the_scorer:
        return None
    scorer = recipe.scorer
    return Gate(
        scorer.identity(context.base),
        lambda: scorer.make(context.place()),
        scorer.reads_reference,
        _tasks_of(tasks),
    )


def _tasks_of(tasks: TaskSet) -> Callable[[str | None, Messages], Task | None]:
    """Finds the task of a row by its id and its prompt."""

    @cache
    def known() -> dict[tuple[str, tuple[tuple[str, str], ...]], Task]:
        return {(task.id, _turns(task.messages)): task for task in tasks.train}

    return lambda task_id, prompt: known().get((task_id or "", _turns(prompt)))


def _turns(messages: Messages) -> tuple[tuple[str, str], ...]:
    """A conversation as rows hold it, without the system prompt, which is the student's there."""
    return tuple((turn.role, storable(turn.content)) for turn in messages if turn.role != "system")
