"""What a verifier is worth on labelled answers, and what the gate makes of it."""

from __future__ import annotations

import json

import pytest

from stillroom.common.records import Attempt, State, Task, Verdict
from stillroom.errors import InputError
from stillroom.judges.verifier_gate import LabelledAnswer, VerifierGate, calibrate_verifier, verifier_gate

LIMITS = VerifierGate(labelled="labelled.jsonl")


class Told:
    """A verifier that says what the answer tells it to: two words, or one for both."""

    identity = "told"

    async def score(self, task: Task, attempt: Attempt) -> Verdict:
        said = attempt.text.split()
        states = {"correct": State.ACCEPTED, "incorrect": State.REJECTED}
        state = states.get(said[0], State.UNSCORED) if len(set(said)) == 1 else State.UNSCORED
        return Verdict(state, "verifier", detail=json.dumps({"said": said, "calls": 2, "tokens": 100}))

    async def close(self) -> None: ...


def answers(**counts: int) -> list[LabelledAnswer]:
    """So many answers for each thing said about right (r_) and wrong (w_) ones."""
    return [
        LabelledAnswer("?", "gold", name[2:].replace("_", " "), name[0] == "r", open=number % 2 == 0)
        for name, count in counts.items()
        for number in range(count)
    ]


async def test_every_figure() -> None:
    given = answers(
        r_correct_correct=30,
        r_incorrect_incorrect=4,
        r_correct_incorrect=4,
        r_parse_failed_correct=2,
        w_incorrect_incorrect=50,
        w_correct_correct=2,
        w_invalid_invalid=8,
    )
    found = await calibrate_verifier(Told(), given)
    assert (found.answers, found.wrong, found.calls, found.tokens) == (100, 60, 200, 10_000)
    assert found.accuracy is not None
    assert found.accuracy.value == (30 + 50 + 8) / 100
    assert found.false_accepts is not None
    assert found.false_accepts.value == 2 / 60
    assert found.false_rejects is not None
    assert found.false_rejects.value == 4 / 40
    assert found.decided is not None
    assert found.decided.value == (30 + 4 + 50 + 2) / 100
    assert found.consistency is not None
    assert (found.consistency.value, found.consistency.n) == (94 / 98, 98)
    assert (found.open_answers, found.open_false_accepts and found.open_false_accepts.value) == (50, 1 / 30)
    assert found.said["accepted verifier"] == 32
    assert verifier_gate(found, LIMITS).passed


@pytest.mark.parametrize(
    ("given", "limits", "failed"),
    [
        (
            {"r_correct_correct": 30, "w_correct_correct": 30},
            {},
            "wrong answers that it accepts: 1.000 [0.886, 1.000]",
        ),
        (
            {"w_correct_correct": 2, "w_incorrect_incorrect": 38},
            {"max_false_accepts": 0.04},
            "at most 0.04 is allowed",
        ),
        ({"r_correct_correct": 30, "w_incorrect_incorrect": 19}, {}, "wrong answers: 19 of 49, at least 20"),
        ({"r_correct_incorrect": 30, "w_incorrect_incorrect": 20}, {}, "the same both ways round: 0.400"),
        ({"w_parse_failed": 20}, {}, "the same both ways round: not measured"),
    ],
)
async def test_the_gate_refuses(given: dict[str, int], limits: dict[str, float], failed: str) -> None:
    found = await calibrate_verifier(Told(), answers(**given))
    verdict = verifier_gate(found, LIMITS.model_copy(update=limits))
    assert not verdict.passed
    assert any(failed in told for told in verdict.failures), verdict.failures


async def test_nothing_to_measure_on() -> None:
    with pytest.raises(InputError, match="there are none: label 20 wrong ones or more"):
        await calibrate_verifier(Told(), [])
