"""The laws of pairs: every slate is accounted for, failures never enter, ids and order decide nothing."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillroom.common.records import Message, Task, user
from stillroom.errors import InputError
from stillroom.judges.records import FAILURES, JudgeState
from stillroom.preferences.candidates import same_text
from stillroom.preferences.pairs import build_pairs
from stillroom.preferences.records import Judged, Pair, Slate
from stillroom.preferences.settings import PairSettings
from tests.preferences.building import build, indexes, judged, reasons, slate, task

SETTINGS: list[dict[str, Any]] = [
    {"strategy": strategy, "length": length} | more
    for strategy, more in (
        ("best_worst", {}),
        ("best_sigma", {}),
        ("margin_quantile", {"quantile": 0.3, "per_task": 2}),
        ("margin", {"margin": 1.0, "per_task": 3}),
        ("on_policy", {"on_policy": "one"}),
        ("tournament", {}),
    )
    for length in ("none", "matched", "residual")
    if (strategy, length) != ("tournament", "residual")
]

settings = st.sampled_from(SETTINGS).map(PairSettings.model_validate)
scores = st.one_of(st.integers(1, 5).map(float), st.floats(1, 5))
states = st.sampled_from([JudgeState.OK] * 4 + sorted(FAILURES))


@st.composite
def slates(draw: st.DrawFn) -> list[Slate]:
    """Slates with different texts within each."""
    return [_slate(draw, f"t{number}") for number in range(draw(st.integers(0, 4)))]


def _slate(draw: st.DrawFn, of: str) -> Slate:
    texts = draw(st.lists(st.text("ab ", max_size=12), max_size=6, unique_by=same_text))
    found = []
    for index, text in enumerate(texts):
        state = draw(states)
        score = draw(scores) if state is JudgeState.OK else None
        found.append(judged(score, text, of=of, index=index, state=state, own=draw(st.booleans())))
    ends = [draw(st.sampled_from([each.candidate.id for each in found])) if found else None for _ in range(2)]
    return Slate(task(of), tuple(found), *ends)


@given(slates(), settings, st.integers(0, 3))
def test_every_slate_and_candidate_is_accounted_for(given_slates: list[Slate], how: PairSettings, seed: int) -> None:
    built = build_pairs(given_slates, how, seed=seed)
    left = [each.what for each in built.left_out]
    for each in given_slates:
        assert (each.task.id in left) is (each.task.id not in {pair.task.id for pair in built.pairs})
    counts = built.counts
    assert counts.slates == counts.with_pairs + sum(counts.slates_left_out.values())
    assert counts.candidates == counts.usable + sum(counts.candidates_left_out.values())
    assert counts.pairs == len(built.pairs) == built.lengths.pairs
    assert len(left) == sum(counts.slates_left_out.values()) + sum(counts.candidates_left_out.values())
    json.dumps(asdict(counts), allow_nan=False)
    json.dumps(built.lengths.as_dict(), allow_nan=False)


@given(slates(), settings, st.integers(0, 3))
def test_pairs_are_of_two_texts_that_a_judge_told_apart(
    given_slates: list[Slate], how: PairSettings, seed: int
) -> None:
    built = build_pairs(given_slates, how, seed=seed)
    for pair in built.pairs:
        chosen, rejected = pair.chosen, pair.rejected
        assert not chosen.failed
        assert not rejected.failed
        assert same_text(chosen.candidate.text) != same_text(rejected.candidate.text)
        assert chosen.candidate.task_id == rejected.candidate.task_id == pair.task.id
        assert pair.margin is not None
        assert pair.margin > 0
        if how.length != "residual":
            assert chosen.score is not None
            assert rejected.score is not None
            assert chosen.score > rejected.score
        if how.length == "matched":
            short, long = sorted(len(each.candidate.text.strip()) for each in (chosen, rejected))
            assert long <= how.max_ratio * short
    assert len({pair.id for pair in built.pairs}) == len(built.pairs)
    for each in given_slates:
        limit = how.per_task if how.strategy.startswith("margin") else 1
        assert sum(pair.task.id == each.task.id for pair in built.pairs) <= limit


@given(slates(), settings)
def test_renaming_changes_nothing_but_the_names(given_slates: list[Slate], how: PairSettings) -> None:
    renamed = [_renamed(each) for each in given_slates]
    built, again = build_pairs(given_slates, how), build_pairs(renamed, how)
    assert [_texts(pair) for pair in built.pairs] == [_texts(pair) for pair in again.pairs]
    assert [_renamed_pair(pair).id for pair in built.pairs] == [pair.id for pair in again.pairs]
    assert sorted(reasons(built)) == sorted(reasons(again))
    assert built.lengths == again.lengths
    # Failures are told by source, whose name is another.
    assert asdict(built.counts) == asdict(again.counts)


@given(slates(), settings, st.randoms(use_true_random=False))
def test_the_order_of_candidates_changes_nothing(given_slates: list[Slate], how: PairSettings, random: Any) -> None:
    shuffled = [replace(each, judged=tuple(random.sample(each.judged, len(each.judged)))) for each in given_slates]
    assert build_pairs(given_slates, how) == build_pairs(shuffled, how)


@given(slates(), settings)
def test_a_failed_judgement_is_as_good_as_no_candidate(given_slates: list[Slate], how: PairSettings) -> None:
    without = [replace(s, judged=tuple(j for j in s.judged if not j.failed)) for s in given_slates]
    assert build_pairs(given_slates, how).pairs == build_pairs(without, how).pairs


def _renamed(each: Slate) -> Slate:
    ends = (_name(each.best), _name(each.worst))
    return Slate(replace(each.task, id=f"z{each.task.id[::-1]}"), tuple(map(_renamed_judged, each.judged)), *ends)


def _renamed_judged(each: Judged) -> Judged:
    old = each.candidate
    return replace(each, candidate=replace(old, task_id=f"z{old.task_id[::-1]}", source="b", index=99 - old.index))


def _name(old: str | None) -> str | None:
    if old is None:
        return None
    of, _, index = old.split("/")
    return f"z{of[::-1]}/b/{99 - int(index)}"


def _renamed_pair(pair: Pair) -> Pair:
    return replace(pair, chosen=_renamed_judged(pair.chosen), rejected=_renamed_judged(pair.rejected))


def _texts(pair: Pair) -> tuple[str, str, float | None]:
    return pair.chosen.candidate.text, pair.rejected.candidate.text, pair.margin


# -- single cases ------------------------------------------------------------------------------------------------


def test_an_unparsed_rating_is_never_the_worst_answer() -> None:
    """A judge that could not be read once became a score of -1, and so the rejected side."""
    found = (judged(4.0, index=0), judged(3.0, index=1), judged(None, index=2, state=JudgeState.PARSE_FAILED))
    built = build(Slate(task(), found))
    assert indexes(built) == [(0, 1)]
    assert [(left.what, left.reason, left.detail) for left in built.left_out] == [
        ("t/teacher/2", "judge_failed", "parse_failed")
    ]


@pytest.mark.parametrize("how", SETTINGS)
def test_ties_never_pair_an_answer_with_itself(how: dict[str, Any]) -> None:
    tied = slate(3.0, 3.0, 3.0, own=(0, 1, 2), ends=(1, 1))
    assert (build(tied, **how).pairs, reasons(build(tied, **how))) == ((), ["tie"])


def test_equal_texts_in_a_slate_are_one_answer() -> None:
    found = (judged(1.0, "Same.", index=0), judged(5.0, "Same. ", index=1), judged(3.0, "Other.", index=2))
    built = build(Slate(task(), found))
    assert indexes(built) == [(1, 2)]
    assert [(left.what, left.reason) for left in built.left_out] == [("t/teacher/0", "same_text")]
    own = (*found[1:], replace(judged(1.0, "Same.", index=0, own=True)))
    assert indexes(build(Slate(task(), own))) == [(2, 0)]


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        (judged(float("nan"), index=9), "no_score"),
        (judged(float("inf"), index=9), "no_score"),
        (judged(None, index=9, state=JudgeState.TIE), "no_score"),
        (judged(9.0, " \n", index=9), "empty"),
        (judged(None, index=9, state=JudgeState.OVERFLOW), "judge_failed"),
    ],
)
def test_what_has_no_score_enters_no_pair(odd: Judged, reason: str) -> None:
    built = build(Slate(task(), (judged(1.0, index=0), judged(2.0, index=1), odd)))
    assert indexes(built) == [(1, 0)]
    assert reasons(built) == [reason]


def test_the_seed_decides_between_equals() -> None:
    even = slate(*([1.0] * 6 + [2.0] * 6))
    assert build(even, seed=1).pairs == build(even, seed=1).pairs
    assert len({indexes(build(even, seed=seed))[0] for seed in range(10)}) > 1


@pytest.mark.parametrize(
    ("system", "roles", "first"),
    [(None, ["system", "user"], "Be kind."), ("Be brief.", ["system", "user"], "Be brief.")],
)
def test_the_prompt_is_what_the_student_will_see(system: str | None, roles: list[str], first: str) -> None:
    asked = Task("t", (Message("system", "Be kind."), *user("Hello")), None, "by hand")
    [pair] = build_pairs([replace(slate(1.0, 2.0), task=asked)], PairSettings(), system=system).pairs
    assert [message.role for message in pair.prompt] == roles
    assert pair.prompt[0].content == first


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([slate(1.0), slate(2.0)], "two slates are of task 't'"),
        ([Slate(task("t"), (judged(1.0, of="u"),))], "'u/teacher/0' answers another task than 't'"),
        ([Slate(task("t"), (judged(1.0), judged(2.0)))], "'t/teacher/0' is twice"),
    ],
)
def test_what_cannot_be_joined_by_id_is_refused(wrong: list[Slate], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_pairs(wrong, PairSettings())
