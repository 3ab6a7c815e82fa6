"""The KL of a student to its base, or to its teacher, on the held-out tasks: measured once for both models and the
answers it rests on.

    before = {task: scored.attempt for task, scored in answers[BEFORE].items()}
    part = measure_kl(context, settings, student, tasks.test, before)            # a row of eval.json, or a note
    part = measure_kl_to_teacher(context, settings, {AFTER: [student]}, tasks.test, by_teacher)

What was measured is in `kl/` of the run's folder. A gauge stops no run: where it cannot be measured, a note says why.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from stillroom.common.files import replaced
from stillroom.common.formatting import duration, number
from stillroom.common.hashing import digest
from stillroom.common.records import Attempt, Task
from stillroom.errors import InputError, TrainingError
from stillroom.evaluation.results import AFTER, Measured
from stillroom.evaluation.token_kl import (
    TO_BASE,
    TO_TEACHER,
    Gauge,
    TokenKl,
    TokenKls,
    first_answers,
    kl_result,
    kl_to_teacher_results,
    token_kls,
)
from stillroom.pipeline.run.folder import RunContext
from stillroom.students.methods.registry import StudentSettings

FOLDER = "kl"


def measure_kl(
    context: RunContext,
    settings: StudentSettings,
    student: str,
    tasks: Sequence[Task],
    answers: Mapping[str, Attempt],
    *,
    who: str = AFTER,
) -> Measured:
    """To its base, that of `settings`. `student`: the trained model, called `who` in the evaluation. `answers`: the
    base's to the tasks; without any, there is nothing to measure."""
    if not answers:
        return Measured([], [], [])
    began = time.monotonic()
    try:
        found = _found(context, settings, settings.model, student, tasks, answers, TO_BASE)
    except (InputError, TrainingError) as error:
        return Measured([], [], [_not_measured(who, TO_BASE, str(error))])
    row = kl_result(who, TO_BASE, found, seed=context.seed)
    if row is None:
        return Measured([], [], [_not_measured(who, TO_BASE, "it gave no answer that can be read")])
    took = duration(time.monotonic() - began)
    context.display.line(
        who.removeprefix("student_"), f"KL to the base {number(row.value, 3)} nats a token, in {took}"
    )
    return Measured([row], [], [])


def measure_kl_to_teacher(
    context: RunContext,
    settings: StudentSettings,
    students: Mapping[str, Sequence[str]],
    tasks: Sequence[Task],
    answers: Mapping[str, Attempt],
) -> Measured:
    """To the model whose distribution the student of `settings` learns, if any. `students`: by their names
    in the evaluation, each with as many models as it was trained times. `answers`: the teacher's to the tasks."""
    teacher, began = settings.imitates, time.monotonic()
    if teacher is None:
        return Measured([], [], [])
    if not answers:
        why = "there are no answers of the teacher: name `teacher` in `evaluate.baselines`"
        return Measured([], [], [_not_measured(AFTER, TO_TEACHER, why)])
    found, notes = dict[str, list[TokenKls]](), list[str]()
    for who, models in students.items():
        try:
            found[who] = [_found(context, settings, teacher, m, tasks, answers, TO_TEACHER) for m in models]
        except (InputError, TrainingError) as error:
            notes.append(_not_measured(who, TO_TEACHER, str(error)))
    rows = kl_to_teacher_results(found, seed=context.seed)
    if (own := next((row for row in rows if row.who == AFTER), None)) is not None:
        many, took = sum(map(len, found.values())), duration(time.monotonic() - began)
        nats = f"KL to the teacher {number(own.value, 3)} nats a token"
        context.display.line("after", f"{nats}, in {took}" + (f" for {many} students" if many > 1 else ""))
    return Measured(rows, [], notes)


def _not_measured(who: str, gauge: Gauge, why: str) -> str:
    return f"{who}: the KL to the {gauge.role} was not measured: {why}"


def _found(
    context: RunContext,
    settings: StudentSettings,
    other: str,
    student: str,
    tasks: Sequence[Task],
    answers: Mapping[str, Attempt],
    gauge: Gauge,
) -> TokenKls:
    """What is there, measured now if need be."""
    from stillroom.common.models.resolve import fingerprint

    read = first_answers(tasks, answers)
    inputs = {
        gauge.role: fingerprint(other),
        "student": fingerprint(student),
        "system": settings.system,
        "dtype": settings.dtype,
        "answers": [[a.task, [m.as_dict() for m in a.messages], *a[2:]] for a in read],
    }
    file = context.folder.path / FOLDER / f"{digest(inputs)}.json"
    found = _read(file)
    if found is None:
        found = token_kls(other, student, read, role=gauge.role, system=settings.system, dtype=settings.dtype)
        held = {"tokens": {task: list(kl) for task, kl in found.kls.items()}, "left_out": dict(found.left_out)}
        file.parent.mkdir(exist_ok=True)
        with replaced(file) as written:
            written.write((json.dumps({"hash": digest(held), **held}) + "\n").encode())
    return found


def _read(file: Path) -> TokenKls | None:
    """None where it is not there, or not as it was written: seconds measure it again."""
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        held = {name: data[name] for name in ("tokens", "left_out")}
        if data["hash"] != digest(held):
            return None
        return TokenKls({task: TokenKl(*kl) for task, kl in held["tokens"].items()}, held["left_out"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
