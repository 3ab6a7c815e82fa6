"""Answers in twelve languages: what is right is accepted, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from stillroom.common.records import State
from stillroom.traces.answers import AnswerChecker, Policies, Reason
from stillroom.traces.answers.grade import judge
from stillroom.traces.answers.wording import reworded

TABLE: dict[str, list[dict[str, Any]]] = yaml.safe_load(Path(__file__).with_name("languages.yaml").read_text("utf-8"))


def test_twelve_languages_with_ten_answers_each() -> None:
    assert len(TABLE) == 12
    assert all(len(rows) == 10 and sum(not row["right"] for row in rows) == 3 for rows in TABLE.values())


@pytest.mark.parametrize("language", TABLE)
def test_right_answers_are_accepted_and_nothing_else(language: str) -> None:
    for row in TABLE[language]:
        with AnswerChecker(workers=1, policies=Policies.of(row.get("policies", {}))) as checker:
            verdict = checker.check(row["gold"], row["pred"])
        assert (verdict.state is State.ACCEPTED) is row["right"], (row, verdict)


@pytest.mark.parametrize(
    "written",
    [
        "12以上",
        "12未満",
        "約12",
        "12万",
        "12億",
        "12個半",
        "12分之5",
        "12명 이상",
        "12만",
        "12 тысяч",
        "12 mil",
        "12 oder mehr",
    ],
)
def test_what_changes_the_number_is_not_taken_for_a_unit(written: str) -> None:
    with AnswerChecker(workers=1) as checker:
        assert checker.check("12", f"Answer: {written}").state is not State.ACCEPTED


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("12元", r"12\text{ 元}"),
        ("858颗糖果", r"858\text{ 颗}"),
        ("24個です", r"24\text{ 個}"),
        ("7입니다", "7"),
        ("١٬٢٥٠", "1,250"),
        ("٢٫٥", "2.5"),
        ("४८", "48"),
        ("１５", "15"),
        ("3、5", "3,5"),
        ("x=1或x=2", "x=1 or x=2"),
        ("8 und -2", "8, -2"),
        ("1.234,50", "1234.50"),
    ],
)
def test_signs_of_other_scripts(written: str, read: str) -> None:
    assert reworded(written) == read


NOT_TWELVE = [
    "Antwort: 12 Dutzend",
    "Respuesta: 12 docenas",
    "Réponse : 12 douzaines",
    "Ответ: 12 минус 3",
    "Ответ: 12 из 17",
    "Antwort: 12 von 17",
    "Réponse : 12 sur 17",
    "Respuesta: 12 de 17",
    "Das ist nicht \\boxed{12}.",
    "Ce n'est pas \\boxed{12}.",
    "No es \\boxed{12}.",
    "Não é \\boxed{12}.",
    "Non è \\boxed{12}.",
    "Это не \\boxed{12}.",
    "不是\\boxed{12}。",
    "답은 \\boxed{12}이 아니다.",
    "Die Antwort ist nicht 12",
    "Ответ: не 12",
    "उत्तर 12 नहीं है।",
    "Đáp án không phải là 12",
    "La respuesta no es 12",
    "La réponse n'est pas 12",
    "Antwort: 12 ist falsch",
    "Antwort: 12 falsch",
    "Réponse : 12 faux",
    "Respuesta: 12 es falso",
    "Respuesta: 12 incorrecto",
    "Resposta: 12 errado",
    "Risposta: 12 sbagliato",
    "Ответ: 12 неверно",
    "الجواب: 12 خطأ",
    "उत्तर: 12 गलत",
    "Đáp án: 12 sai",
    "答案：12错误",
    "答案：12吗？",
    "答え：12ではない",
    "정답: 12 아님",
    "Antwort: 12 und mehr",
    "Réponse : 12 et demi",
    "Respuesta: 12 y medio",
    "Resposta: 12 e meio",
    "Antwort: 12 einhalb",
    "Ответ: 12 с половиной",
    "Antwort: fast 12",
    "Respuesta: casi 12",
    "Réponse : presque 12",
    "Ответ: почти 12",
    "答案：12点5",
    "答案：12.5",
    "Answer: 12 Mrd",
    "Antwort: 12 Milliarden",
    "Antwort: 12 Prozent",
    "Réponse : 12 pour cent",
    "Respuesta: 12 por ciento",
    "Ответ: 12 процентов",
    "答案：12%",
    "Antwort: 12 Hundert",
    "Respuesta: 12 cientos",
    "twelve third",
    "\\boxed{twelve hundred}",
    "Answer: (A) 12 and (B) 13",
    "Answer: 12 p.m.",
    "<answer>12</answer> no, <answer>13</answer>",
    "Answer: 12 negativ",
    "Antwort: 12 oder auch 14",
    "答案：12和14",
    "答案：12/14",
    "12 14",
]


@pytest.mark.parametrize("answer", NOT_TWELVE)
def test_what_is_denied_multiplied_or_hedged_is_not_taken(answer: str) -> None:
    assert judge("12", answer).reason is not Reason.EQUAL
