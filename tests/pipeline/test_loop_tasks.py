"""The tasks of a loop: held out are always the same, no round gets another's, and nothing held out is learned from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stillroom.common.records import Task, user
from stillroom.errors import RecipeError, TaskError
from stillroom.pipeline.config.loop import RoundPlan, round_recipe
from stillroom.pipeline.flows.loop.rounds import HeldOut, held_out, of_level, tasks_at
from stillroom.traces.tasks import JsonlTasks, load_tasks
from tests.pipeline.loop_fakes import TASKS, loop_recipe, write_tasks

GYM: dict[str, Any] = {
    "source": "reasoning_gym", "family": "chain_sum", "limit": 6, "test": 5,
    "params": {"min_terms": 2, "max_terms": 2, "min_digits": 2, "max_digits": 2},
}  # fmt: skip


def prompts(tasks: Any) -> list[str]:
    return [task.messages[-1].content for task in tasks]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_tasks(tmp_path)  # 60, of which 20 are held out
    return tmp_path


# -- enough for all rounds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rounds", "limit", "loop", "said"),
    [
        (10, 4, {}, None),
        (11, 4, {}, r"11 rounds of 4 fresh tasks take 44, and there are 40: lower tasks.limit or loop.rounds"),
        (11, 4, {"tasks": "same"}, None),
        (1, 400, {}, None),
        (2, 21, {}, r"2 rounds of 21 fresh tasks take 42"),
        (3, 4, {"levels": [{}, {"limit": 20}]}, None),
        (3, 4, {"levels": [{}, {"limit": 21}]}, r"2 rounds of 21 fresh tasks take 42, .* at level 2"),
        (3, 4, {"levels": [{"limit": 14}]}, r"3 rounds of 14 fresh tasks take 42, .* at level 1"),
        (1, 4, {"levels": [{}, {"limit": 400}]}, None),
    ],
)
def test_a_loop_that_would_run_out_of_tasks_is_refused(
    folder: Path, rounds: int, limit: int, loop: dict[str, Any], said: str | None
) -> None:
    recipe = loop_recipe({"rounds": rounds} | loop, tasks={**TASKS, "limit": limit})
    if said is None:
        assert len(held_out(recipe, folder).test) == 20
        return
    with pytest.raises(TaskError, match=said):
        held_out(recipe, folder)


def test_with_levels_nothing_is_learned_from_the_tasks_themselves(folder: Path) -> None:
    """So they need not be enough."""
    write_tasks(folder, 100, "hard.jsonl", first=1000)
    hard = {"path": "hard.jsonl", "test": 1}
    recipe = loop_recipe({"rounds": 9, "levels": [hard]}, tasks={**TASKS, "limit": 11, "test": 55})
    assert len(held_out(recipe, folder).test) == 55


@pytest.mark.parametrize("change", [{}, {"params": {"min_digits": 3, "max_digits": 3}}])
def test_generated_tasks_may_be_shuffled(change: dict[str, Any]) -> None:
    """Each round shuffles its own part."""
    levels = [change] if change else []
    shuffled = {**GYM, "shuffle": True}
    assert len(held_out(loop_recipe({"levels": levels}, tasks=shuffled), Path()).test) == 5


def test_a_level_without_a_limit_is_no_part_of_a_loop_of_fresh_tasks(folder: Path) -> None:
    with pytest.raises(RecipeError, match=r"loop.tasks is fresh, but loop.levels.2.limit is null"):
        held_out(loop_recipe({"levels": [{}, {"limit": None}]}), folder)


def test_a_level_that_is_not_there_is_found_before_anything_is_asked(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.jsonl"):
        held_out(loop_recipe({"rounds": 1, "levels": [{}, {"path": "nowhere.jsonl"}]}), folder)


def test_a_level_of_another_source_says_all_of_it(folder: Path) -> None:
    level = {"source": "reasoning_gym", "family": "chain_sum"}
    recipe = loop_recipe({"levels": [{"limit": 3}, level]})
    assert [tasks_at(recipe, at).limit for at in (None, 0, 1)] == [4, 3, 500]
    assert len(held_out(recipe, folder).test) == 20


# -- rounds and their tasks --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tasks", [TASKS, {**TASKS, "shuffle": True}, {**TASKS, "validation": 15}, GYM, {**GYM, "validation": 7}]
)
def test_held_out_are_the_same_in_every_round_and_no_round_learns_what_another_did(
    folder: Path, tasks: dict[str, Any]
) -> None:
    recipe = loop_recipe({"rounds": 4}, tasks=tasks)
    held = held_out(recipe, folder)
    rounds = [round_recipe(recipe, RoundPlan(n, "s", skip=(n - 1) * tasks["limit"])) for n in (1, 2, 3, 4)]
    found = [load_tasks(each.tasks, base=folder, seed=each.seed) for each in rounds]
    assert all((each.test, each.validation) == held for each in found)
    learned = [prompt for each in found for prompt in prompts(each.train)]
    assert len(learned) == len(set(learned)) == 4 * tasks["limit"]
    assert len(held.validation) == tasks.get("validation", 0)
    assert not set(learned) & set(prompts(held.all))


# -- levels ------------------------------------------------------------------------------------------------------


def level(**changes: Any) -> JsonlTasks:
    return JsonlTasks.model_validate({**TASKS, "limit": 100} | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"template": "Please: {prompt}"},
        {"system": "Be brief."},
        {"test": 1},  # another split of the same file
        {"seed": 99},
        {"test": 1, "template": "Please: {prompt}"},
        {"path": "more.jsonl"},
        {"path": "more.jsonl", "template": "Please: {prompt}"},
    ],
)
def test_nothing_that_is_held_out_is_learned_from_in_any_words(folder: Path, changes: dict[str, Any]) -> None:
    write_tasks(folder, 200, "more.jsonl")  # all of those, and others
    held = held_out(loop_recipe(tasks={**TASKS, "test": 12, "validation": 8}), folder)
    found = of_level(level(**changes), held, folder, seed=0)
    assert (found.test, found.validation) == held
    assert [len(part) for part in held] == [12, 8]
    assert found.train
    questions = {prompt.removeprefix("Please: ") for prompt in prompts(found.train)}
    assert not questions & set(prompts(held.all))


def test_what_is_left_out_of_a_level_is_told(folder: Path) -> None:
    held = held_out(loop_recipe(), folder)
    found = of_level(level(test=1), held, folder, seed=0)
    assert f"{len(held.all) - 1} tasks are held out, and not learned from" in found.notes
    assert len(found.train) == 40
    assert not any("held out" in note or "nobody" in note for note in of_level(level(), held, folder, seed=0).notes)


def test_what_a_level_holds_out_for_nobody_is_told(folder: Path) -> None:
    write_tasks(folder, 50, "hard.jsonl", first=1000)
    found = of_level(level(path="hard.jsonl"), held_out(loop_recipe(), folder), folder, seed=0)
    assert len(found.train) == 30
    assert "20 tasks of this level are used by nobody: with test: 1 in the level most would be" in found.notes


def test_rows_with_ids_of_their_own_are_told_apart_by_what_is_asked(folder: Path) -> None:
    """Two files may both count from 1."""
    rows = [{"n": i, "question": f"How much is {i} times 2?", "answer": str(2 * i)} for i in range(30)]
    (folder / "other.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    test = [Task(str(i), user(f"What is {i} + 5?"), str(i + 5), f"tasks.jsonl:{i}") for i in range(20)]
    found = of_level(level(path="other.jsonl", id="n", test=1), HeldOut(tuple(test)), folder, seed=0)
    assert len(found.train) == 29


def test_rows_with_ids_of_their_own_that_are_held_out_are_not_learned_from(folder: Path) -> None:
    rows = [json.loads(line) for line in (folder / "tasks.jsonl").read_text().splitlines()]
    (folder / "named.jsonl").write_text("".join(json.dumps(r | {"n": f"x{i}"}) + "\n" for i, r in enumerate(rows)))
    held = held_out(loop_recipe(), folder)
    found = of_level(level(path="named.jsonl", id="n", test=1), held, folder, seed=0)
    assert not {task.messages for task in found.train} & {task.messages for task in held.all}


def test_generated_levels_keep_clear_of_what_is_held_out() -> None:
    recipe = loop_recipe({"levels": [{"test": 1}, {"template": "Now: {prompt}", "test": 1, "limit": 400}]}, tasks=GYM)
    held = held_out(recipe, Path())
    raw = {task.id.removeprefix("test/") for task in held.all}
    for at in range(2):
        found = of_level(tasks_at(recipe, at), held, Path(), recipe.seed)
        assert found.test == held.test
        assert not raw & {task.id for task in found.train}
