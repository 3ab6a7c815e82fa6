"""Work is counted before it is done."""

from __future__ import annotations

import threading

import pytest

from stillroom.traces.answers.grade import judge, rule
from stillroom.traces.answers.limits import Spent, allowance, spend
from stillroom.traces.answers.records import Policies, Reason

SUMS = r"\sum_{k=1}^{300}\sum_{j=1}^{300} kj"


def test_an_allowance_is_used_up() -> None:
    with allowance(10):
        spend(10)
        with pytest.raises(Spent):
            spend(1)


def test_nothing_is_counted_without_one() -> None:
    spend(10**12)


def test_one_within_another_stands_alone() -> None:
    with allowance(10):
        with allowance(100):
            spend(50)
        with allowance(None):
            spend(10**12)
        spend(10)


def test_it_belongs_to_its_thread() -> None:
    with allowance(1):
        other = threading.Thread(target=spend, args=(100,))
        other.start()
        other.join()
        spend(1)


def test_the_caller_leaves_to_a_worker_what_the_worker_refuses() -> None:
    matrix = r"\begin{pmatrix}x&y\\z&1\end{pmatrix}"
    pair = (matrix * 40, matrix * 41)
    assert judge(*pair).reason is None
    assert rule(*pair, Policies(), lambda one, other: None).reason is Reason.OVER_LIMIT


def test_a_verdict_does_not_depend_on_what_was_asked_before() -> None:
    pair = (SUMS, r"\sum_{k=1}^{300}\sum_{j=1}^{300} jk+1")
    assert len({judge(*pair).reason for _ in range(3)}) == 1
