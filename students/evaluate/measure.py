"""From scored attempts on held-out tasks to accuracies, and to comparisons task by task.

Attempts are paired by the id of their task, never by position. An attempt that could not be scored is not an
accepted one: it lowers accuracy, and is counted apart with its reason, for it may say more about the checker
than about the model. A task that got no attempt at all (a request that failed for good) is evidence of nothing:
it is left out of n, and counted as `missing`.

>>> evaluation = evaluate_answers({"student_before": {}, "student_after": {}})
>>> evaluation.notes
('student_before: none of 0 tasks got an attempt', 'student_after: none of 0 tasks got an attempt')
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from stillroom.sampling.records import ScoredAttempt, State
from stillroom.sampling.statistics import (
    Interval,
    PairedCounts,
    mcnemar_exact,
    mean_interval,
    paired_difference,
    wilson,
)
from stillroom.students.evaluate.results import (
    ACCURACY,
    MEAN_TOKENS,
    SHARE_STOPPED,
    Comparison,
    Evaluation,
    Result,
)

Answers = Mapping[str, ScoredAttempt]
"""The one attempt of a model at each task, by task id."""

COMPARED = (
    ("student_after", "student_before"),
    ("student_after", "control_unfiltered"),
    ("student_after", "teacher"),
)
"""Which models are compared, where both are there: each a claim that a reader would make from the table."""


def evaluate_answers(
    by_who: Mapping[str, Answers],
    *,
    compared: Iterable[tuple[str, str]] = COMPARED,
    tasks: Iterable[str] | None = None,
) -> Evaluation:
    """Accuracy, share that stopped and mean length of every model, and the comparisons that were asked for.

    `by_who`: one scored attempt per task id, for each model. `tasks`: the ids that were asked, where some may
    have got no attempt from anybody; None takes every id that any model has.
    """
    ids = set(tasks) if tasks is not None else {task for answers in by_who.values() for task in answers}
    asked = {who: {t: a for t, a in answers.items() if t in ids} for who, answers in by_who.items()}
    results = [row for who, answers in asked.items() if answers for row in _rows(who, answers, len(ids))]
    pairs = [(a, b) for a, b in compared if asked.get(a) and asked.get(b)]
    comparisons = [c for a, b in pairs if (c := _compare(a, asked[a], b, asked[b])) is not None]
    return Evaluation(results=tuple(results), comparisons=tuple(comparisons), notes=_notes(asked, len(ids)))


def accepted(answer: ScoredAttempt) -> bool:
    """Whether the scorer accepted it."""
    return answer.verdict.state is State.ACCEPTED


def _rows(who: str, answers: Answers, asked: int) -> list[Result]:
    """The rows of one model that has at least one attempt."""
    attempts = [answer.attempt for answer in answers.values()]
    stopped = wilson(sum(a.finish_reason == "stop" for a in attempts), len(attempts))
    tokens = mean_interval([a.completion_tokens for a in attempts])
    return [
        _accuracy(who, answers, asked),
        _row(who, SHARE_STOPPED, stopped),
        _row(who, MEAN_TOKENS, tokens._replace(low=max(0.0, tokens.low))),
    ]


def _row(who: str, metric: str, found: Interval) -> Result:
    return Result(who=who, metric=metric, **found._asdict())


def _accuracy(who: str, answers: Answers, asked: int) -> Result:
    """Accepted over all attempts; the unscored are in n, and counted by reason."""
    verdicts = [answer.verdict for answer in answers.values()]
    states = Counter(verdict.state for verdict in verdicts)
    reasons = Counter(verdict.reason for verdict in verdicts if verdict.state is State.UNSCORED)
    counts = {state.value: states[state] for state in State} | {"missing": asked - len(answers)}
    found = wilson(states[State.ACCEPTED], len(answers))
    return Result(who=who, metric=ACCURACY, **found._asdict(), counts=counts, unscored=dict(sorted(reasons.items())))


def _compare(a: str, of_a: Answers, b: str, of_b: Answers) -> Comparison | None:
    """The comparison on the tasks that both have, or None if they share none."""
    right_a, right_b = ({task: accepted(answer) for task, answer in answers.items()} for answers in (of_a, of_b))
    return compare_right(a, right_a, b, right_b)


def compare_right(a: str, of_a: Mapping[str, bool], b: str, of_b: Mapping[str, bool]) -> Comparison | None:
    """The comparison of two models of which is known, by task id, whether each answer was right; on the tasks that
    both have, or None if they share none."""
    shared = of_a.keys() & of_b.keys()
    if not shared:
        return None
    table = Counter((of_a[task], of_b[task]) for task in shared)
    counts = PairedCounts(table[True, True], table[True, False], table[False, True], table[False, False])
    found = paired_difference(counts)
    return Comparison(
        a=a,
        b=b,
        test="mcnemar_exact",
        difference=found.value,
        low=found.low,
        high=found.high,
        p=mcnemar_exact(counts.only_a, counts.only_b),
        n=counts.n,
        **counts._asdict(),
        left_out=len(of_a.keys() ^ of_b.keys()),
    )


def _notes(asked: Mapping[str, Answers], tasks: int) -> tuple[str, ...]:
    """What a reader must know beside the table: tasks without an attempt, attempts without a verdict."""
    notes = []
    for who, answers in asked.items():
        unscored = sum(answer.verdict.state is State.UNSCORED for answer in answers.values())
        if not answers:
            notes.append(f"{who}: none of {tasks} tasks got an attempt")
        elif len(answers) < tasks:
            notes.append(f"{who}: {tasks - len(answers)} of {tasks} tasks got no attempt and are left out of n")
        if unscored:
            notes.append(
                f"{who}: {unscored} of {len(answers)} attempts could not be scored and count as not accepted"
            )
    return tuple(notes)
