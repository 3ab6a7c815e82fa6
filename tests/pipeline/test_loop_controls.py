"""The controls of a loop: on whose rows and tasks they are trained, and that no row counts twice."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

from stillroom.common.records import State, Task
from stillroom.errors import LedgerError, NoRoom, NothingLeft, StillroomError, TrainingError
from stillroom.pipeline.flows.chain import Chain
from stillroom.pipeline.flows.loop import evaluation as loop_controls
from stillroom.pipeline.flows.loop.evaluation import ControlStage, LoopControls
from stillroom.pipeline.flows.loop.rounds import Round
from stillroom.pipeline.run.folder import RunFolder
from stillroom.pipeline.stages import train as students_stage
from stillroom.pipeline.stages.controls import control_rows
from stillroom.pipeline.stages.evaluate import Evaluator
from stillroom.pipeline.stages.sample import Answers
from stillroom.sampling.counts import Counts
from stillroom.traces.rows import SftRow
from tests.pipeline.loop_fakes import FakeChain, Scripted, answer, outcome, run_rounds, write_tasks

KEPT = [Scripted(before=0.5), Scripted(), Scripted()]


@dataclass
class Workshop:
    """Trains nobody, and remembers what was asked of it."""

    rows: dict[str, list[SftRow]] = field(default_factory=dict)
    places: dict[str, Path] = field(default_factory=dict)
    marked_in: dict[str, Path] = field(default_factory=dict)
    tested: dict[str, list[Task]] = field(default_factory=dict)

    def train(
        self, context: Any, student: Any, rows: list[SftRow], out: Path, label: str, lint: Any, gate: Any
    ) -> str:
        self.rows[label], self.places[label], self.marked_in[label] = rows, out, context.folder.path
        return f"model of {label}"

    def ask(self, _: Evaluator, tasks: Sequence[Task], label: str, model: str) -> Answers:
        assert model == f"model of {label}"
        self.tested[label] = list(tasks)
        return Answers([outcome(task, answer(task, State.ACCEPTED)) for task in tasks], Counts())


@pytest.fixture
def workshop(monkeypatch: pytest.MonkeyPatch) -> Workshop:
    found = Workshop()
    monkeypatch.setattr(students_stage, "train", found.train)
    monkeypatch.setattr(Evaluator, "ask", lambda *args: found.ask(*args))
    return found


@dataclass(frozen=True)
class Held:
    """A loop whose rounds are done, and its controls."""

    rounds: list[Round]
    chain: FakeChain
    controls: LoopControls
    folder: Path

    @property
    def training(self) -> list[SftRow]:
        """What the last kept student learned from."""
        link = [each for each in self.rounds if each.kept][-1].run
        assert link is not None
        return link.distilled.training


def controls(
    folder: Path, script: Sequence[Scripted | BaseException], last: Scripted | BaseException | None, **more: Any
) -> Held:
    """`last`: what training in one round comes to."""
    baselines, loop = more.pop("baselines", []), more
    evaluate = {"baselines": baselines} | ({"gold": "answer"} if "control_gold" in baselines else {})
    rounds, chain, loaded = run_rounds(folder, script, loop, evaluate=evaluate)
    chain.script = [] if last is None else [last]
    chain.asked.clear()
    kept = [each.run for each in rounds if each.kept and each.run is not None]
    context = replace(kept[-1].context, folder=RunFolder(folder / "run", "sums"))
    stage = ControlStage(loaded, context, cast(Chain, chain), kept, kept[0].tasks.test)
    return Held(rounds, chain, stage.run(), folder / "run")


def said(rows: Sequence[SftRow]) -> list[tuple[str, str]]:
    return [(row["prompt"][-1]["content"], row["completion"][-1]["content"]) for row in rows]


@pytest.mark.parametrize(
    ("error", "told"),
    [(TrainingError("no row is left"), True), (NoRoom("disk"), False), (LedgerError("disk"), False)],
)
def test_a_control_that_cannot_be_trained_takes_nothing_from_the_rounds(
    tmp_path: Path, workshop: Workshop, monkeypatch: pytest.MonkeyPatch, error: StillroomError, told: bool
) -> None:
    def fails(context: Any, student: Any, rows: Any, out: Path, label: str, lint: Any, gate: Any) -> str:
        if label == "control":
            raise error
        return workshop.train(context, student, rows, out, label, lint, gate)

    monkeypatch.setattr(students_stage, "train", fails)
    asked = ["control_unfiltered", "control_wrong_answers"]
    if told:
        found = controls(tmp_path, KEPT, None, control_one_round=False, baselines=asked).controls
        assert list(found.answers) == ["control_wrong_answers"]
        assert found.notes == ["control_unfiltered came to no student, and is not there: no row is left"]
        return
    with pytest.raises(type(error)):
        controls(tmp_path, KEPT, None, control_one_round=False, baselines=asked)


def test_rows_that_the_training_left_out_are_told(
    tmp_path: Path, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(context: Any, student: Any, rows: Any, out: Path, label: str, lint: Any, gate: Any) -> str:
        out.mkdir(parents=True)
        left = [{"name": "row 3", "reason": "too_long", "tokens": 5000}] * 2
        (out / "training.json").write_text(json.dumps({"rows": 10, "left_out": left}))
        return workshop.train(context, student, rows, out, label, lint, gate)

    monkeypatch.setattr(students_stage, "train", train)
    found = controls(tmp_path, KEPT, None, control_one_round=False, baselines=["control_unfiltered"]).controls
    assert found.notes == [
        "control_unfiltered was trained on 10 of its rows; left out by student.max_length or their end: 2 too_long"
    ]


@pytest.mark.parametrize(
    ("traces", "said"),
    [("accumulate", "trained once, from the base model, on rows of all 3"), ("replace", "the last round alone")],
)
def test_with_go_on_controls_have_less_training_and_that_is_told(
    tmp_path: Path, workshop: Workshop, traces: str, said: str
) -> None:
    asked = {"control_one_round": False, "baselines": ["control_unfiltered"]}
    (note,) = controls(tmp_path, KEPT, None, start="continue", traces=traces, **asked).controls.notes
    assert said in note


# -- controls that the recipe names ------------------------------------------------------------------------------


@pytest.mark.parametrize(("traces", "rows", "rounds"), [("accumulate", 12, "123"), ("replace", 4, "3")])
@pytest.mark.parametrize("who", ["control_unfiltered", "control_wrong_answers"])
def test_a_control_learns_from_the_rounds_that_the_last_student_learned_from(
    tmp_path: Path, workshop: Workshop, traces: str, rows: int, rounds: str, who: str
) -> None:
    found = controls(tmp_path, KEPT, None, traces=traces, control_one_round=False, baselines=[who])
    [learned] = workshop.rows.values()
    assert len(learned) == rows == len(found.training)
    assert {row["task_id"] for row in learned} == {row["task_id"] for row in found.training}
    assert {text.split(":")[0].split(".")[0][-1] for _, text in said(learned)} == set(rounds)
    assert len(set(said(learned))) == len(learned)
    assert found.controls.notes == []
    assert list(found.controls.answers) == [who]
    assert len(found.controls.answers[who]) == 20


def test_a_round_that_was_rolled_back_gives_no_control_a_row(tmp_path: Path, workshop: Workshop) -> None:
    script = [Scripted(before=0.5), Scripted(), Scripted(right=0.0)]
    found = controls(tmp_path, script, None, control_one_round=False, baselines=["control_unfiltered"])
    assert [each.kept for each in found.rounds] == [True, True, False]
    assert {text[9] for _, text in said(workshop.rows["control"])} == {"1", "2"}
    assert len(workshop.rows["control"]) == len(found.training) == 8


def test_no_row_counts_twice_where_rounds_say_the_same(tmp_path: Path, workshop: Workshop) -> None:
    """The same tasks, and the same right answers in each round: the student has four rows in all, and so has the
    control, although its attempts differ from round to round."""
    script = [Scripted(before=0.5, says=" #### 7", first=0.0)] + [Scripted(says=" #### 7", first=0.0)] * 2
    loop = {"tasks": "same", "guard": {"diversity": None}, "control_one_round": False}
    found = controls(tmp_path, script, None, baselines=["control_wrong_answers"], **loop)
    assert len(found.rounds) == 3
    learned = said(workshop.rows["wrong"])
    assert len(found.training) == len(learned) == len(set(learned)) == 4


def test_controls_come_in_one_order_and_gold_is_what_the_tasks_carry(tmp_path: Path, workshop: Workshop) -> None:
    asked = ["control_gold", "control_unfiltered"]
    found = controls(tmp_path, KEPT, None, control_one_round=False, baselines=asked, traces="replace")
    assert list(found.controls.answers) == ["control_unfiltered", "control_gold"]
    sums = [(int(prompt.split()[2]) + 5, text) for prompt, text in said(workshop.rows["gold"])]
    assert [text for _, text in sums] == [str(right) for right, _ in sums]


def test_notes_of_each_round_reach_the_reader(tmp_path: Path, workshop: Workshop) -> None:
    """One round had fewer wrong attempts than rows."""

    def few(who: str, distilled: Any, tasks: Any, recipe: Any, base: Path) -> Any:
        found = real(cast(Any, who), distilled, tasks, recipe, base)
        return (
            found._replace(rows=found.rows[:1], note="too few of them")
            if distilled.folder.parent.name == "2"
            else found
        )

    real = control_rows
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop_controls, "control_rows", few)
        found = controls(tmp_path, KEPT, None, control_one_round=False, baselines=["control_wrong_answers"])
    assert found.controls.notes == [
        "round 2: too few of them",
        "control_wrong_answers is trained on 9 rows, the last student on 12: there are no more",
    ]


def test_no_rows_no_control(tmp_path: Path, workshop: Workshop) -> None:
    with pytest.MonkeyPatch.context() as patch:
        real = control_rows
        patch.setattr(
            loop_controls,
            "control_rows",
            lambda *args: real(*args)._replace(
                rows=[], note="control_wrong_answers is not trained, there is no row for it: none"
            ),
        )
        found = controls(tmp_path, KEPT[:1], None, rounds=1, baselines=["control_wrong_answers"])
    assert found.controls.answers == {}
    assert workshop.rows == {}
    assert found.controls.notes[-1] == "control_wrong_answers has no rows to be trained on, and is not there"


def test_what_a_control_was_trained_on_is_noted_where_it_lies(tmp_path: Path, workshop: Workshop) -> None:
    """In the loop's folder: the last round is another one when the loop is made longer or shorter, and its notes would
    pass another training off as this one."""
    controls(tmp_path, KEPT, None, control_one_round=False, baselines=["control_unfiltered", "control_wrong_answers"])
    assert workshop.places == {
        "control": tmp_path / "run" / "controls" / "unfiltered",
        "wrong": tmp_path / "run" / "controls" / "wrong_answers",
    }
    assert set(workshop.marked_in.values()) == {tmp_path / "run"}
    assert len(workshop.tested["wrong"]) == 20


# -- one round ---------------------------------------------------------------------------------------------------


def test_one_round_takes_exactly_the_tasks_of_the_later_kept_rounds_and_the_rows_of_the_first(
    tmp_path: Path, workshop: Workshop
) -> None:
    found = controls(tmp_path, [*KEPT[:3], Scripted(right=0.0)], Scripted(), rounds=4)
    assert [each.kept for each in found.rounds] == [True, True, True, False]
    [asked] = found.chain.asked
    later = [task for each in found.rounds[1:3] if each.run is not None for task in each.run.tasks.train]
    assert list(asked.tasks.train) == later
    assert len(later) == 8
    first = found.rounds[0].run
    assert first is not None
    assert asked.tasks.test == first.tasks.test
    assert asked.recipe.earlier == (str(found.folder / "rounds" / "1" / "sft"),)
    assert asked.recipe.teacher == first.recipe.teacher
    assert asked.recipe.student == first.recipe.student
    assert asked.folder == found.folder / "controls" / "one_round"
    assert asked.recipe.name == "sums-one_round"
    assert asked.recipe.evaluate is not None
    assert asked.recipe.evaluate.baselines == ()
    assert asked.recipe.evaluate.seeds == 1
    assert (asked.recipe.tasks.skip, asked.recipe.tasks.limit) == (4, 8)
    assert found.controls.notes == [
        "control_one_round is trained on 12 rows; beyond round 1 its teacher drew 16 times"
    ]
    assert len(found.controls.answers["control_one_round"]) == 20


def test_one_round_takes_the_tasks_of_harder_levels_too(tmp_path: Path, workshop: Workshop) -> None:
    write_tasks(tmp_path, 30, "hard.jsonl", first=500)
    levels = [{}, {"path": "hard.jsonl", "limit": 3, "test": 1}]
    script = [Scripted(before=0.5, first=1.0), Scripted(), Scripted()]
    found = controls(tmp_path, script, Scripted(), levels=levels)
    sources = [task.source.split(":")[0] for task in found.chain.asked[0].tasks.train]
    assert sources == ["hard.jsonl"] * 6


@pytest.mark.parametrize(
    ("script", "loop"),
    [
        (KEPT, {"control_one_round": False}),
        (KEPT[:1], {"rounds": 1}),
        ([KEPT[0], Scripted(right=0.0)], {}),  # the second is rolled back: one round is all there is
    ],
)
def test_one_round_is_not_asked_for_where_there_is_no_second(
    tmp_path: Path, workshop: Workshop, script: list[Scripted], loop: dict[str, Any]
) -> None:
    found = controls(tmp_path, script, None, **loop)
    assert found.chain.asked == []
    assert found.controls == LoopControls({}, [])


def test_one_round_on_the_same_tasks_would_be_round_1_again(tmp_path: Path, workshop: Workshop) -> None:
    found = controls(tmp_path, KEPT, None, tasks="same")
    assert found.chain.asked == []
    assert found.controls.notes == [
        "control_one_round is not trained: the later rounds had no tasks that round 1 had not"
    ]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (NothingLeft("none accepted"), True),
        (TrainingError("lint"), True),
        (NoRoom("disk"), False),
        (LedgerError("disk"), False),
    ],
)
def test_one_round_that_comes_to_nothing_takes_nothing_from_the_rounds(
    tmp_path: Path, workshop: Workshop, error: StillroomError, told: bool
) -> None:
    if told:
        found = controls(tmp_path, KEPT, error)
        assert found.controls == LoopControls(
            {}, [f"control_one_round came to no student, and is not there: {error}"]
        )
        return
    with pytest.raises(type(error)):
        controls(tmp_path, KEPT, error)
