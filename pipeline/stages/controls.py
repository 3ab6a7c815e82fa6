r"""Trains the students that an evaluation compares the recipe's own with: controls, variants, and other seeds.

    train_control(context, recipe, student, "control_unfiltered", tasks, distilled, found)
    train_seeds(context, student, 3, distilled)          # [("seed 1", "…/seeds/1/merged"), ("seed 2", …)]
    train_seeds(context, recipe.variant("hard"), 3, distilled, variant="hard")      # three of them

Each has the student's model, settings and seed (other seeds apart) and is trained once. The rows of a control
(`control_rows`) are a function of what the run has on disk, of the size of the student's own rows:

- `control_unfiltered`: attempts that nobody checked or filtered. What the check is worth.
- `control_answers`: the student's own rows without their reasoning: the final answer in the form it has there. What
  the reasoning is worth.
- `control_gold`: the gold solutions of the tasks that the student's rows are of. What the teacher is worth.
- `control_wrong_answers`: attempts in the right form that the check found wrong, and that the filters would have let
  through. How much of a gain is form.

The rows of earlier runs, where the student has those, come before. Where there are fewer than the student has, the
control is trained on all that there are and a note says so; nothing is given twice. One without any is not trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from stillroom.common.records import State, Task
from stillroom.pipeline.config.recipe import CONTROLS, Baseline, Recipe
from stillroom.pipeline.run.folder import RunContext
from stillroom.pipeline.stages.filter import Distilled
from stillroom.pipeline.stages.train import seed_of, train, train_on
from stillroom.students.methods.registry import StudentSettings
from stillroom.students.records import Gate
from stillroom.traces.answers.extract import find_answer
from stillroom.traces.controls import only_the_answer, unfiltered, wrong_in_form
from stillroom.traces.filters import Screen
from stillroom.traces.rows import SftRow, sft_row
from stillroom.traces.scorers.answer import AnswerScorerSettings
from stillroom.traces.tasks import TaskSet


class Controls(NamedTuple):
    """`models`: what to load, by control. `notes`: what a reader must know of their rows."""

    models: dict[str, str]
    notes: list[str]


def train_control(
    context: RunContext,
    recipe: Recipe,
    student: StudentSettings,
    who: Baseline,
    tasks: TaskSet,
    distilled: Distilled,
    found: Controls,
) -> None:
    """Trains a control and adds it to `found`; a control that comes to no student adds a note alone."""
    rows, _, note = control_rows(who, distilled, tasks, recipe, context.base)
    if note is not None:
        context.display.note(note)
        found.notes.append(note)
    if rows:
        rows = distilled.after_earlier(rows) if distilled.earlier else rows
        model = train_on(context, recipe, student, who, tasks, rows, found.notes)
        if model is not None:
            found.models[who] = model


class Seeded(NamedTuple):
    """A student that was trained from another seed. `label`: what the display calls it."""

    label: str
    model: str


def train_seeds(
    context: RunContext,
    student: StudentSettings,
    count: int,
    distilled: Distilled,
    gate: Gate | None = None,
    *,
    variant: str | None = None,
) -> list[Seeded]:
    """Trains the student from the seeds that follow its own, so that there are `count` students with its own.

    `gate`: as of the student. `variant`: the name of one, of which all are trained, the first seed included."""
    found, first, rows = list[Seeded](), seed_of(student, context.seed), distilled.rows_for(student)
    for number in range(0 if variant else 1, count):
        seed = first + number
        other = student.model_copy(update={"seed": seed})
        if variant:
            name = f"{variant}_{seed}" if number else variant
            out, label, stage = context.folder.path / "variants" / name, variant[:9], f"variant_{name}"
        else:
            out, stage = context.folder.path / "seeds" / str(seed), f"seed_{seed}"
            label = f"seed {seed}" if seed < 10_000 else "seed"  # the margin has nine places
        model = train(context, other, rows, out, label, stage=stage, lint=None, gate=gate)
        found.append(Seeded(label, model))
    return found


# -- the rows ----------------------------------------------------------------------------------------------------


class ControlRows(NamedTuple):
    """`wanted`: as many rows as the student has. `note`: what a reader must know of them, such as that there are
    fewer, or None. Without rows there is nothing to train on."""

    rows: list[SftRow]
    wanted: int
    note: str | None


def control_rows(name: Baseline, distilled: Distilled, tasks: TaskSet, recipe: Recipe, base: Path) -> ControlRows:
    """The rows of a control. `base`: relative paths of filters start there.

    Raises ValueError for a baseline that is not trained, and what the checker raises.
    """
    wanted, why = distilled.written, list[str]()
    match name:
        case "control_unfiltered":
            traces = unfiltered(distilled.outcomes, wanted)
            rows = [sft_row(trace, system=distilled.system) for trace in traces]
            if len(rows) < wanted:
                why.append("no more attempts were made")
        case "control_wrong_answers":
            # The filters are asked as they were for the student's rows: they are what makes these of one form. What a
            # task's draws have in common is not a form, and wrong answers are in the minority.
            of_form = [each for each in recipe.filters if not each.of_tasks]
            screen = Screen(of_form, test=tasks.held_out, base=base)
            traces = wrong_in_form(distilled.outcomes, wanted, admits=lambda trace: screen.look(trace) is None)
            rows = [sft_row(trace, system=distilled.system) for trace in traces]
            if len(rows) < wanted:
                why.append(f"no {'more ' if rows else ''}wrong attempts ended by themselves and passed the filters")
        case "control_gold":
            rows = _gold(distilled, tasks, recipe, why)
        case "control_answers":
            rows = _answers(distilled, tasks, recipe, why)
        case _:
            raise ValueError(f"{name} is not a control: these are {', '.join(CONTROLS)}")
    told = "; ".join(why)
    if not rows:
        return ControlRows(rows, wanted, f"{name} is not trained, there is no row for it: {told}")
    if len(rows) < wanted:
        many = f"{len(rows):,} row{'s' if len(rows) > 1 else ''}"
        return ControlRows(rows, wanted, f"{name} is trained on {many}, the student on {wanted:,}: {told}")
    return ControlRows(rows, wanted, f"{name}: {told}" if told else None)


def _gold(distilled: Distilled, tasks: TaskSet, recipe: Recipe, why: list[str]) -> list[SftRow]:
    """One row for each task that the student has rows of, in their order. `why`: gets what a reader must know."""
    field, first = recipe.evaluate.gold if recipe.evaluate is not None else None, dict[str, SftRow]()
    if field is None:
        why.append("evaluate.gold names no field of the tasks")
        return []
    for row in distilled.rows:
        first.setdefault(row["task_id"], row)
    golds = {task.id: _gold_of(task, field, recipe.tasks.reference) for task in tasks.train if task.id in first}
    rows = [_saying(row, gold) for task_id, row in first.items() if (gold := golds.get(task_id))]
    if len(rows) < distilled.written:
        why.append(f"a gold solution for each of {len(first):,} tasks")
    if missing := len(first) - len(rows):
        why.append(f"{missing:,} of {len(first):,} tasks have no text in {field!r}")
    return rows


def _gold_of(task: Task, field: str, reference: str | None) -> str | None:
    """The text under `field` of what the task carries: an exact key first, then a path of keys parted by dots; the
    task's reference if that is the field it was read from. None where there is none."""
    value: Any = task.metadata.get(field)
    if value is None and field == reference:
        value = task.reference
    if value is None:
        value = task.metadata
        for key in field.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
    return value.strip() if isinstance(value, str) and value.strip() else None


def _saying(row: SftRow, completion: str) -> SftRow:
    """The row with another completion."""
    return {**row, "completion": [{"role": "assistant", "content": completion}]}


def _answers(distilled: Distilled, tasks: TaskSet, recipe: Recipe, why: list[str]) -> list[SftRow]:
    """Answers without their reasoning. The checker has to accept what is left; where it does not, the reference takes
    its place in the same form. `why`: gets what a reader must know."""
    scorer = recipe.scorer if isinstance(recipe.scorer, AnswerScorerSettings) else AnswerScorerSettings()
    last, rows = scorer.policies.unmarked == "last", distilled.rows
    ids = {row["task_id"] for row in rows}
    references = {task.id: task.reference or "" for task in tasks.train if task.id in ids}
    golds = [references.get(row["task_id"], "") for row in rows]
    texts = [row["completion"][0]["content"] for row in rows]
    shorts = [only_the_answer(text, last=last) for text in texts]  # None: no part says the answer as the whole does
    with scorer.checker() as checker:

        def accepted(answers: list[str | None]) -> list[bool]:
            pairs = [(gold, text or "") for gold, text in zip(golds, answers, strict=True)]
            return [verdict.state is State.ACCEPTED for verdict in checker.check_many(pairs)]

        holds = accepted(shorts)
        given = [
            short if ok else in_form_of(text, gold)
            for short, ok, text, gold in zip(shorts, holds, texts, golds, strict=True)
        ]
        kept = accepted(given)
    counts = {
        "hold the reference, since the checker does not accept what their last lines say": sum(
            ok and not held for ok, held in zip(kept, holds, strict=True)
        ),
        "are as they were: they are nothing but their answer": sum(
            text.strip() == each for text, each in zip(texts, given, strict=True)
        ),
        "are left out: the checker does not accept even the reference in their form": kept.count(False),
    }
    why += [f"{n:,} of {len(rows):,} rows {what}" for what, n in counts.items() if n]
    return [_saying(row, text) for row, text, ok in zip(rows, given, kept, strict=True) if ok and text]


def in_form_of(text: str, reference: str) -> str:
    r"""The reference in the form in which a text gives its answer, the last of them where it has several.

    >>> in_form_of("So it is 3 * 4 = 12.\n#### 12", "12")
    '#### 12'
    """
    answer = find_answer(reference) or reference.strip()
    forms = {"####": f"#### {answer}", "boxed{": f"$\\boxed{{{answer}}}$", "answer is": f"The answer is {answer}."}
    places = {text.lower().rfind(mark): form for mark, form in forms.items() if mark in text.lower()}
    return places[max(places)] if places else answer
