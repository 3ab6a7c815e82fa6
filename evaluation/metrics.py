"""Everything that is measured on one model's answers, as rows of `eval.json`.

    answers = {"t1": scored_attempt, "t2": scored_attempt}      # or lists of attempts, for the measures at k
    rows = measures("student_after", answers, seed=7, ks=(1, 4), prices=None)

Tasks are the unit: a task with many attempts counts once. Rows do not depend on the order of the tasks or the model's
name. A row that cannot be computed is left out: no cost without prices, no tokens per right answer where the interval
has no upper end (its inverse, `right_per_1000_tokens`, always has one).

Repetition is counted in runs of words, the same for all models; the filter `no_repetition` decides what is left out
of training. distinct-n is that of Li et al. 2016 (arXiv:1510.03055): it falls with the length of a text, so compare
it between answers of about the same length only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from math import comb, fsum
from statistics import fmean
from typing import NamedTuple

from stillroom.common.records import Attempt, ScoredAttempt, State
from stillroom.common.stats.bootstrap import mean_over_tasks, ratio_over_tasks, share_over_tasks
from stillroom.common.stats.intervals import Interval, mean_interval, wilson
from stillroom.common.text import tokens
from stillroom.evaluation.results import ACCURACY, MEAN_TOKENS, SHARE_STOPPED, Result, result_of
from stillroom.sampling.limits import Prices
from stillroom.traces.answers.records import Reason

SHARE_IN_FORM = "share_in_form"

Value = Callable[[ScoredAttempt], float]
Attempts = Mapping[str, Sequence[ScoredAttempt]]
"""The attempts of a model at each task, at least one, by task id."""

NOT_IN_FORM = frozenset(
    {Reason.NO_ANSWER, Reason.UNPARSED_ANSWER, Reason.TRUNCATED, Reason.NEEDS_POLICY, Reason.NOT_WORKED_OUT}
)
"""Unscored for what the model wrote: it gives no answer that could be compared. Other reasons (no gold answer, a time
limit, a judge that failed) say nothing of its form."""

RUN = 6
"""Words of a run, numbers and signs of arithmetic included."""
TIMES = 4
"""An answer repeats itself where one run stands there so often. Arithmetic does now and then: 1.4 % of the 2,640
solutions to GSM8K that OpenAI published with it do, so compare this with another model's, never with 0."""
DISTINCT = 4
"""Words of the runs that distinct-n counts."""
MAX_WORDS = 100_000
"""Words that are looked at: what repeats does so before."""


def answer_words(attempt: Attempt) -> list[str]:
    """Words, numbers and signs of all a model wrote, its reasoning first."""
    return tokens(f"{attempt.reasoning or ''}\n{attempt.text}")[:MAX_WORDS]


def repeats(words: Sequence[str]) -> bool:
    """Whether a run of 6 words stands there 4 times or more, in a row or not."""
    return most_repeated(words, RUN) >= TIMES


def most_repeated(words: Sequence[str], n: int) -> int:
    """How often the commonest run of n words stands there; 0 in a text that is shorter."""
    return max(Counter(_runs(words, n)).values(), default=0)


def distinct(texts: Iterable[Sequence[str]], n: int) -> float | None:
    """Different runs of n words over all of them, for the texts together. None where none is so long."""
    runs = [run for words in texts for run in _runs(words, n)]
    return len(set(runs)) / len(runs) if runs else None


def _runs(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    if n < 1:
        raise ValueError(f"n is {n}: a run has at least one word")
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def measures(
    who: str,
    answers: Mapping[str, ScoredAttempt | Sequence[ScoredAttempt]],
    *,
    seed: int,
    ks: Collection[int] = (),
    asked: int | None = None,
    prices: Prices | None = None,
) -> list[Result]:
    """The rows of one model; none where it has no attempt.

    `ks`: the k of pass@k and majority@k, for attempts that were drawn in a fixed number; tasks with fewer are left
    out of these two rows, and counted there. `asked`: tasks that were put to the model, for the count of `missing`.
    Raises ValueError for a k below 1.
    """
    attempts = as_attempts(answers)
    if not attempts:
        return []

    def share(metric: str, values: Mapping[str, float], **more: object) -> Result:
        return result_of(who, metric, share_over_tasks(values, seed=seed), **more)

    # The unscored lower accuracy; `counts` and `unscored` are of attempts, by state and by reason.
    every = [a for given in attempts.values() for a in given]
    states = Counter(a.verdict.state for a in every)
    counts = {state.value: states[state] for state in State}
    counts["missing"] = 0 if asked is None else asked - len(attempts)
    unscored = _by_reason(a for a in every if a.verdict.state is State.UNSCORED)
    rows = [
        share(ACCURACY, task_values(attempts, right), counts=counts, unscored=unscored),
        share(SHARE_STOPPED, task_values(attempts, lambda a: a.attempt.finish_reason == "stop")),
    ]

    # With the normal interval, as in every table so far; no length is below 0.
    tokens_each = mean_interval([value for _, value in sorted(task_values(attempts, length).items())])
    rows.append(result_of(who, MEAN_TOKENS, tokens_each._replace(low=max(0.0, tokens_each.low))))

    # Of the attempts whose verdict tells; `left_out` counts the others.
    telling = {task: [a for a in given if in_form(a) is not None] for task, given in attempts.items()}
    if formed := task_values({task: given for task, given in telling.items() if given}, lambda a: in_form(a) is True):
        rows.append(share(SHARE_IN_FORM, formed, left_out=_by_reason(a for a in every if in_form(a) is None)))

    rows.append(share("share_repeating", task_values(attempts, lambda a: repeats(answer_words(a.attempt)))))
    runs = {task: [distinct([answer_words(a.attempt)], DISTINCT) for a in given] for task, given in attempts.items()}
    long = {task: [value for value in values if value is not None] for task, values in runs.items()}
    if means := {task: fmean(values) for task, values in long.items() if values}:
        rows.append(share(f"mean_distinct_{DISTINCT}", means))

    rows += _rates(who, attempts, prices, seed)
    for k in sorted(set(ks)):
        rows += _at_k(who, attempts, k, seed)
    return rows


def as_attempts(
    answers: Mapping[str, ScoredAttempt | Sequence[ScoredAttempt]],
) -> dict[str, tuple[ScoredAttempt, ...]]:
    """Every task with a list of attempts, also where it has one; without the tasks that have none."""
    given = {task: (a,) if isinstance(a, ScoredAttempt) else tuple(a) for task, a in answers.items()}
    return {task: attempts for task, attempts in given.items() if attempts}


def right(answer: ScoredAttempt) -> bool:
    """Whether the scorer accepted it."""
    return answer.verdict.state is State.ACCEPTED


def task_values(attempts: Attempts, value: Value) -> dict[str, float]:
    """For each task the mean of a value over its attempts."""
    return {task: fmean(value(a) for a in given) for task, given in attempts.items()}


def answer_key(answer: ScoredAttempt) -> Hashable | None:
    """What an attempt answers, for a vote: all that were accepted are the same answer, the rejected are told apart by
    what the checker has read, without case, spaces and dollar signs; the unscored do not vote.

    Wrong answers in two ways of writing are two answers, which makes majority@k a little too high, never too low.
    """
    if right(answer):
        return (State.ACCEPTED.value,)
    if answer.verdict.state is State.UNSCORED:
        return None
    return "".join(answer.verdict.detail.casefold().split()).replace("$", "")


def in_form(answer: ScoredAttempt) -> bool | None:
    """Whether it was answered in a form that could be compared with the reference, right or not; None where the
    verdict says nothing of that."""
    if answer.verdict.state is not State.UNSCORED:
        return True
    return False if answer.verdict.reason in NOT_IN_FORM else None


def _by_reason(attempts: Iterable[ScoredAttempt]) -> dict[str, int]:
    return dict(sorted(Counter(str(a.verdict.reason) for a in attempts).items()))


def _rates(who: str, attempts: Attempts, prices: Prices | None, seed: int) -> Iterator[Result]:
    """Right answers per token, latency, and with `prices` what the answers cost."""
    shares, lengths = task_values(attempts, right), task_values(attempts, length)
    rate = ratio_over_tasks({task: (shares[task], lengths[task]) for task in attempts}, seed=seed)
    if rate is not None:
        if not rate.value:  # so is every sample: as many right as Wilson's interval allows, in as many tokens
            rate = rate._replace(high=wilson(0, rate.n).high * rate.n / fsum(lengths.values()))
        yield result_of(who, "right_per_1000_tokens", _times(rate, 1000))
        yield from _inverse(who, "tokens_per_right", rate)
    yield result_of(who, "mean_latency_s", mean_over_tasks(task_values(attempts, seconds), seed=seed))
    if prices is None:
        return
    # US dollars of the attempts, their prompts included.
    usd = task_values(attempts, lambda a: prices.of(a.attempt.prompt_tokens, a.attempt.completion_tokens))
    yield result_of(who, "usd_per_1000_answers", _times(mean_over_tasks(usd, seed=seed), 1000))
    rate = ratio_over_tasks({task: (shares[task], usd[task]) for task in attempts}, seed=seed)
    if rate is not None:
        yield from _inverse(who, "usd_per_right", rate)


def _at_k(who: str, attempts: Attempts, k: int, seed: int) -> Iterator[Result]:
    """None where no task has k attempts."""
    tasks = {task: given for task, given in attempts.items() if len(given) >= k}
    if not tasks:
        return
    rights = {task: [right(a) for a in given] for task, given in tasks.items()}
    votes = {task: [Vote(answer_key(a), right(a)) for a in given] for task, given in tasks.items()}
    left_out = len(attempts) - len(tasks)
    yield result_of(who, f"pass_at_{k}", pass_at_k(rights, k, seed=seed), left_out=left_out)
    yield result_of(who, f"majority_at_{k}", majority_at_k(votes, k, seed=seed), left_out=left_out)


def _inverse(who: str, metric: str, rate: Interval) -> Iterator[Result]:
    """1/rate: percentile limits change places. Nothing where the upper one would be infinite."""
    if rate.low > 0:
        yield result_of(who, metric, Interval(1 / rate.value, 1 / rate.high, 1 / rate.low, rate.n))


def _times(found: Interval, factor: float) -> Interval:
    return Interval(found.value * factor, found.low * factor, found.high * factor, found.n)


def seconds(answer: ScoredAttempt) -> float:
    """Latency of one attempt."""
    return answer.attempt.latency_s


def length(answer: ScoredAttempt) -> float:
    """Tokens of one attempt."""
    return answer.attempt.completion_tokens


class Vote(NamedTuple):
    """One attempt. `answer`: normalised, so that equal answers are equal; None where it cannot be read and does not
    vote. `right`: whether it was accepted."""

    answer: Hashable | None
    right: bool


def pass_at_k(right: Mapping[str, Sequence[bool]], k: int, *, seed: int) -> Interval:
    """Mean over tasks of the chance that any of k attempts is right, the expected value over all choices of k from
    the n >= k attempts at each task: 1 − C(n − c, k) / C(n, k), c of n being right (Chen et al. 2021,
    arXiv:2107.03374, equation 1). n counts tasks.

    >>> pass_at_k({"t1": [True, False, False, True], "t2": [False] * 4}, k=2, seed=7).value == (5 / 6 + 0) / 2
    True

    The number of attempts must not depend on how earlier ones came out, as it does under a policy that stops when it
    is satisfied. Raises ValueError for no task, k below 1, or a task with fewer than k attempts.
    """
    _check({task: len(given) for task, given in right.items()}, k)
    shares = {task: any_of_k(len(given), sum(map(bool, given)), k) for task, given in right.items()}
    return share_over_tasks(shares, seed=seed)


def majority_at_k(votes: Mapping[str, Sequence[Vote]], k: int, *, seed: int) -> Interval:
    """Mean over tasks of the chance that the answer most of k attempts give is right (self-consistency, Wang et al.
    2022, arXiv:2203.11171); where several lead, each is taken with the same chance. n counts tasks. Where none of the
    k votes, the majority is not right. Raises as `pass_at_k`, and for an attempt that is right without an answer.
    """
    _check({task: len(given) for task, given in votes.items()}, k)
    return share_over_tasks({task: most_of_k(given, k) for task, given in votes.items()}, seed=seed)


def any_of_k(n: int, right: int, k: int) -> float:
    """The chance that k of n attempts, drawn without replacement, hold one of the `right`."""
    return float(1 - Fraction(comb(n - right, k), comb(n, k)))


def most_of_k(votes: Sequence[Vote], k: int) -> float:
    """The chance that the answer leading among k of the votes, drawn without replacement, is right.

    Should one answer hold right and wrong attempts, it counts by the share of its attempts that are right: so
    majority@1 is accuracy, whatever the answers are.
    """
    if any(vote.right and vote.answer is None for vote in votes):
        raise ValueError("an attempt is right but has no answer: give the answer that was read, or None and False")
    sizes = Counter(vote.answer for vote in votes)
    silent = sizes.pop(None, 0)
    right = Counter(vote.answer for vote in votes if vote.right)
    ways = Fraction(0)
    for answer, size in sizes.items():
        if right[answer]:
            others = [count for other, count in sizes.items() if other != answer]
            ways += Fraction(right[answer], size) * _leading(size, others, silent, k)
    return float(ways / comb(len(votes), k))


def _leading(size: int, others: Sequence[int], silent: int, k: int) -> Fraction:
    """In how many of the choices of k an answer with `size` attempts leads, a tie of t answers counted 1/t."""
    total = Fraction(0)
    for votes in range(1, min(size, k) + 1):
        rivals = _rivals(others, votes, k - votes)
        for (used, level), ways in rivals.items():
            total += Fraction(comb(size, votes) * ways * comb(silent, k - votes - used), level + 1)
    return total


def _rivals(others: Sequence[int], most: int, room: int) -> Counter[tuple[int, int]]:
    """Choices from the other answers, none with more than `most` attempts and `room` in all: how many there are, by
    (attempts used, answers with exactly `most`)."""
    ways: Counter[tuple[int, int]] = Counter({(0, 0): 1})
    for size in others:
        longer: Counter[tuple[int, int]] = Counter()
        for (used, level), count in ways.items():
            for taken in range(min(size, most, room - used) + 1):
                longer[used + taken, level + (taken == most)] += count * comb(size, taken)
        ways = longer
    return ways


def _check(counts: Mapping[str, int], k: int) -> None:
    if not counts or k < 1:
        raise ValueError(f"{len(counts)} tasks and k = {k}: give at least one task, and k of 1 or more")
    if short := [task for task, n in counts.items() if n < k]:
        raise ValueError(
            f"{len(short)} of {len(counts)} tasks have fewer than {k} attempts, {short[0]!r} has {counts[short[0]]}: "
            "draw more, lower k, or leave these tasks out and say so"
        )
