"""The recipe of each round: what is laid over, who teaches, from what a student starts; and what cannot be run."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillroom.errors import RecipeError
from stillroom.pipeline.config.loop import LoopRecipe, RoundPlan, laid_over, names_teacher, round_recipe
from stillroom.pipeline.config.recipe import CONTROLS, Recipe
from stillroom.sampling.limits import Prices
from tests.pipeline.loop_fakes import TEACHER, loop_recipe

OPENAI = {
    "kind": "openai",
    "model": "big",
    "base_url": "http://localhost:8000/v1",
    "concurrency": 200,
    "licence": "mit",
    "system": "Be a teacher.",
    "examples": [{"prompt": "1 + 1?", "answer": "2"}],
    "sampling": {"temperature": 0.7, "max_tokens": 99},
    "retry": {"attempts": 2},
}
LOCAL = {k: v for k, v in OPENAI.items() if k != "base_url"} | {"kind": "transformers", "dtype": "float32"}
SECOND = RoundPlan(2, sampler="/runs/rounds/1/student/merged", skip=4)


def teacher(recipe: LoopRecipe, plan: RoundPlan = SECOND) -> dict[str, Any]:
    """What the round asks, without what nobody set."""
    return round_recipe(recipe, plan).teacher.model_dump(mode="json", exclude_unset=True)


# -- laying over -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "changes", "found"),
    [
        ({"a": 1}, {}, {"a": 1}),
        ({"a": 1}, {"a": None}, {"a": None}),
        ({"a": None}, {"a": {"b": 1}}, {"a": {"b": 1}}),
        ({"a": {"b": 1}}, {"a": 2}, {"a": 2}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 9}, "d": 3}, {"a": {"b": 9, "c": 2}, "d": 3}),
        ({"a": {"b": {"c": 1, "d": 2}}}, {"a": {"b": {"d": 3}}}, {"a": {"b": {"c": 1, "d": 3}}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": {"kind": "x", "b": 1}}, {"a": {"kind": "x", "c": 2}}, {"a": {"kind": "x", "b": 1, "c": 2}}),
        ({"a": {"kind": "x", "b": 1}}, {"a": {"kind": "y", "c": 2}}, {"a": {"kind": "y", "c": 2}}),
        ({"a": {"source": "x", "b": 1}}, {"a": {"source": "y"}}, {"a": {"source": "y"}}),
        ({"a": {"policy": "until", "b": 1}}, {"a": {"policy": "fixed"}}, {"a": {"policy": "fixed"}}),
        (
            {"a": {"b": {"kind": "x", "c": 1}, "d": 2}},
            {"a": {"b": {"kind": "y"}}},
            {"a": {"b": {"kind": "y"}, "d": 2}},
        ),
    ],
)
def test_changes_are_laid_over_key_by_key(
    values: dict[str, Any], changes: dict[str, Any], found: dict[str, Any]
) -> None:
    assert laid_over(values, changes) == found


BLOCKS = st.recursive(
    st.none() | st.integers(), lambda inside: st.dictionaries(st.sampled_from("abc"), inside), max_leaves=8
)


@given(
    values=st.dictionaries(st.sampled_from("abc"), BLOCKS), changes=st.dictionaries(st.sampled_from("abc"), BLOCKS)
)
def test_laying_over_twice_changes_nothing_more_and_nothing_else_is_touched(
    values: dict[str, Any], changes: dict[str, Any]
) -> None:
    before = repr(values)
    once = laid_over(values, changes)
    assert laid_over(once, changes) == once
    assert laid_over(values, {}) == values
    assert repr(values) == before
    assert {key: once[key] for key in values.keys() - changes.keys()} == {
        key: values[key] for key in values.keys() - changes.keys()
    }


# -- the first round ---------------------------------------------------------------------------------------------


def test_the_first_round_is_the_recipe_itself() -> None:
    recipe = loop_recipe(
        {"later": {"keep": {"max_attempts": 1}}}, teacher=OPENAI, student={"model": "base", "epochs": 2}
    )
    found = round_recipe(recipe, RoundPlan(1))
    assert type(found) is Recipe
    assert (found.name, found.earlier, found.tasks.skip) == ("sums-round-1", (), 0)
    same = ("teacher", "student", "keep", "filters", "seed", "scorer", "prices")
    assert [getattr(found, key) for key in same] == [getattr(recipe, key) for key in same]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ([], ("student_before",)),
        (["teacher"], ("student_before", "teacher")),
        (["teacher", "student_before"], ("teacher", "student_before")),
        (["student_before", *(c for c in CONTROLS if c != "control_gold"), "teacher"], ("student_before", "teacher")),
    ],
)
def test_the_first_round_measures_the_model_before_and_trains_no_control(
    asked: list[str], found: tuple[str, ...]
) -> None:
    recipe = loop_recipe(evaluate={"baselines": asked})
    evaluate = round_recipe(recipe, RoundPlan(1)).evaluate
    assert evaluate is not None
    assert evaluate.baselines == found
    assert not evaluate.plots


def test_later_rounds_measure_their_student_alone_unless_one_is_told_otherwise() -> None:
    asked = ["student_before", "teacher", "control_unfiltered"]
    recipe = loop_recipe(
        {"in_round": {"3": {"evaluate": {"baselines": ["teacher", "control_wrong_answers"]}}}},
        evaluate={"baselines": asked},
    )
    found = [round_recipe(recipe, RoundPlan(n, sampler="s")).evaluate for n in (2, 3)]
    assert [evaluate.baselines for evaluate in found if evaluate is not None] == [(), ("teacher",)]


# -- who teaches -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [OPENAI, {**TEACHER, "licence": "mit", "sampling": OPENAI["sampling"]}])
def test_after_a_teacher_that_is_no_local_model_the_student_is_loaded_by_transformers(first: dict[str, Any]) -> None:
    found = teacher(loop_recipe(teacher=first))
    assert (found["kind"], found["model"]) == ("transformers", SECOND.sampler)
    assert (found["licence"], found["sampling"]["temperature"], found["sampling"]["max_tokens"]) == ("mit", 0.7, 99)
    assert "concurrency" not in found  # a server's is not a local model's


@pytest.mark.parametrize("kind", ["transformers", "vllm"])
def test_after_a_local_teacher_only_the_model_is_another(kind: str) -> None:
    first = {"kind": kind, "model": "big", "concurrency": 3}
    found = teacher(loop_recipe({"prompt": "teacher"}, teacher=first))
    was = teacher(loop_recipe(teacher=first), RoundPlan(1))
    assert found == was | {"model": SECOND.sampler}


@pytest.mark.parametrize("first", [OPENAI, LOCAL])
@pytest.mark.parametrize(
    ("asked", "system", "examples"),
    [("student", "Be a student.", 0), ("teacher", "Be a teacher.", 1)],
)
def test_the_student_is_asked_as_it_is_trained_or_as_the_teacher_was(
    first: dict[str, Any], asked: str, system: str, examples: int
) -> None:
    student = {"model": "base", "system": "Be a student."}
    found = round_recipe(loop_recipe({"prompt": asked}, teacher=first, student=student), SECOND).teacher
    assert (found.system, len(found.examples)) == (system, examples)


def test_what_later_and_in_round_say_of_the_teacher_holds_for_the_student_that_samples() -> None:
    loop = {
        "later": {"teacher": {"sampling": {"temperature": 0.3}, "concurrency": 8}},
        "in_round": {"3": {"teacher": {"sampling": {"top_p": 0.9}, "system": "Short."}}},
    }
    recipe = loop_recipe(loop, teacher=OPENAI)
    second, third = (round_recipe(recipe, RoundPlan(n, sampler="s")).teacher for n in (2, 3))
    assert (second.kind, second.model, second.concurrency) == ("transformers", "s", 8)
    assert (second.sampling.temperature, second.sampling.top_p, second.sampling.max_tokens) == (0.3, 1.0, 99)
    assert (third.kind, third.model, third.system) == ("transformers", "s", "Short.")
    assert (third.sampling.temperature, third.sampling.top_p) == (0.3, 0.9)


@pytest.mark.parametrize("asked", ["student", "teacher"])
@pytest.mark.parametrize("first", [OPENAI, LOCAL])
def test_a_student_may_be_served_by_another_local_kind_from_round_2_on(asked: str, first: dict[str, Any]) -> None:
    later = {"teacher": {"kind": "vllm", "engine": {"max_model_len": 512}}}
    found = teacher(loop_recipe({"later": later, "prompt": asked}, teacher=first))
    assert (found["kind"], found["model"], found["engine"]) == ("vllm", SECOND.sampler, {"max_model_len": 512})
    assert found["sampling"]["temperature"] == 0.7
    assert found["system"] == ("Be a teacher." if asked == "teacher" else None)


@pytest.mark.parametrize(
    ("change", "names", "kind", "model"),
    [
        ({"kind": "recorded", "path": "other.jsonl"}, True, "recorded", "recorded"),
        ({"model": "bigger"}, True, "openai", "bigger"),
        ({"base_url": "http://localhost:9/v1"}, True, "openai", "big"),
        ({"sampling": {"temperature": 0.1}}, False, "transformers", SECOND.sampler),
        ({}, False, "transformers", SECOND.sampler),
    ],
)
def test_a_round_may_have_a_teacher_of_its_own(change: dict[str, Any], names: bool, kind: str, model: str) -> None:
    recipe = loop_recipe(
        {"in_round": {"2": {"teacher": change}}, "later": {"teacher": {"kind": "vllm"}}}, teacher=OPENAI
    )
    if not names:
        recipe = loop_recipe({"in_round": {"2": {"teacher": change}}}, teacher=OPENAI)
    found = round_recipe(recipe, SECOND).teacher
    assert names_teacher(recipe, 2) == names
    assert (found.kind, found.model) == (kind, model)
    assert not names_teacher(recipe, 3)


def test_another_recording_in_one_round_keeps_how_recordings_are_read() -> None:
    recipe = loop_recipe({"in_round": {"2": {"teacher": {"kind": "recorded", "path": "other.jsonl"}}}})
    found = teacher(recipe, RoundPlan(2))
    assert (found["path"], found["prompt"]) == ("other.jsonl", "question")


def test_a_student_that_samples_costs_nothing() -> None:
    prices = {"prompt": 1.0, "completion": 2.0}
    recipe = loop_recipe(
        {"in_round": {"3": {"teacher": {"model": "bigger"}}}}, teacher=OPENAI, prices=prices, limits={"usd": 5}
    )
    paid = Prices.model_validate(prices)
    assert round_recipe(recipe, RoundPlan(1)).prices == paid
    assert round_recipe(recipe, SECOND).prices == Prices(prompt=0, completion=0)
    assert round_recipe(recipe, RoundPlan(3)).prices == paid


# -- settings of a round -----------------------------------------------------------------------------------------


def test_in_round_goes_before_later_and_holds_for_its_round_alone() -> None:
    loop = {
        "later": {"keep": {"max_attempts": 5}, "student": {"epochs": 2}},
        "in_round": {"1": {"student": {"epochs": 9}}, "3": {"keep": {"policy": "fixed", "attempts": 7}}},
    }
    found = [round_recipe(loop_recipe(loop), RoundPlan(n, sampler="s")) for n in (1, 2, 3)]
    assert [r.student.epochs for r in found if r.student is not None] == [9, 2, 2]
    assert [(r.keep.policy, r.keep.draws) for r in found] == [("until", 8), ("until", 5), ("fixed", 7)]


@pytest.mark.parametrize(
    ("said", "limit", "stop"),
    [({}, 99, ()), ({"max_tokens": 12}, 12, ()), ({"stop": ["Q:"]}, 99, ("Q:",)), ({"stop": []}, 99, ())],
)
def test_all_rounds_answer_the_held_out_tasks_within_one_limit(
    said: dict[str, Any], limit: int, stop: tuple[str, ...]
) -> None:
    """Also where a round's teacher may say more or less, or ends elsewhere."""
    loop = {
        "later": {"teacher": {"sampling": {"max_tokens": 7, "stop": ["\n"]}}},
        "in_round": {"3": {"teacher": {"kind": "recorded", "path": "x.jsonl"}}},
    }
    recipe = loop_recipe(loop, teacher=OPENAI, evaluate={"baselines": [], **said})
    asked = [round_recipe(recipe, RoundPlan(n, sampler="s")).greedy for n in (1, 2, 3)]
    assert [(each.max_tokens, each.stop) for each in asked] == [(limit, stop)] * 3


def test_a_plan_says_where_a_student_starts_and_what_it_learns_from() -> None:
    found = round_recipe(loop_recipe(), RoundPlan(2, "s", start="/last", skip=8, earlier=("/1/sft", "/2/sft")))
    assert found.student is not None
    assert (found.student.model, found.tasks.skip, found.earlier) == ("/last", 8, ("/1/sft", "/2/sft"))
    from_base = round_recipe(loop_recipe(), RoundPlan(2, "s")).student
    assert from_base is not None
    assert from_base.model == "base"


def test_a_level_changes_the_tasks() -> None:
    gym = {"source": "reasoning_gym", "family": "chain_sum", "limit": 3}
    recipe = loop_recipe({"levels": [{}, {"path": "hard.jsonl", "limit": 2}, gym]})
    found = [round_recipe(recipe, RoundPlan(1, level=level)).tasks for level in range(3)]
    assert [t.source for t in found] == ["jsonl", "jsonl", "reasoning_gym"]
    assert [getattr(t, "path", None) for t in found] == ["tasks.jsonl", "hard.jsonl", None]
    assert [t.limit for t in found] == [4, 2, 3]


# -- what cannot be run ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loop", "number", "said"),
    [
        ({"later": {"keepz": {}}}, 2, r"round 2 .*: keepz \(from loop.overrides.from_round_2\): unknown key"),
        (
            {"later": {"keep": {"max_attemptz": 1}}},
            2,
            r"keep.max_attemptz \(from loop.overrides.from_round_2\): unknown key",
        ),
        (
            {"later": {"keep": {"max_attempts": 0}}},
            2,
            r"round 2 .*keep.max_attempts \(from loop.overrides.from_round_2\): .* greater",
        ),
        ({"later": {"keep": {"per_task": 99}}}, 2, r"max_attempts is 8, below per_task 99"),
        (
            {"in_round": {"3": {"student": {"epochs": -1}}}},
            3,
            r"round 3 .*student.epochs \(from loop.overrides.round.3\)",
        ),
        ({"in_round": {"3": {"teacher": {"kind": "recorded"}}}}, 3, r"teacher.prompt|teacher.path"),
        ({"in_round": {"1": {"filters": [{"max_tokns": 3}]}}}, 1, r"round 1 .*filters"),
        ({"levels": [{"limt": 3}]}, 1, r"round 1 .*tasks.limt \(from loop.levels.1\): unknown key"),
        ({"levels": [{"source": "gym"}]}, 1, r"tasks.source \(from loop.levels.1\): .*'gym'"),
        ({"levels": [{"test": 0}]}, 1, r"evaluate needs held-out tasks"),
    ],
)
def test_a_round_that_cannot_be_run_is_named_with_what_makes_it_so(
    loop: dict[str, Any], number: int, said: str
) -> None:
    first = OPENAI if "prompt|" in said else TEACHER
    recipe = loop_recipe(loop, teacher=first)
    with pytest.raises(RecipeError, match=said):
        round_recipe(recipe, RoundPlan(number, sampler="s" if number > 1 else None))
    others = {n for n in (1, 2, 3) if n != number and not (loop.get("later") and n > 1) and "levels" not in loop}
    for n in others:
        round_recipe(recipe, RoundPlan(n, sampler="s" if n > 1 else None))
