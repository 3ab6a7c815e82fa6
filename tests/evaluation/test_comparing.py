from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest

from stillroom.common.records import ScoredAttempt
from stillroom.common.stats.significance import detectable_share
from stillroom.evaluation.comparisons import compare, compare_all, corrected, ratios
from stillroom.evaluation.evaluate import evaluate_answers
from stillroom.evaluation.results import Comparison, Evaluation, read_eval, write_eval

Make = Callable[..., dict[str, ScoredAttempt]]


def taking(answers: dict[str, ScoredAttempt], *, tokens: int, seconds: float) -> dict[str, ScoredAttempt]:
    return {
        task: replace(a, attempt=replace(a.attempt, completion_tokens=tokens, latency_s=seconds))
        for task, a in answers.items()
    }


def test_one_attempt_a_task_is_compared_as_before_and_says_what_it_could_have_shown(scored: Make) -> None:
    after, before = scored(accepted=range(40), rejected=range(40, 60)), scored(accepted=[0], rejected=range(1, 55))
    found = compare("after", after, "before", before, seed=1)
    (old,) = evaluate_answers({"after": after, "before": before}, compared=[("after", "before")]).comparisons
    assert found is not None
    assert found.model_dump() == old.model_dump() | {"p_holm": None}
    assert found.detectable == detectable_share(55, 39)
    assert found.left_out == 5


def test_several_attempts_are_compared_by_their_task_means(scored: Make) -> None:
    right, wrong = scored(accepted=range(30)), scored(rejected=range(30))
    half = {task: [right[task], wrong[task]] if int(task) % 3 else [right[task]] * 2 for task in right}
    found = compare("a", half, "b", wrong, seed=1)
    assert found is not None
    assert found.test == "sign_flip"
    assert found.difference == pytest.approx((20 * 0.5 + 10) / 30)
    assert found.low < found.difference < found.high
    assert found.p < 0.001
    assert found.n == 30
    back = compare("b", wrong, "a", half, seed=1)
    assert back is not None
    assert back.difference == pytest.approx(-found.difference)
    assert back.p == found.p


def test_the_same_answers_differ_by_nothing(scored: Make) -> None:
    answers = {task: [a, a] for task, a in scored(accepted=range(5), rejected=range(5, 9)).items()}
    mixed = answers | {"x": [answers["0"][0], answers["8"][0]]}
    found = compare("a", mixed, "b", mixed, seed=1)
    assert found is not None
    assert (found.difference, found.p, found.detectable) == (0, 1, None)


def test_models_that_share_no_task_are_not_compared(scored: Make) -> None:
    assert compare("a", scored(accepted=[1]), "b", scored(accepted=[2]), seed=1) is None


def test_all_comparisons_are_corrected_for_each_other(scored: Make) -> None:
    by_who = {
        "after": scored(accepted=range(20), rejected=range(20, 30)),
        "before": scored(accepted=range(12), rejected=range(12, 30)),
        "control": scored(accepted=range(14), rejected=range(14, 30)),
        "elsewhere": scored(accepted=["x"]),
    }
    wanted = [("after", "before"), ("after", "control"), ("after", "nobody"), ("after", "elsewhere")]
    found = compare_all(by_who, wanted, seed=1)
    assert [(c.a, c.b) for c in found] == wanted[:2]
    assert [c.p for c in found] == [2 / 256, 2 / 64]
    assert [c.p_holm for c in found] == [4 / 256, 2 / 64]


def test_order_and_names_change_nothing(scored: Make) -> None:
    a, b = scored(accepted=range(9), rejected=range(9, 20)), scored(accepted=range(5, 20), rejected=range(5))
    several = {task: [x, b[task]] for task, x in a.items()}
    mixed = list(several.items())
    Random(3).shuffle(mixed)
    one, other = compare("a", several, "b", b, seed=1), compare("me", dict(mixed), "you", b, seed=1)
    assert one is not None
    assert other is not None
    assert one == other.model_copy(update={"a": "a", "b": "b"})


def test_comparisons_are_written_and_read_with_all_they_say(tmp_path: object, scored: Make) -> None:
    from pathlib import Path

    path = Path(str(tmp_path)) / "eval.json"
    found = compare_all({"a": scored(accepted=range(9)), "b": scored(rejected=range(9))}, [("a", "b")], seed=1)
    write_eval(Evaluation(results=(), comparisons=found), path)
    assert read_eval(path).comparisons == found


def test_correcting_nothing_gives_nothing() -> None:
    assert corrected([]) == ()
    one = Comparison(a="a", b="b", test="t", difference=0.1, low=0, high=0.2, p=0.04, n=9)
    assert corrected([one])[0].p_holm == 0.04


# -- ratios the teacher --------------------------------------------------------------------------------------------


def test_what_a_student_takes_beside_its_teacher(scored: Make) -> None:
    student = taking(scored(accepted=range(20)), tokens=10, seconds=0.5)
    teacher = taking(scored(accepted=range(10, 40)), tokens=40, seconds=1.0)
    rows = ratios("student", student, "teacher", teacher, seed=1)
    assert [(r.metric, r.value, r.n) for r in rows] == [("tokens_ratio", 0.25, 10), ("latency_ratio", 0.5, 10)]
    assert all(r.model_extra == {"against": "teacher"} for r in rows)


def test_nothing_stands_beside_a_teacher_without_tokens_or_tasks(scored: Make) -> None:
    student, teacher = scored(accepted=range(3)), taking(scored(accepted=range(3)), tokens=0, seconds=1.0)
    assert [r.metric for r in ratios("s", student, "t", teacher, seed=1)] == ["latency_ratio"]
    assert ratios("s", student, "t", scored(accepted=[9]), seed=1) == []
