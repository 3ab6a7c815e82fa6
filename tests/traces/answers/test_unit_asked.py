"""Prompts that ask for the unit of the answer, and what a bare number is there."""

from __future__ import annotations

import pytest

from stillroom.common.records import State
from stillroom.traces.answers import Policies, check
from stillroom.traces.answers.checker import AnswerChecker
from stillroom.traces.answers.unit_asked import asks_for_unit

ASKING = [
    "How many kg? (Include unit)", "Give your answer with units.", "Include the appropriate units in your answer.",
    "In what unit is it?", "Don't forget to include the units!", "State the value and its unit.",
    "Give the answer with the correct SI units", "Units must be included.", "include units of measurement",
    "Gib das Ergebnis mit Einheit an.", "Wie lang? Maßeinheit angeben", "Donnez la réponse avec l'unité.",
    "N'oubliez pas l'unité.", "Da la respuesta con unidades.", "Incluya las unidades.", "Dê a resposta com unidades.",
    "Scrivi il risultato con l'unità di misura.", "Укажите единицы измерения.", "请带单位作答", "结果要写上单位",
    "単位も書いてください", "단위를 포함하여 답하시오",
]  # fmt: skip
NOT_ASKING = [
    "Do not include units.", "Give the area in square units.", "Answer without units", "with unit vector u",
    "the unit circle and unit digit", "You don't need to include units", "Find the length in units of metres",
    "How many units?", "(Unit: $)", "Please do not write units.", "Include units is not necessary", "ohne Einheit",
    "sans unité", "sin unidades", "不带单位", "无需写单位", "単位をつけずに", "Give your answer in meters.", "with unit price 5",
    "Express in terms of units", "",
]  # fmt: skip


@pytest.mark.parametrize("prompt", ASKING)
def test_a_prompt_asks_for_the_unit(prompt: str) -> None:
    assert asks_for_unit(prompt)
    assert check("1 kg", "1", prompt).state is State.UNSCORED


@pytest.mark.parametrize("prompt", NOT_ASKING)
def test_a_prompt_does_not_ask_for_the_unit(prompt: str) -> None:
    assert not asks_for_unit(prompt)
    assert check("1 kg", "1", prompt).state is State.ACCEPTED


ASKED = "How long is it? Include units."


@pytest.mark.parametrize(
    ("gold", "answer", "state"),
    [
        ("1 kg", "1 kg", State.ACCEPTED), ("1 kg", "1000 g", State.ACCEPTED), ("5", "5", State.ACCEPTED),
        ("5", "5 m", State.UNSCORED), ("5 m", "\\boxed{5\\text{ m}}", State.ACCEPTED), ("5 m", "\\boxed{5}", State.UNSCORED),
        ("5\\ \\mathrm{m/s}", "5", State.UNSCORED), ("$5", "5", State.UNSCORED), ("45^\\circ", "45", State.UNSCORED),
        ("1 kg", "2", State.REJECTED), ("1 kg", "2 kg", State.REJECTED),
        ("5 apples", "5", State.UNSCORED), ("Canberra", "Canberra", State.ACCEPTED),
    ],
)  # fmt: skip
def test_a_bare_number_is_open_where_the_unit_is_asked_for(gold: str, answer: str, state: State) -> None:
    verdict = check(gold, answer, ASKED)
    assert verdict.state is state, verdict.detail


def test_with_units_required_the_policy_decides_as_ever() -> None:
    with AnswerChecker(policies=Policies(units="required")) as checker:
        assert checker.check("1 kg", "1", ASKED).state is State.REJECTED
