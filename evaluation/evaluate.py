"""From scored attempts on held-out tasks to what `eval.json` holds: rows of every model, and comparisons of them.

    found = evaluate_answers({"student_before": before, "student_after": after}, seed=7, tasks=["t1", "t2"])
    rows = at_k("student_after", {"t1": [a, b], "t2": [c, d]}, SEVERAL, ks=(1, 2), seed=7)
    rows = over_trainings([answers_of_seed_0, answers_of_seed_1], {"student_before": before}, seed=7)

An attempt that could not be scored lowers accuracy and is counted apart with its reason, which may say more about the
checker than about the model. A task without any attempt (its request failed for good) is left out of n and counted
as `missing`.

>>> evaluation = evaluate_answers({"student_before": {}, "student_after": {}})
>>> evaluation.notes
('student_before: none of 0 tasks got an attempt', 'student_after: none of 0 tasks got an attempt')
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from stillroom.common.records import ScoredAttempt, State
from stillroom.evaluation.comparisons import compare_all, ratios
from stillroom.evaluation.metrics import measures, right
from stillroom.evaluation.results import ACCURACY, AFTER, BEFORE, TEACHER, Evaluation, Result, result_of
from stillroom.evaluation.seeds import difference_over_seeds, over_seeds
from stillroom.sampling.limits import Prices

Answers = Mapping[str, ScoredAttempt]
"""One scored attempt for each task, by task id."""

COMPARED = (
    (AFTER, BEFORE),
    (AFTER, "control_unfiltered"),
    (AFTER, "control_answers"),
    (AFTER, "control_gold"),
    (AFTER, "control_wrong_answers"),
    (AFTER, TEACHER),
    ("control_wrong_answers", BEFORE),
)
"""Which models are compared, where both are there: each a claim that a reader would make from the table. The last is
how much of the gain is form."""

OVER_SEEDS = f"{ACCURACY}_over_seeds"
DIFFERENCE_OVER_SEEDS = "difference_over_seeds"


def evaluate_answers(
    by_who: Mapping[str, Answers],
    *,
    seed: int = 0,
    compared: Iterable[tuple[str, str]] = COMPARED,
    tasks: Iterable[str] | None = None,
    prices: Mapping[str, Prices] | None = None,
) -> Evaluation:
    """Measures every model, the student's tokens and times over the teacher's, and the comparisons asked for, which
    are corrected for their number.

    `by_who`: one scored attempt per task id, for each model. `tasks`: the ids that were asked, where some may
    have got no attempt from anybody; None takes every id that any model has. `prices`: of those that are paid for.
    """
    ids = set(tasks) if tasks is not None else {task for answers in by_who.values() for task in answers}
    asked = {who: {t: a for t, a in answers.items() if t in ids} for who, answers in by_who.items()}
    paid = prices or {}
    results = [
        row for who, a in asked.items() for row in measures(who, a, seed=seed, asked=len(ids), prices=paid.get(who))
    ]
    if AFTER in asked and TEACHER in asked:
        results += ratios(AFTER, asked[AFTER], TEACHER, asked[TEACHER], seed=seed)
    comparisons = compare_all(asked, compared, seed=seed)
    return Evaluation(results=tuple(results), comparisons=comparisons, notes=_notes(asked, len(ids)))


def at_k(
    who: str,
    attempts: Mapping[str, Sequence[ScoredAttempt]],
    how: Mapping[str, Any],
    *,
    ks: Collection[int],
    seed: int,
) -> list[Result]:
    """pass@k and majority@k of several attempts at each task, the same number whatever came out. `how` they were
    drawn (draws, temperature) is kept in each row."""
    rows = measures(who, attempts, seed=seed, ks=ks)
    kept = [row for row in rows if row.metric.startswith(("pass_at_", "majority_at_"))]
    return [Result.model_validate(row.model_dump(exclude_none=True) | dict(how)) for row in kept]


def over_trainings(trained: Sequence[Answers], others: Mapping[str, Answers], *, seed: int) -> list[Result]:
    """The student over several trainings, each from another seed: its accuracy, and the difference to each of the
    `others`, which were trained once or not at all (`against` says with which). Nothing where no task was answered
    after every training."""
    runs = [_values(answers) for answers in trained]
    shared = set(runs[0]).intersection(*runs[1:])
    if not shared:
        return []
    rows = [over_seeds(runs, seed=seed).result(AFTER, OVER_SEEDS)]
    for who, answers in others.items():
        if shared.intersection(answers):
            found = difference_over_seeds(runs, [_values(answers)], seed=seed)
            rows.append(result_of(AFTER, DIFFERENCE_OVER_SEEDS, found, against=who, seeds=len(runs)))
    return rows


def _values(answers: Answers) -> dict[str, float]:
    return {task: float(right(answer)) for task, answer in answers.items()}


def _notes(asked: Mapping[str, Answers], tasks: int) -> tuple[str, ...]:
    notes = []
    for who, answers in asked.items():
        unscored = sum(answer.verdict.state is State.UNSCORED for answer in answers.values())
        if not answers:
            notes.append(f"{who}: none of {tasks} tasks got an attempt")
        elif len(answers) < tasks:
            notes.append(f"{who}: {tasks - len(answers)} of {tasks} tasks got no attempt and are left out of n")
        if unscored:
            why = Counter(a.verdict.reason for a in answers.values() if a.verdict.state is State.UNSCORED)
            found = ", ".join(f"{n} {_WHY.get(reason, reason)}" for reason, n in why.most_common())
            what = _advice(why, answers)
            notes.append(
                f"{who}: {unscored} of {len(answers)} attempts could not be scored and count as not accepted: "
                f"{found}{f'; {what}' if what else ''}"
            )
    return tuple(notes)


_WHY = {
    "truncated": "cut off at the limit",
    "no_answer": "without an answer",
    "unparsed_answer": "that cannot be read",
    "unparsed_gold": "whose gold answer cannot be read",
    "needs_policy": "that a scorer policy would have to decide",
    "not_worked_out": "not worked out",
    "over_limit": "over a limit of the checker",
    "timeout": "that ran out of time",
}
"""Reasons of unscored attempts in words; of others the reason itself is shown."""


def _advice(why: Counter[str], answers: Answers) -> str:
    """What to do about the commonest reason; empty where there is nothing that helps for sure."""
    reason, count = why.most_common(1)[0]
    if 2 * count < why.total():
        return ""
    if reason == "truncated":
        limit = max(a.attempt.completion_tokens for a in answers.values() if a.verdict.reason == reason)
        return f"they have {limit:,} tokens: raise evaluate.max_tokens"
    if reason in ("no_answer", "unparsed_answer"):
        return "the prompt may have to say in which form the answer is wanted"
    return "raise scorer.timeout_s or scorer.memory_mb" if reason in ("over_limit", "timeout") else ""
