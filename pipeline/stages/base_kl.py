"""The KL of a student to its base on the held-out tasks, measured once for both models and the answers it rests on.

    before = {task: scored.attempt for task, scored in answers[BEFORE].items()}
    part = measure_base_kl(context, settings, student, tasks.test, before)       # a row of eval.json, or a note

What was measured is in `kl_to_base.json` of the run's folder. A gauge stops no run: where it cannot be measured, a
note says why.
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
from stillroom.evaluation.base_kl import BaseKls, TokenKl, base_answers, base_kl_result, base_kls
from stillroom.evaluation.results import AFTER, KL_TO_BASE, Measured
from stillroom.pipeline.run.folder import RunContext
from stillroom.students.methods.registry import StudentSettings

FILE = f"{KL_TO_BASE}.json"


def measure_base_kl(
    context: RunContext,
    settings: StudentSettings,
    student: str,
    tasks: Sequence[Task],
    answers: Mapping[str, Attempt],
    *,
    who: str = AFTER,
) -> Measured:
    """`student`: the trained model, called `who` in the evaluation; its base is that of `settings`. `answers`: the
    base's to the tasks; without any, there is nothing to measure."""
    if not answers:
        return Measured([], [], [])
    began = time.monotonic()
    try:
        found = _found(context, settings, student, tasks, answers)
    except (InputError, TrainingError) as error:
        return Measured([], [], [f"{who}: the KL to the base was not measured: {error}"])
    row = base_kl_result(who, found, seed=context.seed)
    if row is None:
        return Measured([], [], [f"{who}: the KL to the base was not measured: it gave no answer that can be read"])
    took = duration(time.monotonic() - began)
    context.display.line(
        who.removeprefix("student_"), f"KL to the base {number(row.value, 3)} nats a token, in {took}"
    )
    return Measured([row], [], [])


def _found(
    context: RunContext,
    settings: StudentSettings,
    student: str,
    tasks: Sequence[Task],
    answers: Mapping[str, Attempt],
) -> BaseKls:
    """What is there, measured now if need be."""
    from stillroom.common.models.resolve import fingerprint

    read = base_answers(tasks, answers)
    inputs = {
        "base": fingerprint(settings.model),
        "student": fingerprint(student),
        "system": settings.system,
        "dtype": settings.dtype,
        "answers": [[a.task, [m.as_dict() for m in a.messages], *a[2:]] for a in read],
    }
    file, key = context.folder.path / FILE, digest(inputs)
    found = _read(file, key)
    if found is None:
        found = base_kls(settings.model, student, read, system=settings.system, dtype=settings.dtype)
        held = {"tokens": {task: list(kl) for task, kl in found.kls.items()}, "left_out": dict(found.left_out)}
        with replaced(file) as written:
            written.write((json.dumps({"key": key, "hash": digest(held), **held}) + "\n").encode())
    return found


def _read(file: Path, key: str) -> BaseKls | None:
    """None where it is of other inputs, or not as it was written: seconds measure it again."""
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        held = {name: data[name] for name in ("tokens", "left_out")}
        if (data["key"], data["hash"]) != (key, digest(held)):
            return None
        return BaseKls({task: TokenKl(*kl) for task, kl in held["tokens"].items()}, held["left_out"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
