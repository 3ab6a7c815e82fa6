r"""The rows of the controls: what a student is trained on that is to show where the gain of another comes from.

    control_rows("control_answers", distilled, tasks, recipe).rows

Each is a function of what the run has on disk, of the size of the student's own rows:

- `control_unfiltered`: attempts that nobody checked or filtered. What the check is worth.
- `control_answers`: the student's own rows without their reasoning: the final answer in the form it has there. What
  the reasoning is worth.
- `control_gold`: the gold solutions of the tasks that the student's rows are of. What the teacher is worth.
- `control_wrong_answers`: attempts in the right form that the check found wrong, and that the filters would have let
  through. How much of a gain is form.

Where there are fewer than the student has, all that there are are given, and a note says so; nothing is given twice.
Refuses a name that is not a control.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from stillroom.common.records import State, Task
from stillroom.pipeline.config.evaluation import CONTROLS, Baseline
from stillroom.pipeline.config.recipe import Recipe
from stillroom.pipeline.stages.filter import Distilled
from stillroom.traces.answers import AnswerChecker
from stillroom.traces.answers.extract import find_answer
from stillroom.traces.controls import only_the_answer, unfiltered, wrong_in_form
from stillroom.traces.filters import Screen
from stillroom.traces.rows import SftRow, sft_row
from stillroom.traces.scorers.answer import AnswerScorerSettings
from stillroom.traces.tasks import TaskSet


class ControlRows(NamedTuple):
    """`wanted`: as many rows as the student has. `note`: what a reader must know of them, such as that there are
    fewer, or None. Without rows there is nothing to train on."""

    rows: list[SftRow]
    wanted: int
    note: str | None


def control_rows(name: Baseline, distilled: Distilled, tasks: TaskSet, recipe: Recipe) -> ControlRows:
    """The rows of a control. Raises ValueError for a baseline that is not trained, and what the checker raises."""
    if name not in CONTROLS:
        raise ValueError(f"{name} is not a control: these are {', '.join(CONTROLS)}")
    if name == "control_unfiltered":
        found = _unfiltered(distilled)
    elif name == "control_wrong_answers":
        found = _wrong_answers(distilled, tasks, recipe)
    else:
        found = (_gold if name == "control_gold" else _answers)(distilled, tasks, recipe)
    return ControlRows(found.rows, distilled.written, _note(name, found, distilled.written))


class _Rows(NamedTuple):
    """`why`: what a reader must know of them."""

    rows: list[SftRow]
    why: list[str]


def _note(name: str, found: _Rows, wanted: int) -> str | None:
    said, rows = "; ".join(found.why), len(found.rows)
    if not rows:
        return f"{name} is not trained, there is no row for it: {said}"
    if rows < wanted:
        return f"{name} is trained on {rows:,} row{'s' if rows > 1 else ''}, the student on {wanted:,}: {said}"
    return f"{name}: {said}" if said else None


def _unfiltered(distilled: Distilled) -> _Rows:
    traces = unfiltered(distilled.outcomes, distilled.written)
    rows = [sft_row(trace, system=distilled.system) for trace in traces]
    return _Rows(rows, ["no more attempts were made"] if len(rows) < distilled.written else [])


def _wrong_answers(distilled: Distilled, tasks: TaskSet, recipe: Recipe) -> _Rows:
    """The filters are asked as they were for the student's rows: they are what makes these of one form."""
    screen = Screen(recipe.filters, test=tasks.held_out)
    traces = wrong_in_form(distilled.outcomes, distilled.written, admits=lambda trace: screen.look(trace) is None)
    rows = [sft_row(trace, system=distilled.system) for trace in traces]
    few = f"no {'more ' if rows else ''}wrong attempts ended by themselves and passed the filters"
    return _Rows(rows, [few] if len(rows) < distilled.written else [])


# -- gold solutions ----------------------------------------------------------------------------------------------


def _gold(distilled: Distilled, tasks: TaskSet, recipe: Recipe) -> _Rows:
    """One row for each task that the student has rows of, in their order."""
    field, first = recipe.evaluate.gold if recipe.evaluate is not None else None, dict[str, SftRow]()
    if field is None:
        return _Rows([], ["evaluate.gold names no field of the tasks"])
    for row in distilled.rows:
        first.setdefault(row["task_id"], row)
    golds = {task.id: _gold_of(task, field, recipe.tasks.reference) for task in _of(tasks, first)}
    rows = [_saying(row, gold) for task_id, row in first.items() if (gold := golds.get(task_id))]
    why = [f"a gold solution for each of {len(first):,} tasks"] if len(rows) < distilled.written else []
    if missing := len(first) - len(rows):
        why.append(f"{missing:,} of {len(first):,} tasks have no text in {field!r}")
    return _Rows(rows, why)


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


def _of(tasks: TaskSet, wanted: Mapping[str, object]) -> Iterator[Task]:
    return (task for task in tasks.train if task.id in wanted)


def _saying(row: SftRow, completion: str) -> SftRow:
    """The row with another completion."""
    return {**row, "completion": [{"role": "assistant", "content": completion}]}


# -- answers without reasoning -----------------------------------------------------------------------------------


class _Short(NamedTuple):
    """`short`: what is left of the completion; None where no part of it says the answer as the whole does."""

    row: SftRow
    text: str
    short: str | None
    reference: str


def _answers(distilled: Distilled, tasks: TaskSet, recipe: Recipe) -> _Rows:
    """The checker has to accept what is left; where it does not, the reference takes its place in the same form."""
    scorer = recipe.scorer if isinstance(recipe.scorer, AnswerScorerSettings) else AnswerScorerSettings()
    last, rows = scorer.policies.unmarked == "last", distilled.rows
    ids = dict.fromkeys(row["task_id"] for row in rows)
    references = {task.id: task.reference or "" for task in _of(tasks, ids)}
    shorts = [_shortened(row, references.get(row["task_id"], ""), last) for row in rows]
    with scorer.checker() as checker:
        holds = _accepted(checker, [(each.reference, each.short) for each in shorts])
        given = [
            each.short if ok else in_form_of(each.text, each.reference)
            for each, ok in zip(shorts, holds, strict=True)
        ]
        kept = _accepted(checker, [(each.reference, text) for each, text in zip(shorts, given, strict=True)])
    found = [_saying(each.row, text) for each, text, ok in zip(shorts, given, kept, strict=True) if ok and text]
    return _Rows(found, _told(shorts, given, holds, kept))


def _shortened(row: SftRow, reference: str, last: bool) -> _Short:
    text = row["completion"][0]["content"]
    return _Short(row, text, only_the_answer(text, last=last), reference)


def _accepted(checker: AnswerChecker, pairs: Sequence[tuple[str, str | None]]) -> list[bool]:
    verdicts = checker.check_many([(gold, text or "") for gold, text in pairs])
    return [verdict.state is State.ACCEPTED for verdict in verdicts]


def _told(
    shorts: Sequence[_Short], given: Sequence[str | None], holds: Sequence[bool], kept: Sequence[bool]
) -> list[str]:
    """What a reader must know: rows that hold the reference, are as they were, or are not there."""
    replaced = sum(ok and not held for ok, held in zip(kept, holds, strict=True))
    same = sum(each.text.strip() == text for each, text in zip(shorts, given, strict=True))
    counts = (
        (replaced, "hold the reference, since the checker does not accept what their last lines say"),
        (same, "are as they were: they are nothing but their answer"),
        (kept.count(False), "are left out: the checker does not accept even the reference in their form"),
    )
    return [f"{n:,} of {len(shorts):,} rows {what}" for n, what in counts if n]


def in_form_of(text: str, reference: str) -> str:
    r"""The reference in the form in which a text gives its answer, the last of them where it has several.

    >>> in_form_of("So it is 3 * 4 = 12.\n#### 12", "12")
    '#### 12'
    """
    answer = find_answer(reference) or reference.strip()
    forms = {"####": f"#### {answer}", "boxed{": f"$\\boxed{{{answer}}}$", "answer is": f"The answer is {answer}."}
    places = {text.lower().rfind(mark): form for mark, form in forms.items() if mark in text.lower()}
    return places[max(places)] if places else answer
