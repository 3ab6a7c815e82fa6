"""What a loop's recipe may say, and how a mistake in it is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from stillroom.errors import RecipeError
from stillroom.evaluation.guard import GuardSettings
from stillroom.pipeline.config.load import dump, load_any, load_recipe, shipped
from stillroom.pipeline.config.loop import LONGEST_NAME, LoopRecipe
from tests.pipeline.loop_fakes import TASKS, TEACHER, loop_recipe, nested

RECIPE: dict[str, Any] = {
    "name": "sums",
    "tasks": TASKS,
    "teacher": TEACHER,
    "student": {"model": "base"},
    "evaluate": {"baselines": []},
    "loop": {"rounds": 3},
}


def test_the_defaults_are_the_careful_ones() -> None:
    loop = loop_recipe().loop
    assert (loop.teacher, loop.prompt, loop.start, loop.traces, loop.tasks) == (
        "last", "student", "from_base", "accumulate", "fresh"
    )  # fmt: skip
    assert loop.guard == GuardSettings()
    assert loop.control_one_round
    assert loop_recipe({"guard": None}).loop.guard is None


def test_a_loop_is_told_from_a_recipe_by_its_key_and_reads_back_as_it_was(tmp_path: Path) -> None:
    changes = {"in_round": {"2": {"student": {"epochs": 2}}}, "levels": [{"limit": 3}], "guard": {"accuracy": 0.1}}
    recipe = loop_recipe(changes)
    (tmp_path / "recipe.yaml").write_text(json.dumps(RECIPE | {"loop": {"rounds": 3} | nested(changes)}))
    read = load_any(tmp_path / "recipe.yaml").recipe
    assert isinstance(read, LoopRecipe)
    assert read.loop == recipe.loop
    (tmp_path / "resolved.yaml").write_text(dump(read))
    assert load_any(tmp_path / "resolved.yaml").recipe == read


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"loop": {"roundz": 2}}, r"line \d+: loop.roundz: unknown key; did you mean 'rounds'\?"),
        ({"loop": {"rounds": 0}}, r"loop.rounds: .* greater than or equal to 1, found 0"),
        ({"loop": {"rounds": 101}}, r"loop.rounds: .* less than or equal to 100, found 101"),
        ({"loop": {"teacher": "lst"}}, r"loop.teacher: .*'last' or 'best', found 'lst'"),
        ({"loop": {"guard": {"acuracy": 0}}}, r"loop.guard.acuracy: unknown key; did you mean 'accuracy'\?"),
        ({"loop": {"advance_at": 1.5}}, r"loop.advance_at"),
        ({"loop": {"in_round": {"7": {}}}}, r"overrides.round.7: there are 3 rounds: raise rounds, or leave it out"),
        ({"loop": {"in_round": {"two": {}}}}, r"loop.overrides.round.two"),
        ({"loop": {"in_round": {"0": {}}}}, r"loop.overrides.round.0"),
        ({"loop": {"levels": ["hard"]}}, r"loop.levels.1: expected keys with values, found 'hard'"),
        ({"loop": None}, r"loop: expected keys with values, found None"),
        ({"loop": [3]}, r"loop: expected keys with values, found \[3\]"),
        ({"loop": {"later": None}}, r"loop.overrides.from_round_2: expected keys with values"),
        ({"evaluate": None}, r"a loop .* there is no evaluate: add one"),
        ({"student": None, "evaluate": None}, r"a loop .* there is no student: add one"),
        ({"tasks": {**TASKS, "skip": 1}}, r"tasks.skip is set by the loop"),
        ({"tasks": {**TASKS, "limit": None}}, r"loop.tasks is fresh, but tasks.limit is missing"),
        ({"tasks": {**TASKS, "test": 0}}, r"evaluate needs held-out tasks, but tasks.test is 0"),
        ({"earlier": ["runs/other/sft"]}, r"earlier is set by the loop"),
        ({"name": "n" * (LONGEST_NAME + 1)}, rf"name has {LONGEST_NAME + 1} characters.* {LONGEST_NAME} at most"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_key(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    loop = changes.get("loop", {})
    values = RECIPE | changes
    values["loop"] = {"rounds": 3} | nested(loop) if isinstance(loop, dict) else loop
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps(values))
    with pytest.raises(RecipeError, match=said) as caught:
        load_any(path)
    assert "recipe.yaml" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"name": "x"}, "name: the loop sets it"),
        ({"loop": {}}, "loop: it holds for all rounds"),
        ({"earlier": ["x"]}, "earlier: the loop sets it"),
        ({"limits": {"tokens": 5}}, "limits: they hold for the loop as a whole"),
        ({"scorer": {"timeout_s": 1}}, "scorer: rounds that are scored otherwise cannot be compared"),
        ({"seed": 5}, "seed: the held-out tasks"),
        ({"tasks": {"test": 5}}, "tasks: the held-out tasks are the same in every round"),
        ({"tasks": None}, "tasks: the held-out tasks"),
        ({"teacher": "openai"}, "teacher: every round has one: give the keys of it that change, found 'openai'"),
        ({"student": None}, "student: every round has one"),
        ({"evaluate": None}, "evaluate: every round has one"),
        ({"keep": None}, "keep: every round has one"),
        ({"evaluate": {"max_tokens": 9}}, "evaluate.max_tokens: rounds whose students"),
        ({"evaluate": {"stop": ["x"]}}, "evaluate.stop: rounds whose students"),
        (
            {"evaluate": {"retention": {"texts": "everyday"}}},
            "evaluate.retention: rounds that are measured otherwise",
        ),
        ({"student": {"system": "Be brief."}}, "student.system: rounds whose students are asked otherwise"),
    ],
)
@pytest.mark.parametrize("where", ["overrides.from_round_2", "overrides.round.2"])
def test_what_would_make_rounds_that_cannot_be_compared_is_refused(
    where: str, changes: dict[str, Any], why: str
) -> None:
    loop = {"later": changes} if where == "overrides.from_round_2" else {"in_round": {"2": changes}}
    with pytest.raises(ValidationError) as caught:
        loop_recipe(loop)
    assert f"{where}.{why}" in str(caught.value)


def test_what_later_rounds_are_held_against_is_not_dropped_in_silence() -> None:
    with pytest.raises(
        ValidationError, match=r"overrides.from_round_2.evaluate.baselines: the loop compares its last student with"
    ):
        loop_recipe({"later": {"evaluate": {"baselines": ["teacher"]}}})
    assert loop_recipe({"later": {"evaluate": {"retention": None}}}).loop.overrides.from_round_2["evaluate"] == {
        "retention": None
    }


@pytest.mark.parametrize(
    "change", [{"model": "m"}, {"kind": "openai"}, {"path": "x.jsonl"}, {"base_url": "http://x"}]
)
def test_from_round_2_on_nobody_but_a_student_can_sample(change: dict[str, Any]) -> None:
    with pytest.raises(
        ValidationError, match=rf"overrides.from_round_2.teacher.{next(iter(change))}: from round 2 on a student"
    ):
        loop_recipe({"later": {"teacher": change}})
    assert loop_recipe({"in_round": {"2": {"teacher": change}}}).loop.overrides.round[2]["teacher"] == change


@pytest.mark.parametrize("key", ["skip", "seed"])
def test_a_level_leaves_to_the_loop_what_keeps_rounds_apart(key: str) -> None:
    with pytest.raises(ValidationError, match=rf"levels.2.{key} is set by the loop: leave it out"):
        loop_recipe({"levels": [{}, {key: 1}]})


def test_the_same_tasks_in_every_round_need_no_limit() -> None:
    assert loop_recipe({"tasks": "same"}, tasks={**TASKS, "limit": None}).tasks.limit is None
    assert loop_recipe({"rounds": 1}, tasks={**TASKS, "limit": None}).tasks.limit is None


@pytest.mark.parametrize("name", [name for name in shipped() if "distill" in name])
def test_the_shipped_loops_are_loops(name: str) -> None:
    assert isinstance(load_any(name).recipe, LoopRecipe)
    with pytest.raises(RecipeError, match="is not a recipe of traces"):
        load_recipe(name)
