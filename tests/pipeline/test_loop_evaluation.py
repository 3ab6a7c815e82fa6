"""One evaluation of all rounds: who is compared with whom, and that every p is corrected for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from stillroom.common.records import Task
from stillroom.common.stats.significance import holm
from stillroom.errors import NothingLeft
from stillroom.evaluation.forgetting import Forgotten, TextLoss
from stillroom.evaluation.results import Evaluation, Measured, Result
from stillroom.pipeline.flows.loop import evaluation as loop_evaluation
from stillroom.pipeline.flows.loop.evaluation import LoopControls, evaluate_loop, shift_of
from stillroom.pipeline.flows.loop.loop import report_of, why_stopped
from stillroom.pipeline.flows.loop.rounds import Round
from stillroom.report.loop import summary
from stillroom.students.methods.sft import Sft
from tests.pipeline.loop_fakes import Scripted, held, loop_recipe, run_rounds


def forgot(right: int, nats: float = 10.0) -> dict[str, Forgotten]:
    """What a model still knows of letters, and how it reads two texts."""
    of = {f"l{i}": i < right for i in range(20)}
    return {
        "student_after": Forgotten({"letters": of}, {"a": TextLoss(nats, 10, 40), "b": TextLoss(2 * nats, 20, 80)})
    }


def test_of(rounds: list[Round]) -> tuple[Task, ...]:
    assert rounds[0].run is not None
    return rounds[0].run.tasks.test


def evaluated(
    folder: Path, script: list[Any], controls: dict[str, float] | None = None, **loop: Any
) -> tuple[list[Round], Evaluation]:
    """`controls`: shares of the held-out tasks that they get right."""
    rounds, _, loaded = run_rounds(folder, script, loop)
    answers = {who: held(test_of(rounds), share) for who, share in (controls or {}).items()}
    return rounds, evaluate_loop(loaded.recipe, rounds, test_of(rounds), LoopControls(answers, ["of a control"]))


test_of.__test__ = False  # type: ignore[attr-defined]


def pairs(evaluation: Evaluation) -> list[tuple[str, str]]:
    return [(c.a, c.b) for c in evaluation.comparisons]


@pytest.mark.parametrize(
    ("script", "controls", "loop", "compared"),
    [
        ([Scripted(before=0.2)], {}, {"rounds": 1}, [("round_1", "student_before")]),
        ([Scripted(before=0.2)] * 3, {}, {}, [("round_3", "round_1"), ("round_3", "student_before")]),
        (
            [Scripted(before=0.2, teacher=0.9), Scripted(), Scripted()],
            {"control_unfiltered": 0.4, "control_one_round": 0.5, "control_wrong_answers": 0.3},
            {},
            [
                ("round_3", "round_1"),
                ("round_3", "student_before"),
                ("round_3", "control_one_round"),
                ("round_3", "control_unfiltered"),
                ("round_3", "control_wrong_answers"),
                ("round_3", "teacher"),
                ("control_wrong_answers", "student_before"),
            ],
        ),
        (
            [Scripted(before=0.2), Scripted(), Scripted(right=0.0)],
            {"control_one_round": 0.5},
            {},
            [
                ("round_2", "round_1"),
                ("round_2", "student_before"),
                ("round_2", "control_one_round"),
                ("round_3", "round_2"),
            ],
        ),
        ([Scripted(before=0.2), NothingLeft("no")], {}, {}, [("round_1", "student_before")]),
        ([Scripted(before=0.9, right=0.0)], {}, {}, [("round_1", "student_before")]),
    ],
)
def test_each_comparison_is_a_claim_that_a_reader_would_make(
    tmp_path: Path,
    script: list[Any],
    controls: dict[str, float],
    loop: dict[str, Any],
    compared: list[tuple[str, str]],
) -> None:
    _, found = evaluated(tmp_path, script, controls, **loop)
    assert pairs(found) == compared


def test_every_p_is_corrected_for_all_that_a_reader_sees(tmp_path: Path) -> None:
    script = [
        Scripted(
            before=0.2, teacher=0.9, right=0.4, forgotten=forgot(18) | {"student_before": forgot(19)["student_after"]}
        ),
        Scripted(right=0.6, forgotten=forgot(18)),
        Scripted(right=0.8, forgotten=forgot(17)),
    ]
    _, found = evaluated(tmp_path, script, {"control_one_round": 0.5, "control_wrong_answers": 0.3})
    assert [c.metric for c in found.comparisons if c.metric] == ["letters_accuracy"]
    corrected = [c.p_holm for c in found.comparisons]
    assert corrected == pytest.approx(holm([c.p for c in found.comparisons]))
    smallest = min(found.comparisons, key=lambda c: c.p)
    assert smallest.p_holm == pytest.approx(min(1, smallest.p * len(found.comparisons)))
    assert len(found.comparisons) == 7


def test_everybody_is_measured_on_the_same_held_out_tasks(tmp_path: Path) -> None:
    script = [Scripted(before=0.25, teacher=0.9, right=0.4), Scripted(right=0.5), Scripted(right=0.6)]
    _, found = evaluated(tmp_path, script, {"control_one_round": 0.45})
    accuracy = {who: found.find(who) for who in found.whos}
    assert {who: (row.value, row.n) for who, row in accuracy.items() if row is not None} == {
        "student_before": (0.25, 20),
        "round_1": (0.4, 20),
        "round_2": (0.5, 20),
        "round_3": (0.6, 20),
        "teacher": (0.9, 20),
        "control_one_round": (0.45, 20),
    }


def test_a_difference_has_the_sign_of_the_gain(tmp_path: Path) -> None:
    _, found = evaluated(tmp_path, [Scripted(before=0.2, right=0.3), Scripted(right=0.5)], rounds=2)
    assert [(c.a, c.b, round(c.difference, 6)) for c in found.comparisons] == [
        ("round_2", "round_1", 0.2),
        ("round_2", "student_before", 0.3),
    ]


def test_what_was_forgotten_is_the_last_kept_rounds_against_the_base(tmp_path: Path) -> None:
    before = {"student_before": forgot(20)["student_after"]}
    script = [
        Scripted(before=0.2, forgotten=forgot(19) | before),
        Scripted(forgotten=forgot(18)),
        Scripted(right=0.0, forgotten=forgot(10)),
    ]
    _, found = evaluated(tmp_path, script, guard={"forgetting": None})
    rows = {row.who: row.value for row in found.results if row.metric == "letters_accuracy"}
    assert rows == {"student_before": 1.0, "round_1": 0.95, "round_2": 0.9, "round_3": 0.5}
    about = [(c.a, c.b) for c in found.comparisons if c.metric == "letters_accuracy"]
    assert about == [("round_2", "student_before")]


def test_what_was_not_measured_and_the_notes_of_the_controls_are_told(tmp_path: Path) -> None:
    _, found = evaluated(tmp_path, [Scripted(before=0.2)], rounds=1)
    assert "of a control" in found.notes
    assert "what was forgotten was not measured: evaluate.retention names what to measure" in found.notes


def test_only_the_first_teacher_has_its_price(tmp_path: Path) -> None:
    prices = {"prompt": 1e6, "completion": 1e6}
    rounds, _, loaded = run_rounds(
        tmp_path, [Scripted(before=0.2, teacher=0.9), Scripted()], {"rounds": 2}, prices=prices
    )
    found = evaluate_loop(loaded.recipe, rounds, test_of(rounds), LoopControls({}, []))
    priced = {row.who for row in found.results if "usd" in row.metric}
    assert priced == {"teacher"}


# -- in the report -----------------------------------------------------------------------------------------------


def test_the_report_says_what_the_evaluation_does(tmp_path: Path) -> None:
    rounds, found = evaluated(tmp_path, [Scripted(before=0.1, right=0.2), Scripted(right=0.9), Scripted(right=0.1)])
    report = report_of(loop_recipe(), rounds, found, why_stopped(rounds, 3))
    first, *others = summary(report)
    assert first.startswith("The student of round 2 got 90.0 % [")
    assert first.endswith("of 20 held-out tasks right; the round after it was rolled back.")
    assert others[0].startswith("It is above round 1: +70.0 points")
    assert others[1].startswith("It is above the model before any: +80.0 points")


def test_every_round_is_read_against_the_model_before_any(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[tuple[str, str, int]] = []

    def measure(_: object, student: Sft, model: str, tasks: Any, answers: Mapping[str, Any], *, who: str) -> Measured:
        read.append((student.model, Path(model).parent.parent.name, len(answers)))
        row = Result(who=who, metric="kl_to_base", value=0.5, low=0.4, high=0.6, n=9)
        return Measured([row], [], [f"of {who}"])

    monkeypatch.setattr(loop_evaluation, "measure_kl", measure)
    rounds, _, loaded = run_rounds(tmp_path, [Scripted(before=0.2), Scripted()], {"rounds": 2, "start": "continue"})
    shift = shift_of(loaded.recipe, rounds, test_of(rounds))
    found = evaluate_loop(loaded.recipe, rounds, test_of(rounds), LoopControls({}, []), shift)
    assert read == [("base", "1", 20), ("base", "2", 20)]
    assert [row.who for row in found.results if row.metric == "kl_to_base"] == ["round_1", "round_2"]
    assert [note for note in found.notes if note.startswith("of ")] == ["of round_1", "of round_2"]
