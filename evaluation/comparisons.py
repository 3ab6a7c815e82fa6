"""Compares models on the same tasks: differences, tests, and the ratio of their tokens, times and costs.

    compare_all({"after": after, "before": before}, [("after", "before")], seed=7)[0].p_holm
    ratios("after", after, "teacher", teacher, seed=7)      # its tokens and seconds over the teacher's

Tasks are paired by id. With one attempt a task on both sides, differences have Newcombe's interval and McNemar's
exact test; with more, a paired bootstrap over tasks and the test by exchanging signs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from stillroom.common.records import ScoredAttempt
from stillroom.common.stats.bootstrap import mean_over_tasks, ratio_over_tasks
from stillroom.common.stats.intervals import Interval, PairedCounts, mcnemar_exact, paired_difference
from stillroom.common.stats.significance import detectable_mean, detectable_share, holm, sign_flip
from stillroom.evaluation.metrics import as_attempts, length, right, seconds, task_values
from stillroom.evaluation.results import Comparison, Result, result_of

SIGN_FLIP = "sign_flip"

Given = Mapping[str, ScoredAttempt | Sequence[ScoredAttempt]]
"""Of a model, one attempt or several at each task, by task id."""


def compare_all(
    by_who: Mapping[str, Given], compared: Iterable[tuple[str, str]], *, seed: int
) -> tuple[Comparison, ...]:
    """The comparisons of those pairs whose models are both there and share a task, corrected for their number."""
    pairs = [(a, b) for a, b in compared if a in by_who and b in by_who]
    return corrected(c for a, b in pairs if (c := compare(a, by_who[a], b, by_who[b], seed=seed)) is not None)


def corrected(comparisons: Iterable[Comparison]) -> tuple[Comparison, ...]:
    """The same with `p_holm`, each corrected for all that are given. Give all that a reader will see together."""
    found = tuple(comparisons)
    ps = holm([c.p for c in found])
    return tuple(c.model_copy(update={"p_holm": p}) for c, p in zip(found, ps, strict=True))


def compare(a: str, of_a: Given, b: str, of_b: Given, *, seed: int) -> Comparison | None:
    """Accuracy of a minus that of b, on the tasks that both have; None if they share none."""
    rights_a, rights_b = (task_values(as_attempts(given), right) for given in (of_a, of_b))
    shared = sorted(rights_a.keys() & rights_b.keys())
    if not shared:
        return None
    left_out = len(rights_a.keys() ^ rights_b.keys())
    pairs = [(rights_a[task], rights_b[task]) for task in shared]
    if all(value in (0, 1) for pair in pairs for value in pair):
        return _of_shares(a, b, Counter(pairs), left_out)
    differences = {task: rights_a[task] - rights_b[task] for task in shared}
    values = list(differences.values())
    p, least = sign_flip(values, seed=seed), detectable_mean(values)
    more = {"test": SIGN_FLIP, "p": p, "left_out": left_out, "detectable": least}
    return _comparison(a, b, mean_over_tasks(differences, seed=seed), more)


def compare_right(a: str, of_a: Mapping[str, bool], b: str, of_b: Mapping[str, bool]) -> Comparison | None:
    """The same, from whether each answer was right, by task id."""
    shared = of_a.keys() & of_b.keys()
    if not shared:
        return None
    table = Counter((float(of_a[task]), float(of_b[task])) for task in shared)
    return _of_shares(a, b, table, len(of_a.keys() ^ of_b.keys()))


def _of_shares(a: str, b: str, table: Counter[tuple[float, float]], left_out: int) -> Comparison:
    counts = PairedCounts(table[1, 1], table[1, 0], table[0, 1], table[0, 0])
    p, least = mcnemar_exact(counts.only_a, counts.only_b), detectable_share(counts.n, counts.only_a + counts.only_b)
    more = {"test": "mcnemar_exact", "p": p, **counts._asdict(), "left_out": left_out, "detectable": least}
    return _comparison(a, b, paired_difference(counts), more)


def _comparison(a: str, b: str, found: Interval, more: Mapping[str, object]) -> Comparison:
    limits = {"difference": found.value, "low": found.low, "high": found.high, "n": found.n}
    return Comparison.model_validate({"a": a, "b": b, **limits, **more})


def ratios(who: str, answers: Given, other: str, others: Given, *, seed: int) -> list[Result]:
    """What `who` takes over what `other` takes, on the tasks that both have; below 1: it takes less.

    Rows `tokens_ratio` and `latency_ratio`, each with `against`. A ratio by nothing is left out.
    """
    ours, theirs = as_attempts(answers), as_attempts(others)
    shared = sorted(ours.keys() & theirs.keys())
    rows: list[Result] = []
    if not shared:
        return rows
    for metric, value in (("tokens_ratio", length), ("latency_ratio", seconds)):
        a, b = task_values(ours, value), task_values(theirs, value)
        found = ratio_over_tasks({task: (a[task], b[task]) for task in shared}, seed=seed)
        if found is not None:
            rows.append(result_of(who, metric, found, against=other))
    return rows
