"""one_language: scripts that the prompt does not use, without harm to mathematics."""

from __future__ import annotations

from typing import Any

import pytest

ENGLISH = "How many eggs are in the boxes?"
CHINESE = "盒子里有多少个鸡蛋？"
RUSSIAN = "Сколько яиц в коробках?"
JAPANESE = "箱の中に卵はいくつありますか。"


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        (ENGLISH, "There are 18 eggs. 因此答案是 18."),
        (ENGLISH, "There are 18 eggs, следовательно the answer is 18."),
        (ENGLISH, "There are 18 eggs. परिणाम 18"),
        (ENGLISH, "There are 18 eggs. Η απάντηση είναι 18"),
        (CHINESE, "盒子里有 18 个鸡蛋。Therefore the answer is 18."),
        (RUSSIAN, "Всего 18 яиц. So the answer is eighteen."),
        (CHINESE, "盒子里有たまごが 18 個あります"),
        (ENGLISH, "Eggs: ᚠᚢᚦᚨᚱᚲ"),
    ],
)
def test_a_change_of_script_is_dropped(make_trace: Any, find_in: Any, prompt: str, text: str) -> None:
    found = find_in("one_language", make_trace(text, prompt=prompt))
    assert found is not None
    assert found.reason == "other_script"


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        (ENGLISH, "Let α = π/2 and Δx = 3, so σ² = 4 and μ is 1. ΣF = ma."),
        (ENGLISH, "𝑥² + 𝑦² = ℝ, ℕ ⊂ ℤ, ∫ f dx, √2 ≈ 1.41, 5 µm, 20 Ω, 30 °C"),
        (ENGLISH, "Café, naïve, Erdős and Gödel have 18 eggs."),
        (CHINESE, r"设 x = 3，则 $\frac{x}{2} = \text{three halves}$，\boxed{18}，长 5 cm，点 ABCD，sin x"),
        (RUSSIAN, "Пусть x = 3, тогда \\frac{x}{2} и ABCD, 5 km"),
        (JAPANESE, "箱の中にタマゴは 18 個あります。"),
        (ENGLISH + " " + CHINESE, "There are 18. 一共 18 个。"),
        (ENGLISH, ""),
        (ENGLISH, "18"),
        ("2 + 2 = ?", "4"),
    ],
)
def test_mathematics_and_the_prompts_own_scripts_stay(make_trace: Any, find_in: Any, prompt: str, text: str) -> None:
    assert find_in("one_language", make_trace(text, prompt=prompt)) is None


def test_the_share_can_be_set_and_the_detail_counts(make_trace: Any, find_in: Any) -> None:
    trace = make_trace("There are eighteen eggs in all 因此", prompt=ENGLISH)
    found = find_in("one_language", trace)
    assert found.detail == "2 of 27 letters are Han, which the prompt does not use: 因此"
    assert find_in({"one_language": 0.1}, trace) is None


def test_a_prompt_without_letters_allows_what_the_trace_is_written_in(make_trace: Any, find_in: Any) -> None:
    assert find_in("one_language", make_trace("Adding two and two makes four.", prompt="2 + 2 = ?")) is None
    assert find_in("one_language", make_trace("Adding two makes four 因此答案", prompt="2 + 2 = ?")) is not None
