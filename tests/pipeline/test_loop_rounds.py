"""The rounds one after the other: who samples next, from which tasks, and what ends them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest

from stillroom.errors import (
    InputError,
    Interrupted,
    LedgerError,
    MissingFile,
    NoRoom,
    NothingLeft,
    RecipeError,
    RequestFailed,
    RunError,
    RunFolderError,
    TaskError,
    TeacherDown,
    TrainingError,
)
from stillroom.pipeline.config.loop import RoundPlan
from stillroom.pipeline.flows.chain import Chain
from stillroom.pipeline.flows.loop.loop import facts, why_stopped
from stillroom.pipeline.flows.loop.rounds import (
    HeldOut,
    Round,
    Rounds,
    facts_of_student,
    first_right,
    traces_of_round,
)
from stillroom.pipeline.flows.run import lint, run
from stillroom.pipeline.run.folder import RunFolder
from stillroom.pipeline.run.progress import Display
from stillroom.pipeline.stages import train as students_stage
from stillroom.students.methods.registry import StudentSettings
from tests.conftest import write_sums
from tests.pipeline.loop_fakes import (
    OTHER,
    QUIET,
    TASKS,
    FakeChain,
    Scripted,
    done,
    loaded_in,
    loop_recipe,
    nested,
    run_rounds,
    write_tasks,
)


def plan(folder: Path, number: int, rounds: list[Round], loop: dict[str, Any] | None = None) -> RoundPlan:
    """What the next round takes after those."""
    loaded = loaded_in(folder, loop_recipe({"rounds": 9} | (loop or {})))
    found = Rounds(
        loaded, RunFolder(folder / "run", "sums"), cast(Chain, FakeChain([])), Display(quiet=True), HeldOut(())
    )
    return found._plan(number, rounds)


# -- planning ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("teacher", "accuracies", "sampler"),
    [
        ("last", [0.9, 0.1], 2),
        ("last", [0.9], 1),
        ("best", [0.1, 0.9, 0.5], 2),
        ("best", [0.5, 0.5], 2),  # of equals the later
        ("best", [0.5, 0.5, 0.4], 2),
        ("best", [0.0, 0.0, 0.0], 3),
    ],
)
def test_the_last_or_the_best_student_samples(
    tmp_path: Path, teacher: str, accuracies: list[float], sampler: int
) -> None:
    rounds = [done(i, right=right) for i, right in enumerate(accuracies, 1)]
    found = plan(tmp_path, len(rounds) + 1, rounds, {"teacher": teacher})
    assert found.sampler == f"/runs/rounds/{sampler}/student/adapter"


@pytest.mark.parametrize("teacher", ["last", "best"])
@pytest.mark.parametrize(("start", "from_round"), [("from_base", None), ("continue", 2)])
def test_a_student_starts_anew_or_from_the_last_whoever_samples(
    tmp_path: Path, teacher: str, start: str, from_round: int | None
) -> None:
    found = plan(tmp_path, 3, [done(1, right=0.9), done(2, right=0.1)], {"start": start, "teacher": teacher})
    assert found.start == (None if from_round is None else f"/runs/rounds/{from_round}/student/adapter")


def test_the_first_round_takes_nothing(tmp_path: Path) -> None:
    loop = {"start": "continue", "teacher": "best", "levels": [{}, {}]}
    assert plan(tmp_path, 1, [], loop) == RoundPlan(1)


@pytest.mark.parametrize(("traces", "rounds"), [("accumulate", ["1", "2"]), ("replace", [])])
def test_traces_are_accumulated_or_replaced(tmp_path: Path, traces: str, rounds: list[str]) -> None:
    found = plan(tmp_path, 3, [done(1), done(2)], {"traces": traces})
    assert found.earlier == tuple(str(tmp_path / "run" / "rounds" / n / "sft") for n in rounds)


def test_a_round_with_a_teacher_of_its_own_is_sampled_by_no_student(tmp_path: Path) -> None:
    loop = {"in_round": {"2": {"teacher": OTHER}, "3": {"teacher": {"sampling": {"temperature": 0.1}}}}}
    assert plan(tmp_path, 2, [done(1)], loop).sampler is None
    assert plan(tmp_path, 3, [done(1), done(2)], loop).sampler == "/runs/rounds/2/student/adapter"


@pytest.mark.parametrize(
    ("firsts", "levels"),
    [
        ([0.79, 0.79, 0.79, 0.79], [0, 0, 0, 0, 0]),
        ([0.8, 0.1, 0.9, 0.9], [0, 1, 1, 2, 2]),  # never beyond the last
        ([1.0, 1.0, 1.0, 1.0], [0, 1, 2, 2, 2]),
        ([0.0, 1.0, 0.0, 0.0], [0, 0, 1, 1, 1]),  # never back
    ],
)
@pytest.mark.parametrize("tasks", ["fresh", "same"])
def test_levels_rise_where_the_round_before_was_easy_and_tasks_are_counted_in_each(
    tmp_path: Path, firsts: list[float], levels: list[int], tasks: str
) -> None:
    limits = [4, 3, 5]
    loop = {"levels": [{"limit": n} for n in limits], "tasks": tasks}
    rounds: list[Round] = []
    for number, level in enumerate(levels, 1):
        found = plan(tmp_path, number, rounds, loop)
        before = levels[: number - 1].count(level)
        assert (found.number, found.level) == (number, level)
        assert found.skip == (before * limits[level] if tasks == "fresh" else 0)
        if number <= len(firsts):
            rounds.append(done(number, first=firsts[number - 1], level=found.level))


def test_without_levels_an_easy_round_changes_nothing(tmp_path: Path) -> None:
    found = plan(tmp_path, 3, [done(1, first=1.0), done(2, first=1.0)])
    assert (found.level, found.skip) == (0, 8)


# -- running -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("tasks", "distinct"), [("fresh", 12), ("same", 4)])
def test_rounds_take_fresh_tasks_or_the_same_and_hold_out_the_same(tmp_path: Path, tasks: str, distinct: int) -> None:
    rounds, chain, _ = run_rounds(tmp_path, [Scripted(before=0.5)] * 3, {"tasks": tasks})
    assert [each.number for each in rounds if each.kept] == [1, 2, 3]
    learned = [task.id for asked in chain.asked for task in asked.tasks.train]
    assert (len(learned), len(set(learned))) == (12, distinct)
    test = [[task.id for task in asked.tasks.test] for asked in chain.asked]
    assert test[0] == test[1] == test[2]
    assert not set(learned) & set(test[0])


def test_each_round_learns_from_all_rows_so_far(tmp_path: Path) -> None:
    rounds, chain, _ = run_rounds(tmp_path, [Scripted(before=0.5)] * 3)
    links = [each.run for each in rounds if each.run is not None]
    assert [len(link.distilled.training) for link in links] == [4, 8, 12]
    assert links[2].distilled.training[:8] == links[1].distilled.training
    assert [len(asked.recipe.earlier) for asked in chain.asked] == [0, 1, 2]


def test_each_round_lies_in_its_place_and_is_taught_by_the_one_before(tmp_path: Path) -> None:
    _, chain, _ = run_rounds(tmp_path, [Scripted(before=0.5)] * 3)
    rounds = tmp_path / "run" / "rounds"
    assert [asked.folder for asked in chain.asked] == [rounds / n for n in "123"]
    taught = [asked.recipe.teacher.model for asked in chain.asked]
    assert taught == ["recorded", *(str((rounds / n / "student").resolve() / "adapter") for n in "12")]


def test_a_round_of_a_level_gets_its_tasks_without_those_held_out(tmp_path: Path) -> None:
    write_tasks(tmp_path, 50, "hard.jsonl", first=50)
    levels = [{}, {"path": "hard.jsonl", "limit": 40, "test": 1}]
    script = [Scripted(before=0.5, first=1.0), Scripted(), Scripted()]
    _, chain, _ = run_rounds(tmp_path, script, {"levels": levels, "rounds": 2})
    first, second = (asked.tasks for asked in chain.asked)
    assert [asked.given for asked in chain.asked] == [True, True]
    assert first.test == second.test
    assert {task.source.split(":")[0] for task in first.train} == {"tasks.jsonl"}
    assert {task.source.split(":")[0] for task in second.train} == {"hard.jsonl"}
    assert len(first.train) == 4
    assert not {task.messages for task in second.train} & {task.messages for task in second.test}


# -- the end of the rounds ---------------------------------------------------------------------------------------


def test_a_round_that_got_worse_is_rolled_back_and_is_the_last(tmp_path: Path) -> None:
    script = [Scripted(before=0.2, right=0.8), Scripted(right=0.1), Scripted(right=1.0)]
    rounds, chain, _ = run_rounds(tmp_path, script)
    assert [each.kept for each in rounds] == [True, False]
    assert len(chain.asked) == 2
    assert rounds[1].why.startswith("accuracy fell from 80 % to 10 %")
    assert rounds[1].run is not None
    assert why_stopped(rounds, 3) == f"round 2 was rolled back, and the loop ended there: {rounds[1].why}"


def test_each_round_is_held_against_the_one_before_it_the_first_against_the_base(tmp_path: Path) -> None:
    script = [Scripted(before=0.3, right=0.5), Scripted(right=0.55), Scripted(right=0.6)]
    rounds, _, _ = run_rounds(tmp_path, script)
    reports = [each.guard for each in rounds if each.guard is not None]
    checks = [next(c for c in report.checks if c.measure == "accuracy") for report in reports]
    assert [(c.before, c.now, c.n) for c in checks] == [(0.3, 0.5, 20), (0.5, 0.55, 20), (0.55, 0.6, 20)]
    assert [each.accuracy for each in rounds] == [0.5, 0.55, 0.6]


APART = {**TASKS, "test": 12, "validation": 8}


def test_the_guard_and_the_choice_of_a_teacher_look_at_validation_where_there_is_any(tmp_path: Path) -> None:
    script = [
        Scripted(before=0.5, right=0.5, validated=0.5),
        Scripted(right=0.0, validated=1.0),
        Scripted(right=1.0, validated=0.75),
    ]
    rounds, chain, _ = run_rounds(tmp_path, script, {"teacher": "best"}, tasks=APART)
    assert [each.kept for each in rounds] == [True] * 3
    assert [each.accuracy for each in rounds] == [0.5, 1.0, 0.75]
    models = [each.run.model for each in rounds if each.run is not None]
    assert [each.plan.sampler for each in rounds] == [None, models[0], models[1]]
    checks = [check for each in rounds if each.guard for check in each.guard.checks if check.measure == "accuracy"]
    assert [check.n for check in checks] == [8, 8, 8]
    assert [each["accuracy"] for each in map(facts, rounds)] == [0.5, 0.0, 1.0]
    assert [each["validation_accuracy"] for each in map(facts, rounds)] == [0.5, 1.0, 0.75]
    assert all(len(asked.tasks.test) == 12 and len(asked.tasks.validation) == 8 for asked in chain.asked)


def test_a_round_that_got_worse_on_validation_is_rolled_back_whatever_it_is_reported_with(tmp_path: Path) -> None:
    script = [Scripted(right=0.5, validated=1.0, before=0.5), Scripted(right=1.0, validated=0.0)]
    rounds, _, _ = run_rounds(tmp_path, script, tasks=APART)
    assert [each.kept for each in rounds] == [True, False]
    assert rounds[1].why.startswith("accuracy fell from 100 % to 0 %")


def test_a_first_round_that_got_worse_is_rolled_back_too(tmp_path: Path) -> None:
    rounds, _, _ = run_rounds(tmp_path, [Scripted(before=0.9, right=0.1)])
    assert [each.kept for each in rounds] == [False]


def test_a_round_that_no_longer_stops_is_rolled_back_however_right_it_is(tmp_path: Path) -> None:
    rounds, _, _ = run_rounds(tmp_path, [Scripted(before=0.5), Scripted(right=1.0, stops=False)])
    assert [each.kept for each in rounds] == [True, False]
    assert rounds[1].why.startswith("share that stops fell from 100 % to 0 %")


def test_without_a_guard_every_round_is_kept(tmp_path: Path) -> None:
    script = [Scripted(right=0.9, before=0.9), Scripted(right=0.1), Scripted(right=0.0)]
    rounds, _, _ = run_rounds(tmp_path, script, {"guard": None})
    assert [(each.kept, each.guard, each.why) for each in rounds] == [(True, None, "")] * 3


def test_a_tolerance_is_the_loops(tmp_path: Path) -> None:
    script = [Scripted(right=0.9, before=0.9), Scripted(right=0.3)]
    rounds, _, _ = run_rounds(tmp_path, script, {"rounds": 2, "guard": {"accuracy": 0.9}})
    assert [each.kept for each in rounds] == [True, True]


@pytest.mark.parametrize("error", [NothingLeft("no trace is left"), TrainingError("the lint found an error")])
def test_a_later_round_that_comes_to_no_student_is_rolled_back(tmp_path: Path, error: RunError) -> None:
    rounds, chain, _ = run_rounds(tmp_path, [Scripted(before=0.5), error, Scripted()])
    assert [(each.kept, each.why) for each in rounds] == [(True, ""), (False, str(error))]
    assert rounds[1].run is None
    assert len(chain.asked) == 2


FAILURES = (NothingLeft("n"), TrainingError("t"))
STOPS: tuple[BaseException, ...] = (
    LedgerError("l"), Interrupted("i"), TeacherDown("d"), MissingFile("m"), TaskError("k"), RunError("r"),
    RequestFailed("q", retryable=True), NoRoom("disk"), KeyboardInterrupt(), MemoryError(),
)  # fmt: skip


@pytest.mark.parametrize(
    ("script", "error"),
    [
        *(([error], error) for error in (*FAILURES, *STOPS)),
        *(([Scripted(before=0.5), error], error) for error in STOPS),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(len(value)),
)
def test_what_is_no_fault_of_the_traces_stops_the_loop_and_rolls_nothing_back(
    tmp_path: Path, script: list[Any], error: BaseException
) -> None:
    with pytest.raises(type(error)) as caught:
        run_rounds(tmp_path, script)
    assert caught.value is error


@pytest.mark.parametrize(("rounds", "said"), [(1, "its one round is done"), (2, "all 2 rounds are done")])
def test_a_loop_that_ran_to_its_end_says_so(tmp_path: Path, rounds: int, said: str) -> None:
    found, _, _ = run_rounds(tmp_path, [Scripted(before=0.5)] * rounds, {"rounds": rounds})
    assert why_stopped(found, rounds) == said


# -- before the first round --------------------------------------------------------------------------------------


def write_loop(folder: Path, loop: dict[str, Any], **changes: Any) -> Path:
    """A loop over recorded sums."""
    path = write_sums(folder, student={"model": "base"}, evaluate={"baselines": []}, **changes)
    tasks = {"source": "jsonl", "path": "tasks.jsonl", "limit": 4, "test": 4}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"tasks": tasks, "loop": {"rounds": 3} | nested(loop)}))
    return path


@pytest.fixture
def nothing_runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """No run of a round is begun; the models that are looked for."""
    models: list[str] = []

    def never(*_: object, **__: object) -> Any:
        raise AssertionError("a round was begun")

    monkeypatch.setattr(Chain, "run", never)

    def look(student: StudentSettings | None, base: Path, seed: int) -> None:
        if student is not None:
            models.append(student.model)

    monkeypatch.setattr(students_stage, "require", look)
    return models


@pytest.mark.parametrize(
    ("loop", "error", "said"),
    [
        ({"rounds": 4}, TaskError, "4 rounds of 4 fresh tasks take 16, and there are 12"),
        ({"later": {"keepz": 1}}, RecipeError, r"round 2 .*keepz \(from loop.overrides.from_round_2\): unknown key"),
        (
            {"in_round": {"3": {"keep": {"per_task": 0}}}},
            RecipeError,
            "round 3 of the loop cannot be run: keep.per_task",
        ),
        ({"levels": [{}, {"limt": 1}]}, RecipeError, r"tasks.limt \(from loop.levels.2\): unknown key"),
        ({"levels": [{}, {"path": "gone.jsonl"}]}, MissingFile, r"gone\.jsonl"),
        (
            {"in_round": {"3": {"teacher": {"path": "gone.jsonl"}}}},
            MissingFile,
            r"there is no file .*gone\.jsonl",
        ),
    ],
)
def test_what_breaks_a_later_round_is_found_before_the_first(
    tmp_path: Path, nothing_runs: list[str], loop: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        run(write_loop(tmp_path, loop), out=tmp_path / "run", display=QUIET)


def test_a_model_that_a_later_student_starts_from_is_looked_for_before_the_first(
    tmp_path: Path, nothing_runs: list[str]
) -> None:
    recipe = write_loop(tmp_path, {"in_round": {"3": {"student": {"model": "bigger"}}}})
    with pytest.raises(AssertionError, match="a round was begun"):
        run(recipe, out=tmp_path / "run", display=QUIET)
    assert nothing_runs == ["base", "bigger"]


def test_a_loop_does_not_move_into_the_folder_of_a_run(tmp_path: Path, nothing_runs: list[str]) -> None:
    """Its student would be put in the place of the run's."""
    run(write_sums(tmp_path), out=tmp_path / "run", display=QUIET)
    (tmp_path / "run" / "student").mkdir()
    before = sorted((tmp_path / "run").rglob("*"))
    with pytest.raises(RunFolderError, match="is the folder of a run without a loop: give another folder with --out"):
        run(write_loop(tmp_path, {}), out=tmp_path / "run", display=QUIET)
    assert sorted((tmp_path / "run").rglob("*")) == before


def test_a_loop_is_not_forecast(tmp_path: Path, nothing_runs: list[str]) -> None:
    with pytest.raises(InputError, match="--pilot forecasts recipes of traces; sums is of another kind: drop it"):
        run(write_loop(tmp_path, {}), out=tmp_path / "run", pilot=2, display=QUIET)


def test_a_loop_is_linted_round_by_round(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"trains no student by itself.*lint\.html in the folder"):
        lint(write_loop(tmp_path, {}), out=tmp_path / "run")


# -- facts of a round --------------------------------------------------------------------------------------------


def test_how_many_were_right_at_the_first_attempt(tmp_path: Path) -> None:
    rounds, _, _ = run_rounds(tmp_path, [Scripted(before=0.5, first=first) for first in (0.25, 1.0, 0.0)])
    assert [each.first_right for each in rounds] == [0.25, 1.0, 0.0]
    assert [first_right(each.run) for each in rounds if each.run is not None] == [0.25, 1.0, 0.0]


def test_the_model_before_has_no_traces_and_a_student_those_of_its_own_round(tmp_path: Path) -> None:
    rounds, _, _ = run_rounds(tmp_path, [Scripted(before=0.5), Scripted()], {"rounds": 2})
    links = [each.run for each in rounds if each.run is not None]
    assert facts_of_student(links[0], "student_before").traces == {}
    second = traces_of_round(links[1])
    assert facts_of_student(links[1], "student_after").traces == second
    assert set(second) == {task.id for task in links[1].tasks.train}
    assert all(len(texts) == 1 and texts[0].startswith("In round 2") for texts in second.values())


def test_a_recording_may_teach_the_first_round_with_all_tasks(tmp_path: Path) -> None:
    rounds, chain, _ = run_rounds(
        tmp_path, [Scripted(before=0.5)], {"rounds": 1, "tasks": "same"}, tasks={**TASKS, "limit": None}
    )
    assert rounds[0].kept
    assert len(chain.asked[0].tasks.train) == 40
