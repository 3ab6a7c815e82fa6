"""The lint of a recipe's rows: before every training, and by itself as `stillroom lint RECIPE`.

    lint("quickstart")                                   # the rows of runs/quickstart, as they would be trained now
    lint("quickstart", set=["student.max_length=64"])    # the same rows under other settings

It looks at rows that a run has written, trains nothing, and leaves `lint.json` and `lint.html` next to them. A recipe
whose run has written no rows yet is refused: there is nothing to look at.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stillroom.common.files import storable
from stillroom.common.records import Messages, Verdict
from stillroom.errors import InputError, MissingFile
from stillroom.pipeline.config.kinds import Loaded
from stillroom.pipeline.config.load import Overrides, RecipeLike, load_any
from stillroom.pipeline.config.recipe import Recipe
from stillroom.pipeline.run.facts import run_path
from stillroom.pipeline.run.flow import flow_of
from stillroom.pipeline.run.folder import RunFolder
from stillroom.pipeline.run.progress import Display
from stillroom.report.lint import write_lint_page
from stillroom.students.data.rows import Row
from stillroom.students.lint import LintReport
from stillroom.students.methods.registry import StudentSettings
from stillroom.students.records import Answered, Checker
from stillroom.traces.answers import Reason
from stillroom.traces.answers.records import verdict
from stillroom.traces.scorers.answer import AnswerScorerSettings
from stillroom.traces.tasks import TaskSet
from stillroom.traces.trace import asked


def lint(recipe: RecipeLike, *, set: Overrides = (), out: str | Path | None = None) -> LintReport:
    """Looks at the rows that a run of the recipe has written, and writes what it finds into the run's folder.

    `recipe`: a path, or the name of a shipped recipe. `set`: overrides such as "student.max_length=512". `out`: the
    run's folder, default `runs/<name>`. Raises MissingFile where no rows are there yet, InputError for a recipe
    without a student.
    """
    loaded = load_any(recipe, set)
    path = run_path(out, loaded.recipe.name)
    report = flow_of(loaded.recipe).lint(loaded, path)
    keep(report, RunFolder(path, loaded.recipe.name))
    return report


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
    if not check or not isinstance(recipe.scorer, AnswerScorerSettings):
        return student.lint(rows, test=tasks.held_out)
    with answers_of(recipe, recipe.scorer, tasks) as checker:
        return student.lint(rows, test=tasks.held_out, checker=checker)


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
    references = {(task.id, _turns(task.messages)): task.reference for task in tasks.train}
    with scorer.checker() as checker:

        def check(answered: Sequence[Answered]) -> list[Verdict | None]:
            golds = [references.get((each.task_id or "", _turns(each.prompt))) for each in answered]
            known = [
                (gold, each.text, asked(each.prompt))
                for gold, each in zip(golds, answered, strict=True)
                if gold is not None
            ]
            found = iter(checker.check_many(known))
            missing = None if recipe.earlier else verdict(Reason.UNPARSED_GOLD, "no task has a reference for it")
            return [missing if gold is None else next(found) for gold in golds]

        yield check


def _turns(messages: Messages) -> tuple[tuple[str, str], ...]:
    """A conversation as rows hold it, without the system prompt, which is the student's there."""
    return tuple((turn.role, storable(turn.content)) for turn in messages if turn.role != "system")
